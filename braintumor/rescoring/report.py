"""What a rescore changed, for people: a few lines of Markdown for the log, and one page with the pictures.

The page shows images of production: it is handed out by the access-checked route of Airflow's page alone. Scans are
named by their ids, never by their keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from braintumor.preview.flips import Flips, find_flips
from braintumor.preview.page import SHOWN_FLIPS, FlipWithImages, changes_table, counted, flip_templates, kinds
from braintumor.rescoring.balance import RescoreBalance, count_balance
from braintumor.rescoring.request import RescoreRun, age_warning, models_before


@dataclass(frozen=True, kw_only=True)
class RescoreReport(Flips):
    """What was asked, what came of it, and which answers changed.

    Attributes:
        model: name of the model that answered.
        before: names of the models whose answers stood.
        warning: a sentence where the model is older than one of them; empty where it is not.
    """

    model: str
    before: tuple[str, ...]
    is_champion: bool
    actor: str
    reason: str
    warning: str
    balance: RescoreBalance


def make_report(engine: Engine, run: RescoreRun) -> RescoreReport:
    """Compare what the rescore's model says of its scans, as far as it came, with the answers that stood before."""
    found = find_flips(engine, _ANSWERED, {"run": run.scoring_run_id}, shown=SHOWN_FLIPS)
    before = models_before(engine, run)
    return RescoreReport(
        transitions=found.transitions,
        flips=found.flips,
        model=run.model.model_name,
        before=tuple(model.model_name for model in before),
        is_champion=run.is_champion,
        actor=run.actor,
        reason=run.reason,
        warning=age_warning(run, before),
        balance=count_balance(engine, run),
    )


_ANSWERED = """
    from rescore
    join scoring_run using (scoring_run_id)
    join prediction as before_answer
        on before_answer.scan_id = rescore.scan_id
        and before_answer.model_version_id = rescore.before_model_version_id
    join prediction as after_answer
        on after_answer.scan_id = rescore.scan_id
        and after_answer.frame_index = before_answer.frame_index
        and after_answer.model_version_id = scoring_run.model_version_id
    where rescore.scoring_run_id = :run and rescore.state in ('rescored', 'already_scored')"""


def summary(report: RescoreReport) -> str:
    """What changed, in a sentence or two."""
    balance = report.balance
    count_answered = balance.count_rescored + balance.count_already_scored
    head = f"{report.model} answers {counted(count_answered, 'scan')} of {balance.count_asked:,} that were asked for."
    if not report.count_compared:
        return f"{head} None could be compared."
    compared = counted(report.count_compared, "answer")
    if not report.count_flip:
        return f"{head} None of {compared} changed."
    return f"{head} {report.count_flip} of {compared} changed {kinds(report)}"


def to_markdown(report: RescoreReport, *, address: str = "") -> str:
    """What the log of the rescore says, with a link to the page."""
    lines = ["### Rescore", "", summary(report), "", f"{report.balance}.", ""]
    if report.warning:
        lines += [f"**{report.warning}**", ""]
    lines.append(changes_table(report, "answer before", "answer after"))
    if address:
        lines += [f"[The pictures, worst first]({address})", ""]
    return "\n".join(lines)


def report_page(report: RescoreReport, shown: Iterable[FlipWithImages], *, run_key: str, created: str) -> str:
    """The whole page; ``created`` says when, in words."""
    template = flip_templates().get_template("rescore.html")
    return template.render(report=report, shown=list(shown), run_key=run_key, created=created, summary=summary(report))
