"""Check that a rescore balances: the numbers of scans per state add up to the number of requested scans."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from braintumor.errors import ScoringRunError, UnbalancedRunError
from braintumor.rescoring.request import RescoreRun
from braintumor.scoring.run_report.balance import CountedBalance, finish_run, read_balance


@dataclass(frozen=True, kw_only=True)
class RescoreBalance(CountedBalance):
    """Hold the numbers of scans of one rescore, by state. ``count_asked`` is the number of requested scans."""

    count_asked: int
    count_rescored: int
    count_already_scored: int
    count_gone: int
    count_refused: int
    count_unreadable: int
    count_failed: int
    count_unaccounted: int
    count_erased: int = 0


def count_balance(engine: Engine, run: RescoreRun) -> RescoreBalance:
    """Return the balance of a rescore, counted from its rows."""
    return RescoreBalance(**read_balance(engine, RescoreBalance, "rescore_balance", run.scoring_run_id))


def reconcile(engine: Engine, run: RescoreRun) -> RescoreBalance:
    """Record in Postgres whether a rescore balances, and return its balance.

    Raises ``UnbalancedRunError`` if the rows of a scan do not explain its state, or ``ScoringRunError`` if S3 refused
    every scan.
    """
    balance = count_balance(engine, run)
    finish_run(engine, run.scoring_run_id, balance)
    if not balance.is_balanced:
        raise UnbalancedRunError(
            f"Rescore {run.scoring_run_id} does not balance: {balance}. Find these scans: select scan_id from "
            f"braintumor.rescore_outcome where scoring_run_id = {run.scoring_run_id} and outcome = 'unaccounted'. "
            "Scans that are still pending are scored by clearing the failed tasks, or by `braintumor rescore --run-key "
            f"{run.run_key!r} --reason ...`. If a rescored scan has no prediction, rows were deleted. Restore "
            "them from a backup."
        )
    if balance.count_refused and balance.count_refused == balance.count_asked:
        raise ScoringRunError(
            f"S3 refused every object that rescore {run.scoring_run_id} requested ({balance.count_refused}). Check the "
            "policy of the credentials (s3:GetObject, kms:Decrypt), and request another rescore."
        )
    return balance
