"""Score one chunk of a rescore: read each scan at its scored version, predict, commit.

One transaction writes the predictions of a scan and its new state, if the state is still pending. So two workers never
both write a scan. A worker increments ``count_taken`` of its scans before the work, and decrements it afterwards. After
a crash the count stays incremented. The next attempt processes the scans with such a count one at a time. A scan fails
after three crashes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ObjectStoreUnreachableError
from braintumor.logs import bound
from braintumor.rescoring.request import RescoreRun
from braintumor.s3 import ObjectStore
from braintumor.scoring.lease import MAX_ISOLATED_ATTEMPTS, NORMAL_FAILURES
from braintumor.scoring.pipeline import Pipeline, Predicted, ToPredict
from braintumor.scoring.predictions import write_predictions
from braintumor.scoring.reading import ReadFailure, Reading, ScanObject, ScanReader
from braintumor.serving.backend import BackendName, LoadedModel
from braintumor.serving.prediction import Prediction

_log = logging.getLogger(__name__)


class State(StrEnum):
    """Name the final states of a scan. Only ``rescored`` and ``already_scored`` change its current prediction."""

    RESCORED = "rescored"
    ALREADY_SCORED = "already_scored"
    GONE = "gone"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    FAILED = "failed"


_STATES = {ReadFailure.GONE: State.GONE, ReadFailure.REFUSED: State.REFUSED, ReadFailure.UNREADABLE: State.UNREADABLE}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold the outcome of one scan, with one prediction per frame if the scan was scored."""

    scan_id: int
    state: State
    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _PendingScan(ScanObject):
    """Hold a scan to score. ``count_taken`` counts the workers that crashed while they processed the scan."""

    count_frame: int
    count_taken: int


def rescore_chunk(
    engine: Engine, store: ObjectStore, model: LoadedModel, run: RescoreRun, chunk_number: int
) -> Counter[str]:
    """Score and commit the pending scans of a chunk, and return the number of scans per state.

    Raises:
        ObjectStoreUnreachableError: S3 did not deliver some scans, which stay pending. The others are committed.
    """
    reader = ScanReader(store=store, size=model.manifest.image_size)
    pipeline = Pipeline(reader=reader, model=model)
    return _ChunkRescoring(engine=engine, pipeline=pipeline, run=run, chunk_number=chunk_number).finish()


def commit_outcomes(engine: Engine, run: RescoreRun, outcomes: Sequence[Outcome]) -> Counter[str]:
    """Write the states and predictions of scans in one transaction, and return the number of scans per state.

    Only pending scans change. A scan that the model has scored in the meantime becomes ``already_scored``.
    """
    with transaction(engine) as connection:
        pending = _lock_pending(connection, run, outcomes)
        scored = set(
            connection.scalars(
                text("select scan_id from prediction where model_version_id = :model and scan_id = any(:scans)"),
                {"model": run.model.model_version_id, "scans": list(pending)},
            )
        )
        committed = [
            Outcome(scan_id=outcome.scan_id, state=State.ALREADY_SCORED) if outcome.scan_id in scored else outcome
            for outcome in outcomes
            if outcome.scan_id in pending
        ]
        write_predictions(
            connection,
            ((outcome.scan_id, outcome.predictions) for outcome in committed if outcome.state is State.RESCORED),
            scoring_run_id=run.scoring_run_id,
            model=run.model,
            backend=BackendName.OPENVINO,
        )
        connection.execute(
            text("""
            update rescore
            set state = cast(committed.state as rescore_state), processed_at = clock_timestamp()
            from unnest(cast(:scans as bigint[]), cast(:states as text[])) as committed (scan_id, state)
            where rescore.scoring_run_id = :run and rescore.scan_id = committed.scan_id"""),
            {
                "run": run.scoring_run_id,
                "scans": [outcome.scan_id for outcome in committed],
                "states": [outcome.state.value for outcome in committed],
            },
        )
    return Counter(outcome.state.value for outcome in committed)


def _lock_pending(connection: Connection, run: RescoreRun, outcomes: Sequence[Outcome]) -> set[int]:
    """Lock the scans of ``outcomes`` that this rescore has not finished, and return their IDs."""
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


