"""The morning's proof: what was seen is the sum of what became of it, counted afresh from the rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Engine, text

from braintumor.database import transaction
from braintumor.errors import ScoringRunError, UnbalancedRunError
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

    @property
    def is_balanced(self) -> bool:
        """Whether the rows explain every object seen."""
        return self.count_unaccounted == 0

    def __str__(self) -> str:
        parts = {name.removeprefix("count_"): count for name, count in asdict(self).items() if name != "count_seen"}
        unaccounted = parts.pop("unaccounted")
        total = " + ".join(f"{count} {name}" for name, count in parts.items())
        return f"{self.count_seen} seen = {total}" + (f", but {unaccounted} UNACCOUNTED" if unaccounted else "")


def reconcile(engine: Engine, run: ScoringRun) -> Balance:
    """Count the run's balance from the rows, record it, and refuse a run that does not balance.

    Raises:
        UnbalancedRunError: some object's rows do not say what became of it; the counts are recorded all the same.
        ScoringRunError: the run never got as far as storing a listing.
    """
    balance = count_balance(engine, run)
    _record(engine, run, balance)
    if not balance.is_balanced:
        raise UnbalancedRunError(
            f"Run {run.scoring_run_id} does not balance: {balance}. Look at them: select scan_id from "
            f"braintumor.sighting_outcome where scoring_run_id = {run.scoring_run_id} and outcome = 'unaccounted'. "
            "Scans that are still pending are scored by the next run, or by clearing the failed tasks of this one; a "
            "settled scan without its prediction means that rows were deleted: restore them from a backup."
        )
    return balance


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


def _record(engine: Engine, run: ScoringRun, balance: Balance) -> None:
    assignments = ", ".join(f"{name} = :{name}" for name in asdict(balance))
    with transaction(engine) as connection:
        connection.execute(
            text(f"""
            update scoring_run set {assignments}, finished_at = now(), state = cast(:state as run_state)
            where scoring_run_id = :run"""),
            {
                **asdict(balance),
                "state": "balanced" if balance.is_balanced else "unbalanced",
                "run": run.scoring_run_id,
            },
        )
