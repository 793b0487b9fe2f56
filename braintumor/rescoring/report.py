"""Report the changes of a rescore: a few lines of text for the log, and one page with images of patients.

Only the access-checked route of Airflow's plugin serves the page. It names scans by their IDs, never by object keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from braintumor.preview.page import SHOWN_FLIPS, FlipWithImages, counted, flip_templates, kinds
from braintumor.preview.prediction_changes import Flips, find_flips
from braintumor.rescoring.balance import RescoreBalance, count_balance
from braintumor.rescoring.request import RescoreRun, age_warning, models_before


@dataclass(frozen=True, kw_only=True)
class RescoreReport(Flips):
    """Hold the request, the balance and the changed predictions of a rescore.

    ``model`` is the name of the model that scored the scans. ``before`` has the names of the models whose predictions
    it replaces. ``warning`` is a sentence if ``model`` is older than one of these models, otherwise an empty text.
    """

    model: str
    before: tuple[str, ...]
    is_champion: bool
    actor: str
    reason: str
    warning: str
    balance: RescoreBalance


def make_report(engine: Engine, run: RescoreRun) -> RescoreReport:
    """Compare the predictions that a rescore has made so far with the predictions before it, and return the report."""
    flips = find_flips(engine, "rescoring/prediction_pairs.sql", {"run": run.scoring_run_id}, shown=SHOWN_FLIPS)
    before = models_before(engine, run)
    return RescoreReport(
        transitions=flips.transitions,
        flips=flips.flips,
        model=run.model.model_name,
        before=tuple(model.model_name for model in before),
        is_champion=run.is_champion,
        actor=run.actor,
        reason=run.reason,
        warning=age_warning(run, before),
        balance=count_balance(engine, run),
    )


def summary(report: RescoreReport) -> str:
    """Return a summary of the changes in one or two sentences."""
    balance = report.balance
    count_scored = balance.count_rescored + balance.count_already_scored
    head = f"{report.model} has scored {counted(count_scored, 'scan')} of {balance.count_asked:,} that were requested."
    if not report.count_compared:
        return f"{head} None could be compared."
    compared = counted(report.count_compared, "prediction")
    if not report.count_flip:
        return f"{head} None of {compared} changed."
    return f"{head} {report.count_flip:,} of {compared} changed: {kinds(report)}."


def to_text(report: RescoreReport, *, address: str) -> str:
    """Return the report as plain text for the log, with the ``address`` of the page."""
    lines = [summary(report), f"{report.balance}.", report.warning, f"The page with the images: {address}"]
    return "\n".join(line for line in lines if line)


def report_page(report: RescoreReport, shown: Iterable[FlipWithImages], *, run_key: str) -> str:
    """Return the page of a rescore as HTML. ``shown`` has changed predictions with images, the most severe first."""
    template = flip_templates().get_template("rescore.html")
    return template.render(report=report, shown=list(shown), run_key=run_key, summary=summary(report))
