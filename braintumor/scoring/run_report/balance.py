"""The morning's proof: what was seen is the sum of what became of it, counted afresh from the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ScoringRunError, UnbalancedRunError
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.scoring.run import ScoringRun


@dataclass(frozen=True, kw_only=True)
class Balance:
    """One run's counts of objects. It balances when nothing is unaccounted."""

    count_seen: int
    count_scored: int
    count_known: int
    count_rejected: int
    count_ignored: int
    count_deferred: int
    count_superseded: int
    count_unaccounted: int
    count_erased: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether the rows explain every object seen."""
        return self.count_unaccounted == 0

    def __str__(self) -> str:
        return sum_in_words(asdict(self))


def sum_in_words(counts: Mapping[str, int]) -> str:
    """``3 seen = 2 scored + 1 known``: the first count is the sum of the others; ``erased`` only where any are."""
    (whole, total), *parts = ((name.removeprefix("count_"), count) for name, count in counts.items())
    found = dict(parts)
    unaccounted = found.pop("unaccounted")
    told = " + ".join(f"{count} {name}" for name, count in found.items() if count or name != "erased")
    return f"{total} {whole} = {told}" + (f", but {unaccounted} UNACCOUNTED" if unaccounted else "")


def reconcile(engine: Engine, run: ScoringRun, balance: Balance) -> None:
    """Record the run's balance, and refuse a run that does not balance.

    Raises:
        UnbalancedRunError: some object's rows do not say what became of it; the counts are recorded all the same.
        ScoringRunError: the run was never planned, or could read none of its objects.
    """
    _record(engine, run, balance)
    with transaction(engine) as connection:
        connection.execute(text("select mark_cross_patient_duplicates(:run)"), {"run": run.scoring_run_id})
    _require_work_done(engine, run, balance)
    if not balance.is_balanced:
        raise UnbalancedRunError(
            f"Run {run.scoring_run_id} does not balance: {balance}. Look at them: select scan_id from "
            f"braintumor.scoring_run_object_outcome where scoring_run_id = {run.scoring_run_id} "
            "and outcome = 'unaccounted'. "
            "Scans that are still pending are scored by the next run, or by clearing the failed tasks of this one; a "
            "settled scan without its prediction means that rows were deleted: restore them from a backup."
        )


def store_open_outcomes(engine: Engine, run: ScoringRun) -> None:
    """Store which scans the run left to a later run, or found settled by another one, so that both counts stay."""
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into scan_outcome (scoring_run_id, scan_id, outcome)
            select scoring_run_id, scan_id, outcome
            from scoring_run_object_outcome
            join scoring_run_object using (scoring_run_id, scan_id)
            where scoring_run_id = :run and is_known is false and outcome in ('deferred', 'known')
            on conflict do nothing"""),
            {"run": run.scoring_run_id},
        )


def count_balance(engine: Engine, run: ScoringRun) -> Balance:
    """Count a run's balance from the rows, as they are now.

    Raises:
        ScoringRunError: the run never got as far as storing a listing.
    """
    columns = ", ".join(Balance.__dataclass_fields__)
    with transaction(engine) as connection:
        row = connection.execute(
            text(f"select {columns} from scoring_run_balance where scoring_run_id = :run"),
            {"run": run.scoring_run_id},
        ).one()
    if row.count_seen is None:
        raise ScoringRunError(
            f"Run {run.scoring_run_id} stored no listing, so there is nothing to balance. Its discovery failed: see "
            "the log of that task, mend the cause, and clear it."
        )
    return Balance(**row._mapping)


def _require_work_done(engine: Engine, run: ScoringRun, balance: Balance) -> None:
    """Refuse a run that only looks like one: never planned, or refused by S3 at every object."""
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select
                planned_at is not null as is_planned,
                (select count(*) from rejection
                 where rejection.scoring_run_id = scoring_run.scoring_run_id and reason = :refused) as count_refused
            from scoring_run
            where scoring_run_id = :run"""),
            {"run": run.scoring_run_id, "refused": RejectionReason.ACCESS_DENIED},
        ).one()
    if not row.is_planned:
        raise ScoringRunError(
            f"Run {run.scoring_run_id} was never planned, so none of its scans was worked on: {balance}. See the log "
            "of the task `plan`, mend the cause, and clear it."
        )
    if row.count_refused and row.count_refused == balance.count_rejected and not balance.count_scored:
        raise ScoringRunError(
            f"S3 refused every object that run {run.scoring_run_id} asked for ({row.count_refused}). Check the policy "
            "of the credentials (s3:GetObject, kms:Decrypt); the next run tries them again."
        )


def _record(engine: Engine, run: ScoringRun, balance: Balance) -> None:
    assignments = ", ".join(f"{name} = :{name}" for name in asdict(balance))
    with transaction(engine) as connection:
        connection.execute(
            text(f"""
            update scoring_run
            set {assignments}, finished_at = now(),
                state = cast(case when :balanced and planned_at is not null then 'balanced' else 'unbalanced' end
                             as run_state)
            where scoring_run_id = :run"""),
            {**asdict(balance), "balanced": balance.is_balanced, "run": run.scoring_run_id},
        )
