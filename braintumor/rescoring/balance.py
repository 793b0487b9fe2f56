"""The proof of a rescore: what was asked for is the sum of what became of it, counted afresh from the rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ScoringRunError, UnbalancedRunError
from braintumor.rescoring.request import RescoreRun
from braintumor.scoring.run_report.balance import sum_in_words


@dataclass(frozen=True, kw_only=True)
class RescoreBalance:
    """One rescore's counts of scans. It balances when nothing is unaccounted."""

    count_asked: int
    count_rescored: int
    count_already_scored: int
    count_gone: int
    count_refused: int
    count_unreadable: int
    count_failed: int
    count_unaccounted: int
    count_erased: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether the rows explain every scan that was asked for."""
        return self.count_unaccounted == 0

    def __str__(self) -> str:
        return sum_in_words(asdict(self))


def count_balance(engine: Engine, run: RescoreRun) -> RescoreBalance:
    """Count a rescore's balance from the rows, as they are now."""
    columns = ", ".join(RescoreBalance.__dataclass_fields__)
    with transaction(engine) as connection:
        row = connection.execute(
            text(f"select {columns} from rescore_balance where scoring_run_id = :run"), {"run": run.scoring_run_id}
        ).one()
    return RescoreBalance(**row._mapping)


def reconcile(engine: Engine, run: RescoreRun) -> RescoreBalance:
    """Count the balance, record whether it holds, and refuse a rescore that does not balance.

    Raises:
        UnbalancedRunError: the rows of some scan do not say what became of it.
        ScoringRunError: S3 refused every scan.
    """
    balance = count_balance(engine, run)
    with transaction(engine) as connection:
        connection.execute(
            text("""
            update scoring_run
            set finished_at = now(),
                state = cast(case when :balanced then 'balanced' else 'unbalanced' end as run_state)
            where scoring_run_id = :run"""),
            {"run": run.scoring_run_id, "balanced": balance.is_balanced},
        )
    if not balance.is_balanced:
        raise UnbalancedRunError(
            f"Rescore {run.scoring_run_id} does not balance: {balance}. Look at them: select scan_id from "
            f"braintumor.rescore_outcome where scoring_run_id = {run.scoring_run_id} and outcome = 'unaccounted'. "
            "Scans that are still pending are scored by clearing the failed tasks, or by `braintumor rescore --run-key "
            f"{run.run_key!r} --reason ...`; a settled scan without its prediction means that rows were deleted: "
            "restore them from a backup."
        )
    if balance.count_refused and balance.count_refused == balance.count_asked:
        raise ScoringRunError(
            f"S3 refused every object that rescore {run.scoring_run_id} asked for ({balance.count_refused}). Check the "
            "policy of the credentials (s3:GetObject, kms:Decrypt), and ask for another rescore."
        )
    return balance
