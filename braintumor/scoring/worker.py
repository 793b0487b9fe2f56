"""Score one chunk: read, decode, predict, commit.

The worker predicts a few scans together, as one step. It commits each step as soon as the step is predicted. A timeout
loses at most two steps, because the worker reads the next step before it commits the current one. The use of memory
does not grow with the size of the chunk.

Scans that S3 does not deliver stay pending until Airflow retries the task. A suspect is a scan that may have crashed an
earlier worker. The next attempt processes each suspect alone (in isolation), so another crash identifies the scan.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from sqlalchemy import Engine

from braintumor.dataset.erased_subjects import ErasedSubjects
from braintumor.errors import ObjectRefusedError, ObjectStoreUnreachableError
from braintumor.imaging.decoding.dicom_header import DicomHeader
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.model_input import PreparedFile
from braintumor.imaging.pseudonym import Kind, pseudonym
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, default_pool
from braintumor.logs import bound
from braintumor.s3 import ObjectStore
from braintumor.scoring.commit import commit_outcomes
from braintumor.scoring.deduplication import DuplicateIndex, ReadScan
from braintumor.scoring.lease import MAX_ISOLATED_ATTEMPTS, Claim, ClaimedScan, claim, heartbeat, isolated, renew
from braintumor.scoring.outcomes import (
    CopiedOutcome,
    HeaderFacts,
    Outcome,
    RejectedOutcome,
    ScanFacts,
    ScoredOutcome,
    SupersededOutcome,
)
from braintumor.scoring.pipeline import Pipeline, Predicted, ToPredict
from braintumor.scoring.reading import Reading, ScanReader
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.suspects import suspects_and_others
from braintumor.serving.audit_sample import AUDIT_SHARE, is_audited
from braintumor.serving.backend import LoadedModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScanSource:
    """Hold the object store of the scans, the key of their pseudonyms, and the pool that decodes the scans.

    ``with_attributes`` says whether attributes of DICOM headers are stored.
    """

    store: ObjectStore
    pseudonym_key: bytes = field(repr=False)
    with_attributes: bool = True
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
    """Claim, score and commit a chunk, and return the number of scans per outcome.

    The outcomes are ``scored``, ``copied`` from a duplicate, ``rejected`` and ``superseded``. If the chunk is already
    committed, the result is empty. The class and the confidence of the ``second`` model are stored with the prediction
    of ``model``.

    Raises:
        StaleClaimError: a newer attempt claimed the chunk. This attempt has written nothing since that claim.
        ObjectStoreUnreachableError: S3 did not deliver some scans, which stay pending. The others are committed.
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
            pipeline=Pipeline(reader=reader, model=model, second=second),
            facts=_FactsReader(key=source.pseudonym_key, erased=erased, with_attributes=source.with_attributes),
        ).run()


@dataclass(frozen=True, kw_only=True)
class _FactsReader:
    """Derive the hashes and pseudonyms that Postgres stores for a decoded file, and reject files of erased people."""

    key: bytes = field(repr=False)
    erased: ErasedSubjects
    with_attributes: bool

    def classify(self, reading: Reading) -> ReadScan | RejectedOutcome | SupersededOutcome | None:
        """Return a scan that the model must score, or the outcome of a scan that cannot be scored.

        The result is ``None`` if S3 did not deliver the scan.
        """
        match reading.result:
            case PreparedFile() as file:
                facts = self._facts(file)
                others = (facts.study_pseudonym, facts.content_sha256, facts.pixel_sha256)
                if not self.erased.holds_scan(facts.patient_pseudonym, *others):
                    return ReadScan(scan_id=reading.scan_id, facts=facts, frames=file.scan)
                rejection = Rejection(reason=RejectionReason.SUBJECT_ERASED, detail="of a person who was erased")
            case Rejection() as rejection:
                header = HeaderFacts(**self._header_facts(rejection.dicom))
                if not self.erased.holds_scan(header.patient_pseudonym, header.study_pseudonym):
                    return RejectedOutcome(scan_id=reading.scan_id, rejection=rejection, facts=header)
            case ObjectRefusedError() as error:
                rejection = Rejection(reason=RejectionReason.ACCESS_DENIED, detail=str(error))
            case ObjectStoreUnreachableError():
                return None
            case _:
                return SupersededOutcome(scan_id=reading.scan_id)
        return RejectedOutcome(scan_id=reading.scan_id, rejection=rejection)

    def _facts(self, file: PreparedFile) -> ScanFacts:
        content_sha256 = file.scan.content_sha256
        assert content_sha256 is not None
        return ScanFacts(
            format=file.format,
            content_sha256=content_sha256,
            pixel_sha256=file.pixel_sha256,
            audit_probability=AUDIT_SHARE if is_audited(content_sha256) else None,
            **self._header_facts(file.dicom),
        )

    def _header_facts(self, header: DicomHeader | None) -> dict[str, str | None]:
        """Return the values of ``HeaderFacts``. Two sites can have stations of one name, so a station has its site."""
        if header is None:
            return {}
        identifiers: dict[Kind, str] = {
            "study": header.study_instance_uid,
            "series": header.series_instance_uid,
            "patient": header.patient_id,
        }
        if self.with_attributes:
            identifiers["site"] = header.institution_name
            identifiers["station"] = f"{header.institution_name}\0{header.station_name}" if header.station_name else ""
        pseudonyms = {
            f"{kind}_pseudonym": pseudonym(value, kind=kind, key=self.key) for kind, value in identifiers.items()
        }
        return {**pseudonyms, **(asdict(header.attributes) if self.with_attributes else {})}


