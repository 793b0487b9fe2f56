"""Render self-contained HTML reports of one model, and comparisons of the models of a run.

A page contains its images as data URIs and loads no other file, so it can be mailed, archived and opened offline. Every
text is escaped, because file names and labels are untrusted.
"""

from __future__ import annotations

from collections.abc import Sequence

from braintumor.errors import EvaluationError
from braintumor.evaluation.report import plots
from braintumor.evaluation.report.formatting import report_templates
from braintumor.evaluation.report.model_report import ModelReport
from braintumor.evaluation.report.tables import ReportTable

CARD = "model_card.md"
"""File name of the model card, in the same folder as the page that links to it."""


def model_report(report: ModelReport) -> str:
    """Return the page of one model: provenance, verdict, metrics, plots, tables, facts and a link to its card."""
    page = report_templates().get_template("model.html")
    return page.render(report=report, evaluations=(report.validation, report.test), tables=report.all_tables, card=CARD)


def comparison_report(
    models: Sequence[ModelReport], *, title: str = "Models of one run", tables: Sequence[ReportTable] = ()
) -> str:
    """Return one page that compares the models of a run, the best validation accuracy first.

    Raises:
        EvaluationError: there are no models, or two models have the same name.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) != len(names):
        raise EvaluationError(
            f"A comparison needs one model or more, each with its own name. Received: {names}. Use different names."
        )
    ranked = sorted(models, key=lambda model: model.rank)
    plot = plots.accuracy_plot({model.name: (model.validation, model.test) for model in ranked})
    page = report_templates().get_template("comparison.html")
    return page.render(title=title, models=ranked, plot_png=plot, tables=tables, warnings=_warnings(ranked))


def _warnings(models: Sequence[ModelReport]) -> list[str]:
    """Return the reasons why the metrics of these models cannot be compared."""
    warnings = []
    if len({model.snapshot_id for model in models}) > 1:
        warnings.append("These models come from different snapshots, so their metrics are not of the same images.")
    if len({tuple(m.support for m in model.test.per_class) for model in models}) > 1:
        warnings.append("The test splits differ in size, so the metrics are not of the same images.")
    return warnings