@dataclass(kw_only=True)
class _ChunkRescoring:
    """Score the pending scans of one chunk."""

    engine: Engine
    pipeline: Pipeline
    run: RescoreRun
    chunk_number: int
    counts: Counter[str] = field(default_factory=Counter)

    def finish(self) -> Counter[str]:
        """Commit every scan that can be read, and return the number of scans per state.

        Scans that may crash the worker come last.
        """
        self._commit_already_scored()
        pending = self._pending()
        self._score([scan for scan in pending if not scan.count_taken])
        for scan in pending:
            if scan.count_taken >= MAX_ISOLATED_ATTEMPTS:
                self._commit([Outcome(scan_id=scan.scan_id, state=State.FAILED)])
            elif scan.count_taken:
                self._score([scan])
        _log.info("committed: %s", dict(self.counts))
        if undelivered := self.pipeline.reader.undelivered:
            raise ObjectStoreUnreachableError(
                f"{len(undelivered)} scans of chunk {self.chunk_number} of rescore {self.run.scoring_run_id} could not "
                "be read and stay pending. The others are committed. Try again when S3 is reachable."
            )
        return self.counts

    def _commit_already_scored(self) -> None:
        """Commit the scans that the model has scored before, without reading their objects."""
        with transaction(self.engine) as connection:
            scan_ids = connection.scalars(
                text("""
                select scan_id from rescore
                where scoring_run_id = :run and chunk_number = :chunk and state = 'pending'
                  and exists (
                      select from prediction
                      where prediction.scan_id = rescore.scan_id and prediction.model_version_id = :model)"""),
                self._values(model=self.run.model.model_version_id),
            ).all()
        self._commit([Outcome(scan_id=scan_id, state=State.ALREADY_SCORED) for scan_id in scan_ids])

    def _pending(self) -> list[_PendingScan]:
        """Return the scans that are still pending, those with the most crashes last."""
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
        return [_PendingScan.of_row(row) for row in rows]

    def _score(self, scans: Sequence[_PendingScan]) -> None:
        count_frames = {scan.scan_id: scan.count_frame for scan in scans}
        with self._counted_attempt(scans):
            self.pipeline.run(scans, partial(_prepare, count_frames=count_frames), self._write)

    def _write(self, unread: list[Outcome], predicted: Predicted[int]) -> None:
        rescored = (
            Outcome(scan_id=scan_id, state=State.RESCORED, predictions=predictions)
            for scan_id, predictions in predicted
        )
        self._commit([*unread, *rescored])

    @contextmanager
    def _counted_attempt(self, scans: Sequence[_PendingScan]) -> Iterator[None]:
        """Count an attempt at the scans while the ``with`` block runs. A crash or a timeout leaves it counted."""
        self._count(scans, 1)
        try:
            yield
        except NORMAL_FAILURES:
            self._count(scans, -1)
            raise
        self._count(scans, -1)

    def _count(self, scans: Sequence[_PendingScan], change: int) -> None:
        with transaction(self.engine) as connection:
            connection.execute(
                text("""
                update rescore set count_taken = count_taken + :change
                where scoring_run_id = :run and chunk_number = :chunk and scan_id = any(:scans)"""),
                self._values(change=change, scans=[scan.scan_id for scan in scans]),
            )

    def _commit(self, outcomes: list[Outcome]) -> None:
        if outcomes:
            self.counts += commit_outcomes(self.engine, self.run, outcomes)
        for outcome in outcomes:
            if outcome.state not in {State.RESCORED, State.ALREADY_SCORED}:
                with bound(scan_id=outcome.scan_id):
                    _log.warning("not rescored, the earlier prediction stays current: %s", outcome.state)

    def _values(self, **more: object) -> dict[str, object]:
        return {"run": self.run.scoring_run_id, "chunk": self.chunk_number, **more}


def _prepare(step: Sequence[Reading], count_frames: dict[int, int]) -> tuple[ToPredict[int], list[Outcome]]:
    """Return the scans to predict, and the outcomes of scans that cannot be predicted.

    Scans that S3 did not deliver stay pending, without an outcome. A scan that now has another number of frames is
    unreadable, because the predictions would not be comparable.
    """
    readable, outcomes = [], []
    for reading in step:
        if reading.frames and len(reading.frames.indexes) == count_frames[reading.scan_id]:
            readable.append((reading.scan_id, reading.frames))
        elif reading.failure is not ReadFailure.UNDELIVERED:
            state = _STATES[reading.failure or ReadFailure.UNREADABLE]
            outcomes.append(Outcome(scan_id=reading.scan_id, state=state))
    return readable, outcomes
