"""Score one chunk of a rescore: read each scan at the version that was scored, infer, settle.

A scan is settled where its row is still pending, and its answers are written in the same transaction: so a worker that
was killed has lost nothing, and of two at the same chunk one writes. Whoever dies leaves its mark on what it had in
hand: that is taken up alone, and what three workers died with is set aside.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ObjectStoreUnreachableError
from braintumor.imaging.model_input import SECONDS_A_STEP, PreparedScan, take_step
from braintumor.logs import bound
from braintumor.rescoring.request import RescoreRun
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.lease import MAX_CONSECUTIVE_READ_ERRORS, MAX_ISOLATED_ATTEMPTS, ORDERLY
from braintumor.scoring.predictions import write_predictions
from braintumor.scoring.scored_scans import ScoredScan, Unread, read_frames
from braintumor.serving.backend import BackendName, LoadedModel
from braintumor.serving.prediction import Prediction, take_predictions, to_predictions

_log = logging.getLogger(__name__)


class State(StrEnum):
    """How a scan of a rescore ends; where it is neither of the first two, the answer before stands."""

    RESCORED = "rescored"
    ALREADY = "already"
    GONE = "gone"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    FAILED = "failed"


_ANSWERED = {State.RESCORED, State.ALREADY}
_STATES = {Unread.GONE: State.GONE, Unread.REFUSED: State.REFUSED, Unread.UNREADABLE: State.UNREADABLE}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one scan; ``answers`` holds one a frame where it was scored."""

    scan_id: int
    state: State
    answers: tuple[Prediction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """A scan to answer, how many frames it had, and how many workers left it behind."""

    scan: ScoredScan
    count_frame: int
    count_taken: int


def rescore_chunk(
    engine: Engine, store: ObjectStore, model: LoadedModel, run: RescoreRun, chunk_number: int
) -> Counter[str]:
    """Settle what is still pending of a chunk; returns how many scans came to which state.

    Raises:
        ObjectStoreUnreachableError: S3 did not hand out some scans; these stay pending, the others are settled.
    """
    return _Work(engine=engine, store=store, model=model, run=run, chunk_number=chunk_number).finish()


def settle(engine: Engine, run: RescoreRun, outcomes: Sequence[Outcome]) -> Counter[str]:
    """Write what became of scans, and their answers, in one transaction; returns the states that it wrote.

    What somebody else settled since is left as it is. Where the model has answered a scan by now, that answer stands.
    """
    with transaction(engine) as connection:
        free = _lock(connection, run, outcomes)
        answered = _answered(connection, run, free)
        settled = [_final(outcome, answered) for outcome in outcomes if outcome.scan_id in free]
        written = ((outcome.scan_id, outcome.answers) for outcome in settled if outcome.state is State.RESCORED)
        write_predictions(
            connection, written, scoring_run_id=run.scoring_run_id, model=run.model, scored_by=BackendName.OPENVINO
        )
        connection.execute(
            text("""
            update rescore
            set state = cast(settled.state as rescore_state), processed_at = clock_timestamp()
            from unnest(cast(:scans as bigint[]), cast(:states as text[])) as settled (scan_id, state)
            where rescore.scoring_run_id = :run and rescore.scan_id = settled.scan_id"""),
            {
                "run": run.scoring_run_id,
                "scans": [outcome.scan_id for outcome in settled],
                "states": [outcome.state.value for outcome in settled],
            },
        )
    return Counter(outcome.state.value for outcome in settled)


def _lock(connection: Connection, run: RescoreRun, outcomes: Sequence[Outcome]) -> set[int]:
    """Those that are still pending; until the transaction's end no other rescore settles the same scans."""
    return set(
        connection.scalars(
            text("""
            select scan_id
            from rescore
            join scan using (scan_id)
            where rescore.scoring_run_id = :run and rescore.state = 'pending' and scan_id = any(:scans)
            order by scan_id
            for no key update"""),
            {"run": run.scoring_run_id, "scans": [outcome.scan_id for outcome in outcomes]},
        )
    )


def _answered(connection: Connection, run: RescoreRun, scan_ids: set[int]) -> set[int]:
    """Those of which the model has an answer already."""
    return set(
        connection.scalars(
            text("select scan_id from prediction where model_version_id = :model and scan_id = any(:scans)"),
            {"model": run.model.model_version_id, "scans": list(scan_ids)},
        )
    )


def _final(outcome: Outcome, answered: set[int]) -> Outcome:
    return Outcome(scan_id=outcome.scan_id, state=State.ALREADY) if outcome.scan_id in answered else outcome


@dataclass(kw_only=True)
class _Work:
    """One chunk being worked off."""

    engine: Engine
    store: ObjectStore
    model: LoadedModel
    run: RescoreRun
    chunk_number: int
    counts: Counter[str] = field(default_factory=Counter)
    count_undelivered: int = 0
    undelivered_in_a_row: int = 0

    def finish(self) -> Counter[str]:
        """Settle every scan that can be, those that may kill a worker last and alone."""
        self._settle_already()
        pending = self._pending()
        self._score([scan for scan in pending if not scan.count_taken])
        for scan in pending:
            if scan.count_taken >= MAX_ISOLATED_ATTEMPTS:
                self._settle([Outcome(scan_id=scan.scan.scan_id, state=State.FAILED)])
            elif scan.count_taken:
                self._score([scan])
        _log.info("settled: %s", dict(self.counts))
        if self.count_undelivered:
            raise ObjectStoreUnreachableError(
                f"{self.count_undelivered} scans of chunk {self.chunk_number} of rescore {self.run.scoring_run_id} "
                "could not be read and stay pending; the others are settled. Try again when S3 answers."
            )
        return self.counts

    def _settle_already(self) -> None:
        """Where the model answered before, nothing is read: its old answer stands again."""
        with transaction(self.engine) as connection:
            known = connection.scalars(
                text("""
                select scan_id from rescore
                where scoring_run_id = :run and chunk_number = :chunk and state = 'pending'
                  and exists (
                      select from prediction
                      where prediction.scan_id = rescore.scan_id and prediction.model_version_id = :model)"""),
                self._values(model=self.run.model.model_version_id),
            ).all()
        self._settle([Outcome(scan_id=scan_id, state=State.ALREADY) for scan_id in known])

    def _pending(self) -> list[_Pending]:
        """What is left to do, what most workers died with last."""
        with transaction(self.engine) as connection:
            rows = connection.execute(
                text("""
                select scan_id, bucket, key, etag, count_frame, count_taken
                from rescore
                join scan using (scan_id)
                join scan_location using (scan_id)
                where rescore.scoring_run_id = :run and rescore.chunk_number = :chunk and rescore.state = 'pending'
                order by count_taken, scan_id"""),
                self._values(),
            ).all()
        return [
            _Pending(
                scan=ScoredScan(scan_id=row.scan_id, location=S3Uri(bucket=row.bucket, key=row.key), etag=row.etag),
                count_frame=row.count_frame,
                count_taken=row.count_taken,
            )
            for row in rows
        ]

    def _score(self, scans: list[_Pending]) -> None:
        reading = self.store.concurrently(self._read, scans)
        with self._in_hand(scans), closing(reading) as readings:
            while step := take_step(readings, _frames, seconds=SECONDS_A_STEP):
                undelivered = sum(frames is Unread.UNDELIVERED for _, frames in step)
                is_all = undelivered == len(step)
                self.undelivered_in_a_row = self.undelivered_in_a_row + undelivered if is_all else 0
                if self.undelivered_in_a_row >= MAX_CONSECUTIVE_READ_ERRORS:
                    raise ObjectStoreUnreachableError(
                        f"S3 delivered none of {self.undelivered_in_a_row} scans in a row. What was scored is kept: "
                        "try again when S3 answers."
                    )
                self.count_undelivered += undelivered
                self._settle(_outcomes(self.model, step))

    def _read(self, pending: _Pending) -> tuple[int, PreparedScan | Unread]:
        """The scan's id, and its frames as they were scored, or why there are none. Runs in threads."""
        frames = read_frames(self.store, pending.scan, size=self.model.manifest.image_size)
        if not isinstance(frames, Unread) and len(frames.indexes) != pending.count_frame:
            frames = Unread.UNREADABLE  # no longer as many as have an answer: the two would not be about the same
        return pending.scan.scan_id, frames

    @contextmanager
    def _in_hand(self, scans: list[_Pending]) -> Iterator[None]:
        """Mark scans as taken up; only a worker that dies leaves the mark, or one that a timeout ends."""
        self._mark(scans, 1)
        try:
            yield
        except ORDERLY:
            self._mark(scans, -1)
            raise
        self._mark(scans, -1)

    def _mark(self, scans: list[_Pending], change: int) -> None:
        with transaction(self.engine) as connection:
            connection.execute(
                text("""
                update rescore set count_taken = count_taken + :change
                where scoring_run_id = :run and chunk_number = :chunk and scan_id = any(:scans)"""),
                self._values(change=change, scans=[scan.scan.scan_id for scan in scans]),
            )

    def _settle(self, outcomes: list[Outcome]) -> None:
        if outcomes:
            self.counts += settle(self.engine, self.run, outcomes)
        for outcome in outcomes:
            if outcome.state not in _ANSWERED:
                with bound(scan_id=outcome.scan_id):
                    _log.warning("not rescored, the answer before stands: %s", outcome.state)

    def _values(self, **more: object) -> dict[str, object]:
        return {"run": self.run.scoring_run_id, "chunk": self.chunk_number, **more}


def _frames(reading: tuple[int, PreparedScan | Unread]) -> PreparedScan | None:
    return None if isinstance(reading[1], Unread) else reading[1]


def _outcomes(model: LoadedModel, step: Sequence[tuple[int, PreparedScan | Unread]]) -> list[Outcome]:
    """Score the readable scans of a step in one go, and say of the others why not; undelivered ones stay pending."""
    outcomes = [
        Outcome(scan_id=scan_id, state=_STATES[frames])
        for scan_id, frames in step
        if isinstance(frames, Unread) and frames in _STATES
    ]
    readable = [(scan_id, frames) for scan_id, frames in step if not isinstance(frames, Unread)]
    if readable:
        stream = to_predictions(
            model.predict(np.concatenate([frames.pixels for _, frames in readable])), model.manifest
        )
        outcomes += [
            Outcome(scan_id=scan_id, state=State.RESCORED, answers=take_predictions(stream, frames))
            for scan_id, frames in readable
        ]
    return outcomes
