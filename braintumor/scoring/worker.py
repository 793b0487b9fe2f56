"""Score one chunk: read, decode, infer, settle.

Reading and decoding run ahead in threads while the engine works, a bounded number of scans and frames at a time, so
memory does not grow with the chunk. The worker commits each step as soon as it has its answers. So an attempt that a
timeout ends keeps what it did, and the next attempt continues there. No scan stops the others: what S3 does not hand
out just now is left for the task's retry, and after a worker has died on a chunk its scans are worked on one by one, so
that the next death has a name.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from sqlalchemy import Engine

from braintumor.dataset.erased_subjects import ErasedSubjects
from braintumor.errors import (
    ObjectChangedError,
    ObjectMissingError,
    ObjectRefusedError,
    ObjectStoreUnreachableError,
)
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import SECONDS_A_STEP, PreparedFile, PreparedScan, one_ahead, take_step
from braintumor.imaging.pseudonym import pseudonym
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, default_pool
from braintumor.logs import bound
from braintumor.s3 import ObjectStore
from braintumor.scoring.commit import commit_outcomes
from braintumor.scoring.deduplication import DuplicateIndex, ReadScan
from braintumor.scoring.lease import (
    MAX_CONSECUTIVE_READ_ERRORS,
    MAX_ISOLATED_ATTEMPTS,
    Claim,
    ClaimedScan,
    claim,
    heartbeat,
    isolated,
    renew,
)
from braintumor.scoring.outcomes import (
    CopiedOutcome,
    Outcome,
    RejectedOutcome,
    ScanFacts,
    ScoredOutcome,
    SupersededOutcome,
)
from braintumor.scoring.run import ScoringRun
from braintumor.serving.audit_sample import AUDIT_SHARE, is_audited
from braintumor.serving.backend import LoadedModel
from braintumor.serving.prediction import take_predictions, to_predictions

_DEAD = ", one of which may have killed the worker before"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Readable:
    """A scan as the model wants it."""

    scan_id: int
    facts: ScanFacts
    frames: PreparedScan

    def without_frames(self) -> ReadScan:
        """What tells whether it is a copy."""
        return ReadScan(scan_id=self.scan_id, facts=self.facts, count_frame=len(self.frames.indexes))


@dataclass(frozen=True, kw_only=True)
class _Unread:
    """A scan that S3 did not hand out just now: it stays pending."""

    scan_id: int
    error: ObjectStoreUnreachableError


_Reading = _Readable | RejectedOutcome | SupersededOutcome | _Unread


def score_chunk(
    engine: Engine,
    store: ObjectStore,
    model: LoadedModel,
    run: ScoringRun,
    chunk_number: int,
    *,
    pseudonym_key: bytes,
    second: LoadedModel | None = None,
    limits: Limits | None = None,
    guard: DecoderPool | None = None,
) -> Counter[str]:
    """Claim, score and settle a chunk; returns how many scans were ``scored``, ``rejected`` and so on.

    A ``second`` model is asked about every frame too; its answers stand beside the first one's. ``copied`` are those
    that took over the answers to a scan of the same bytes. A settled chunk is left alone, and counts nothing.

    Raises:
        StaleClaimError: a newer attempt owns the chunk; nothing was written since it does.
        ObjectStoreUnreachableError: S3 did not hand out some scans; these stay pending. The others are settled, unless
            nothing came any more: then what was not scored by then stays pending too.
    """
    held = claim(engine, run, chunk_number)
    if held is None:
        _log.info("settled already")
        return Counter()
    _log.info("claimed, attempt %d: %d scans%s", held.attempt, len(held.scans), _DEAD * held.after_death)
    with heartbeat(engine, held):
        reader = _Reader(
            store=store,
            guard=guard or default_pool(),
            size=model.manifest.image_size,
            pseudonym_key=pseudonym_key,
            erased=ErasedSubjects.load(
                engine, pseudonym_key
            ),  # after the claim: nobody is erased while a chunk is at work
            limits=limits or Limits(),
        )
        return _Work(engine=engine, model=model, second=second, held=held, reader=reader).finish()


@dataclass(kw_only=True)
class _Work:
    """One claim being worked off."""

    engine: Engine
    model: LoadedModel
    second: LoadedModel | None
    held: Claim
    reader: _Reader
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "infer": 0.0})
    counts: Counter[str] = field(default_factory=Counter)
    unread: list[_Unread] = field(default_factory=list)
    unread_in_a_row: int = 0
    originals: DuplicateIndex = field(init=False)

    def __post_init__(self) -> None:
        self.originals = DuplicateIndex(engine=self.engine, run=self.held.run)

    def finish(self) -> Counter[str]:
        """Settle every scan that can be, those that may kill a worker last and alone, and close the chunk."""
        is_suspect = {scan: self.held.after_death or scan.isolated_attempts > 0 for scan in self.held.scans}
        self._score([scan for scan in self.held.scans if not is_suspect[scan]])
        suspects = [scan for scan in self.held.scans if is_suspect[scan]]
        for scan in sorted(suspects, key=lambda scan: scan.isolated_attempts):
            self._score_alone(scan)
        self._settle([], is_last=not self.unread)
        _log.info(
            "settled: %s; seconds: %s", dict(self.counts), {name: round(s, 1) for name, s in self.seconds.items()}
        )
        if self.unread:
            raise ObjectStoreUnreachableError(
                f"{len(self.unread)} scans of chunk {self.held.chunk_number} could not be read and stay pending; "
                f"the others are settled. The last answer: {self.unread[-1].error}"
            )
        return self.counts

    def _score_alone(self, scan: ClaimedScan) -> None:
        if scan.isolated_attempts >= MAX_ISOLATED_ATTEMPTS:
            detail = f"{scan.isolated_attempts} workers died while they were alone with it"
            rejection = Rejection(reason=RejectionReason.PROCESSING_FAILED, detail=detail)
            self._settle([RejectedOutcome(scan_id=scan.scan_id, rejection=rejection)])
            return
        with bound(scan_id=scan.scan_id):
            _log.warning("worked on alone: %d workers died with it", scan.isolated_attempts)
        count_unread = len(self.unread)
        with suppress(ObjectStoreUnreachableError), isolated(self.engine, self.held, scan):
            self._score([scan])
            if len(self.unread) > count_unread:
                raise self.unread[-1].error  # S3's failure is not counted as the scan's

    def _score(self, scans: list[ClaimedScan]) -> None:
        with closing(self.reader.store.concurrently(self.reader.read, scans)) as readings:
            for answered in one_ahead(self._begin(step) for step in self._steps(readings)):
                with self._timed("infer"):
                    outcomes = answered()
                renew(self.engine, self.held)
                self._settle(outcomes)

    def _steps(self, readings: Iterator[_Reading]) -> Iterator[list[_Reading]]:
        """The readings, a bounded number at a time."""
        while True:
            with self._timed("read"):
                step = take_step(
                    readings,
                    lambda reading: reading.frames if isinstance(reading, _Readable) else None,
                    seconds=SECONDS_A_STEP,
                )
            if not step:
                return
            yield step

    def _begin(self, step: list[_Reading]) -> Callable[[], list[Outcome]]:
        """Submit a step to the engine; what is returned waits for its outcomes."""
        self._note_unread(step)
        readable = [reading for reading in step if isinstance(reading, _Readable)]
        settled = [reading for reading in step if isinstance(reading, RejectedOutcome | SupersededOutcome)]
        originals = self.originals.find(reading.without_frames() for reading in readable)
        copied = [_copied(scan, originals[scan.scan_id]) for scan in readable if scan.scan_id in originals]
        with self._timed("infer"):  # what is queued already may be waited for
            scored = _infer(self.model, self.second, [scan for scan in readable if scan.scan_id not in originals])
        return lambda: [*settled, *copied, *scored()]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add up what this thread waits for each stage: most for the slowest, whatever runs beside it."""
        started = time.monotonic()
        yield
        self.seconds[stage] += time.monotonic() - started

    def _note_unread(self, step: list[_Reading]) -> None:
        unread = [reading for reading in step if isinstance(reading, _Unread)]
        self.unread += unread
        _tell(unread)
        self.unread_in_a_row = self.unread_in_a_row + len(unread) if len(unread) == len(step) else 0
        if self.unread_in_a_row >= MAX_CONSECUTIVE_READ_ERRORS:
            raise unread[-1].error

    def _settle(self, outcomes: list[Outcome], *, is_last: bool = False) -> None:
        if outcomes or is_last:
            commit_outcomes(self.engine, self.held, outcomes, stage_seconds=self.seconds if is_last else None)
        self.counts.update(outcome.name for outcome in outcomes)
        _tell(outcomes)


