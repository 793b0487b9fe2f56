"""Check that a run balances: each listed object has an outcome, and rows in the database confirm this outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ScoringRunError, UnbalancedRunError
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.scoring.run import ScoringRun


@dataclass(frozen=True, kw_only=True)
class CountedBalance:
    """Hold the counts of one run. The first field is the total, and the other fields are its parts.

    One part is ``count_unaccounted``: the objects or scans of the run whose outcome no row of the database states.
    """

    @property
    def is_balanced(self) -> bool:
        """Return whether rows explain every object or scan of the run."""
        return not asdict(self)["count_unaccounted"]

    def __str__(self) -> str:
        """Return the sum as text: ``3 seen = 2 scored + 1 known``. ``erased`` appears only if it is not 0."""
        (whole, total), *parts = ((name.removeprefix("count_"), count) for name, count in asdict(self).items())
        counts = dict(parts)
        unaccounted = counts.pop("unaccounted")
        terms = " + ".join(f"{count} {name}" for name, count in counts.items() if count or name != "erased")
        return f"{total} {whole} = {terms}" + (f", but {unaccounted} UNACCOUNTED" if unaccounted else "")


@dataclass(frozen=True, kw_only=True)
class Balance(CountedBalance):
    """Hold the numbers of objects that one scoring run listed, by outcome.

    A known object was processed by another run first. A deferred object waits for a later run.
    """

    count_seen: int
    count_scored: int
    count_known: int
    count_rejected: int
    count_ignored: int
    count_deferred: int
    count_superseded: int
    count_unaccounted: int
    count_erased: int = 0


def reconcile(engine: Engine, run: ScoringRun, balance: Balance) -> None:
    """Record in Postgres whether a run balances, with its counts.

    Raises:
        UnbalancedRunError: the rows of an object do not explain its outcome. The counts are recorded in this case too.
        ScoringRunError: the run was never planned, or S3 refused all its objects.
    """
    finish_run(engine, run.scoring_run_id, balance, with_counts=True)
    with transaction(engine) as connection:
        connection.execute(text("select mark_cross_patient_duplicates(:run)"), {"run": run.scoring_run_id})
    _require_work_done(engine, run, balance)
    if not balance.is_balanced:
        raise UnbalancedRunError(
            f"Run {run.scoring_run_id} does not balance: {balance}. Find these scans: select scan_id from "
            f"braintumor.scoring_run_object_outcome where scoring_run_id = {run.scoring_run_id} "
            "and outcome = 'unaccounted'. The next run scores the pending scans, or clear this run's failed tasks. "
            "If a scored scan has no prediction, rows were deleted: restore them from a backup."
        )


def store_open_outcomes(engine: Engine, run: ScoringRun) -> None:
    """Store the outcomes ``deferred`` and ``known`` of the run's scans, so that their counts do not change later.

    A deferred scan waits for a later run. A known scan was processed by another run.
    """
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into scan_outcome (scoring_run_id, scan_id, outcome)
            select scoring_run_id, scan_id, outcome
            from scoring_run_object_outcome
            where scoring_run_id = :run and is_known is false and outcome in ('deferred', 'known')
            on conflict do nothing"""),
            {"run": run.scoring_run_id},
        )


def read_balance(engine: Engine, balance: type[CountedBalance], view: str, scoring_run_id: int) -> dict[str, Any]:
    """Read the counts of a run from the database view ``view``. Return them by column.

    The columns are the fields of the class ``balance``.
    """
    columns = ", ".join(field.name for field in fields(balance))
    with transaction(engine) as connection:
        row = connection.execute(
            text(f"select {columns} from {view} where scoring_run_id = :run"), {"run": scoring_run_id}
        ).one()
    return dict(row._mapping)


def count_balance(engine: Engine, run: ScoringRun) -> Balance:
    """Count the balance of a run from its rows. Raises ``ScoringRunError`` if the run stored no listing."""
    counts = read_balance(engine, Balance, "scoring_run_balance", run.scoring_run_id)
    if counts["count_seen"] is None:
        raise ScoringRunError(
            f"Run {run.scoring_run_id} stored no listing, so it cannot be reconciled. Its discovery failed. See the "
            "log of that task, fix the cause, and clear the task."
        )
    return Balance(**counts)


def finish_run(engine: Engine, scoring_run_id: int, balance: CountedBalance, *, with_counts: bool = False) -> None:
    """Record that a run or rescore ended, and whether it balances. ``with_counts`` also stores the counts."""
    counts = asdict(balance) if with_counts else {}
    assignments = "".join(f"{name} = :{name}, " for name in counts)
    with transaction(engine) as connection:
        connection.execute(
            text(f"""
            update scoring_run
            set {assignments}finished_at = now(),
                state = cast(case when :balanced and (planned_at is not null or kind = 'rescore')
                             then 'balanced' else 'unbalanced' end as run_state)
            where scoring_run_id = :run"""),
            {**counts, "run": scoring_run_id, "balanced": balance.is_balanced},
        )


def _require_work_done(engine: Engine, run: ScoringRun, balance: Balance) -> None:
    """Raise ``ScoringRunError`` if the run was never planned, or if S3 refused every object."""
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
            f"Run {run.scoring_run_id} was never planned, so none of its scans was processed: {balance}. See the log "
            "of the task `plan`, fix the cause, and clear the task."
        )
    if row.count_refused and row.count_refused == balance.count_rejected and not balance.count_scored:
        raise ScoringRunError(
            f"S3 refused every object that run {run.scoring_run_id} requested ({row.count_refused}). Check the policy "
            "of the credentials (s3:GetObject, kms:Decrypt). The next run tries the objects again."
        )
