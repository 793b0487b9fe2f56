"""Score one chunk: read, decode, predict, commit.

Threads read and decode ahead while the backend predicts. The number of scans and frames in memory is bounded, so memory
does not grow with the chunk. The scans that are predicted together are a step. The worker commits a step as soon as the
step is predicted. If a timeout ends the attempt, the committed steps are kept, and the next attempt continues after
them.

A failed scan does not stop the others. Scans that S3 does not deliver stay pending for the task's retry. After a worker
crashed on a chunk, the next attempt processes each suspect in isolation. So the next crash identifies the scan.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Engine

from braintumor.dataset.erased_subjects import ErasedSubjects
from braintumor.errors import ObjectRefusedError, ObjectStoreUnreachableError
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.model_input import PreparedFile, one_ahead
from braintumor.imaging.pseudonym import pseudonym
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, default_pool
from braintumor.logs import bound
from braintumor.s3 import ObjectStore
from braintumor.scoring.commit import commit_outcomes
from braintumor.scoring.deduplication import DuplicateIndex, ReadScan
from braintumor.scoring.lease import MAX_ISOLATED_ATTEMPTS, Claim, ClaimedScan, claim, heartbeat, isolated, renew
from braintumor.scoring.outcomes import (
    CopiedOutcome,
    Outcome,
    RejectedOutcome,
    ScanFacts,
    ScoredOutcome,
    SupersededOutcome,
)
from braintumor.scoring.reading import Reading, ScanReader
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.suspects import suspects_and_others
from braintumor.serving.audit_sample import AUDIT_SHARE, is_audited
from braintumor.serving.backend import LoadedModel
from braintumor.serving.prediction import submit_scans

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScanSource:
    """Hold the object store of the scans, the key of their pseudonyms, and the pool that decodes the scans."""

    store: ObjectStore
    pseudonym_key: bytes = field(repr=False)
    pool: DecoderPool = field(default_factory=default_pool)


def score_chunk(
    engine: Engine,
    run: ScoringRun,
    chunk_number: int,
    *,
    source: ScanSource,
    model: LoadedModel,
    second: LoadedModel | None = None,
) -> Counter[str]:
    """Claim, score and commit a chunk.

    The ``second`` model, if given, also predicts every frame. The class and the confidence of the second model are
    stored with the prediction of ``model``.

    Returns:
        The number of scans per outcome: ``scored``, ``copied`` from a duplicate, ``rejected``, ``superseded``. Empty if
        the chunk is already committed.

    Raises:
        StaleClaimError: a newer attempt claimed the chunk. This attempt wrote nothing since then.
        ObjectStoreUnreachableError: S3 did not deliver some scans. These stay pending, the others are committed. If S3
            became unreachable, the scans that were not scored by then stay pending too.
    """
    held = claim(engine, run, chunk_number)
    if held is None:
        _log.info("already committed")
        return Counter()
    suspicion = ", one of which may have crashed the previous worker" if held.after_crash else ""
    _log.info("claimed, attempt %d: %d scans%s", held.attempt, len(held.scans), suspicion)
    with heartbeat(engine, held):
        # after the claim, because an erasure waits for claimed chunks
        erased = ErasedSubjects.load(engine, source.pseudonym_key)
        reader = ScanReader(store=source.store, size=model.manifest.image_size, pool=source.pool)
        return _ChunkScoring(
            engine=engine,
            held=held,
            reader=reader,
            facts=_FactsReader(key=source.pseudonym_key, erased=erased),
            model=model,
            second=second,
        ).run()


@dataclass(frozen=True, kw_only=True)
class _FactsReader:
    """Derive the stored facts of a decoded file, and reject files of erased subjects."""

    key: bytes = field(repr=False)
    erased: ErasedSubjects

    def classify(self, reading: Reading) -> ReadScan | RejectedOutcome | SupersededOutcome | None:
        """Return the scan to score, its outcome without a prediction, or ``None``.

        ``None`` means that S3 did not deliver the scan.
        """
        match reading.result:
            case PreparedFile() as file:
                facts = self._facts(file)
                others = (facts.study_pseudonym, facts.content_sha256, facts.pixel_sha256)
                if not self.erased.holds_scan(facts.patient_pseudonym, *others):
                    return ReadScan(scan_id=reading.scan_id, facts=facts, frames=file.scan)
                rejection = Rejection(reason=RejectionReason.SUBJECT_ERASED, detail="of a person who was erased")
            case Rejection() as rejection:
                pass
            case ObjectRefusedError() as error:
                rejection = Rejection(reason=RejectionReason.ACCESS_DENIED, detail=str(error))
            case ObjectStoreUnreachableError():
                return None
            case _:
                return SupersededOutcome(scan_id=reading.scan_id)
        return RejectedOutcome(scan_id=reading.scan_id, rejection=rejection)

    def _facts(self, file: PreparedFile) -> ScanFacts:
        identity, content_sha256 = file.dicom, file.scan.content_sha256
        assert content_sha256 is not None
        return ScanFacts(
            format=file.format,
            content_sha256=content_sha256,
            pixel_sha256=file.pixel_sha256,
            study_pseudonym=self._pseudonym("study", identity.study_instance_uid if identity else None),
            series_pseudonym=self._pseudonym("series", identity.series_instance_uid if identity else None),
            patient_pseudonym=self._pseudonym("patient", identity.patient_id if identity else None),
            audit_probability=AUDIT_SHARE if is_audited(content_sha256) else None,
        )

    def _pseudonym(self, kind: Literal["study", "series", "patient"], value: str | None) -> str | None:
        return None if value is None else pseudonym(value, kind=kind, key=self.key)


@dataclass(kw_only=True)
class _ChunkScoring:
    """Score the scans of one claim."""

    engine: Engine
    held: Claim
    reader: ScanReader
    facts: _FactsReader
    model: LoadedModel
    second: LoadedModel | None
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "infer": 0.0})
    counts: Counter[str] = field(default_factory=Counter)
    duplicates: DuplicateIndex = field(init=False)

    def __post_init__(self) -> None:
        self.duplicates = DuplicateIndex(engine=self.engine, run=self.held.run)

    def run(self) -> Counter[str]:
        """Score all scans, close the chunk, and return the number of scans per outcome.

        Scans that may crash the worker are scored last and in isolation.
        """
        suspects, others = suspects_and_others(self.held)
        self._score(others)
        for scan in suspects:
            self._score_isolated(scan)
        undelivered = self.reader.undelivered
        self._commit([], is_last=not undelivered)
        rounded = {stage: round(seconds, 1) for stage, seconds in self.seconds.items()}
        _log.info("committed: %s; seconds: %s", dict(self.counts), rounded)
        if undelivered:
            raise ObjectStoreUnreachableError(
                f"{len(undelivered)} scans of chunk {self.held.chunk_number} could not be read and stay pending. The "
                f"others are committed. Try again when S3 is reachable. The last error: {undelivered[-1].result}"
            )
        return self.counts

    def _score_isolated(self, scan: ClaimedScan) -> None:
        if scan.isolated_attempts >= MAX_ISOLATED_ATTEMPTS:
            detail = f"{scan.isolated_attempts} workers crashed while they processed only this scan"
            rejection = Rejection(reason=RejectionReason.PROCESSING_FAILED, detail=detail)
            self._commit([RejectedOutcome(scan_id=scan.scan_id, rejection=rejection)])
            return
        with bound(scan_id=scan.scan_id):
            _log.warning("processed in isolation, after %d crashes in isolation", scan.isolated_attempts)
        count_before = len(self.reader.undelivered)
        with suppress(ObjectStoreUnreachableError), isolated(self.engine, self.held, scan):
            self._score([scan])
            if len(self.reader.undelivered) > count_before:
                raise ObjectStoreUnreachableError("not delivered")  # so that the attempt does not count

    def _score(self, scans: Sequence[ClaimedScan]) -> None:
        with closing(self.reader.steps(scans)) as steps:
            for wait_for_outcomes in one_ahead(self._submit(step) for step in self._timed_steps(steps)):
                with self._timed("infer"):
                    outcomes = wait_for_outcomes()
                renew(self.engine, self.held)
                self._commit(outcomes)

    def _submit(self, step: Sequence[Reading]) -> Callable[[], list[Outcome]]:
        """Submit a step to the backend, and return a function that waits for the outcomes of the step."""
        classified = [self.facts.classify(reading) for reading in step]
        done = [each for each in classified if isinstance(each, RejectedOutcome | SupersededOutcome)]
        readable = [each for each in classified if isinstance(each, ReadScan)]
        originals = self.duplicates.find(readable)
        copied = [
            CopiedOutcome(
                scan_id=scan.scan_id,
                facts=scan.facts,
                original_id=originals[scan.scan_id],
                count_frame=scan.count_frame,
            )
            for scan in readable
            if scan.scan_id in originals
        ]
        new = [scan for scan in readable if scan.scan_id not in originals]
        with self._timed("infer"):  # because a full queue of the backend makes this wait
            wait_for_predictions = submit_scans(self.model, [scan.frames for scan in new], second=self.second)
        return lambda: [
            *done,
            *copied,
            *(
                ScoredOutcome(scan_id=scan.scan_id, facts=scan.facts, predictions=predictions)
                for scan, predictions in zip(new, wait_for_predictions(), strict=True)
            ),
        ]

    def _timed_steps(self, steps: Iterator[list[Reading]]) -> Iterator[list[Reading]]:
        while True:
            with self._timed("read"):
                step = next(steps, None)
            if step is None:
                return
            yield step

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the duration of the ``with`` block to the seconds of a stage.

        The thread waits for the stage in the block of this context manager. So the slowest stage has the most seconds.
        """
        started = time.monotonic()
        yield
        self.seconds[stage] += time.monotonic() - started

    def _commit(self, outcomes: list[Outcome], *, is_last: bool = False) -> None:
        if outcomes or is_last:
            commit_outcomes(self.engine, self.held, outcomes, stage_seconds=self.seconds if is_last else None)
        self.counts.update(outcome.name for outcome in outcomes)
        for outcome in outcomes:  # scored scans are not logged, because they are many and in Postgres
            with bound(scan_id=outcome.scan_id):
                match outcome:
                    case RejectedOutcome():
                        _log.warning("rejected: %s", outcome.rejection.reason)
                    case SupersededOutcome():
                        _log.info("superseded: the listed version no longer exists")