class _NotDeliveredError(Exception):
    """S3 did not deliver a scan. The reader raises another error after many of them in a row, which ends the chunk."""


@dataclass(kw_only=True)
class _ChunkScoring:
    """Score the scans of one claim."""

    engine: Engine
    held: Claim
    pipeline: Pipeline
    facts: _FactsReader
    counts: Counter[str] = field(default_factory=Counter)
    duplicates: DuplicateIndex = field(init=False)

    def __post_init__(self) -> None:
        self.duplicates = DuplicateIndex(engine=self.engine, run=self.held.run)

    def run(self) -> Counter[str]:
        """Score all scans, close the chunk, and return the number of scans per outcome. Suspects come last."""
        suspects, others = suspects_and_others(self.held)
        self._score(others)
        for scan in suspects:
            self._score_isolated(scan)
        undelivered = self.pipeline.reader.undelivered
        self._commit([], is_last=not undelivered)
        rounded = {stage: round(seconds, 1) for stage, seconds in self.pipeline.seconds.items()}
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
        undelivered = self.pipeline.reader.undelivered
        count_before = len(undelivered)
        with suppress(_NotDeliveredError), isolated(self.engine, self.held, scan):
            self._score([scan])
            if len(undelivered) > count_before:
                raise _NotDeliveredError  # so that the attempt does not count

    def _score(self, scans: Sequence[ClaimedScan]) -> None:
        self.pipeline.run(scans, self._prepare, self._write)

    def _prepare(self, step: list[Reading]) -> tuple[ToPredict[ReadScan], list[Outcome]]:
        classified = [self.facts.classify(reading) for reading in step]
        done: list[Outcome] = [each for each in classified if isinstance(each, RejectedOutcome | SupersededOutcome)]
        readable = [each for each in classified if isinstance(each, ReadScan)]
        originals = self.duplicates.find(readable)
        done += [
            CopiedOutcome(
                scan_id=scan.scan_id,
                facts=scan.facts,
                original_id=originals[scan.scan_id],
                count_frame=scan.count_frame,
            )
            for scan in readable
            if scan.scan_id in originals
        ]
        return [(scan, scan.frames) for scan in readable if scan.scan_id not in originals], done

    def _write(self, done: list[Outcome], predicted: Predicted[ReadScan]) -> None:
        renew(self.engine, self.held)
        scored = (
            ScoredOutcome(scan_id=scan.scan_id, facts=scan.facts, predictions=predictions)
            for scan, predictions in predicted
        )
        self._commit([*done, *scored])

    def _commit(self, outcomes: list[Outcome], *, is_last: bool = False) -> None:
        if outcomes or is_last:
            commit_outcomes(self.engine, self.held, outcomes, stage_seconds=self.pipeline.seconds if is_last else None)
        self.counts.update(outcome.name for outcome in outcomes)
        for outcome in outcomes:  # scored scans are not logged, because they are many and in Postgres
            with bound(scan_id=outcome.scan_id):
                match outcome:
                    case RejectedOutcome():
                        _log.warning("rejected: %s", outcome.rejection.reason)
                    case SupersededOutcome():
                        _log.info("superseded: the listed version no longer exists")