def _tell(results: Sequence[Outcome | _Unread]) -> None:
    """Name in the log, by their ids, scans that got no answer; those that did are many, and in Postgres."""
    for result in results:
        with bound(scan_id=result.scan_id):
            match result:
                case RejectedOutcome():
                    _log.warning("rejected: %s", result.rejection.reason)
                case SupersededOutcome():
                    _log.info("superseded: what was listed is there no more")
                case _Unread():
                    _log.warning("not handed out by S3, stays pending: %s", type(result.error).__name__)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """What reading a scan needs to know. Runs in threads."""

    store: ObjectStore
    guard: DecoderPool
    size: int
    pseudonym_key: bytes
    erased: ErasedSubjects
    limits: Limits

    def read(self, scan: ClaimedScan) -> _Reading:
        """Bytes of the listed version -> frames, or why there are none."""
        try:
            data = self.store.read(scan.location, etag=scan.etag, max_bytes=self.limits.max_bytes)
        except (ObjectChangedError, ObjectMissingError):
            return SupersededOutcome(scan_id=scan.scan_id)
        except ObjectRefusedError as error:
            refusal = Rejection(reason=RejectionReason.ACCESS_DENIED, detail=str(error))
            return RejectedOutcome(scan_id=scan.scan_id, rejection=refusal)
        except ObjectStoreUnreachableError as error:
            return _Unread(scan_id=scan.scan_id, error=error)
        found = self.guard.read(data, size=self.size, limits=self.limits)
        if isinstance(found, Rejection):
            return RejectedOutcome(scan_id=scan.scan_id, rejection=found)
        facts = self._facts(found)
        others = (facts.study_pseudonym, facts.content_sha256, facts.pixel_sha256)
        if self.erased.holds_scan(facts.patient_pseudonym, *others):
            refusal = Rejection(reason=RejectionReason.SUBJECT_ERASED, detail="of a person who was erased")
            return RejectedOutcome(scan_id=scan.scan_id, rejection=refusal)
        return _Readable(scan_id=scan.scan_id, facts=facts, frames=found.scan)

    def _facts(self, found: PreparedFile) -> ScanFacts:
        identity, content_sha256 = found.dicom, found.scan.content_sha256
        assert content_sha256 is not None
        return ScanFacts(
            format=found.format,
            content_sha256=content_sha256,
            pixel_sha256=found.pixel_sha256,
            study_pseudonym=self._pseudonym("study", identity.study_instance_uid if identity else None),
            series_pseudonym=self._pseudonym("series", identity.series_instance_uid if identity else None),
            patient_pseudonym=self._pseudonym("patient", identity.patient_id if identity else None),
            audit_probability=AUDIT_SHARE if is_audited(content_sha256) else None,
        )

    def _pseudonym(self, kind: Literal["study", "series", "patient"], value: str | None) -> str | None:
        return None if value is None else pseudonym(value, kind=kind, key=self.pseudonym_key)


def _copied(scan: _Readable, original_id: int) -> CopiedOutcome:
    count = len(scan.frames.indexes)
    return CopiedOutcome(scan_id=scan.scan_id, facts=scan.facts, original_id=original_id, count_frame=count)


def _infer(
    model: LoadedModel, second: LoadedModel | None, readable: list[_Readable]
) -> Callable[[], list[ScoredOutcome]]:
    """Begin to score the scans of a step in one go; what is returned waits for the answers."""
    if not readable:
        return list
    frames = np.concatenate([scan.frames.pixels for scan in readable])
    first, other = model.submit(frames), second.submit(frames) if second else None

    def scored() -> list[ScoredOutcome]:
        stream = to_predictions(first(), model.manifest, second=other() if other else None)
        return [
            ScoredOutcome(scan_id=scan.scan_id, facts=scan.facts, answers=take_predictions(stream, scan.frames))
            for scan in readable
        ]

    return scored
