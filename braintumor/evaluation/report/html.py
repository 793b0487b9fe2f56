"""Reports as one self-contained HTML page each: a model by itself, and all models of a run beside each other.

Pictures are data URIs and nothing is fetched, so that a page can be mailed, archived and opened without a network.
Every text is escaped: file names and labels come from outside.

>>> page = model_report(report)
>>> Path("report.html").write_text(page, encoding="utf-8")
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment

from braintumor.errors import EvaluationError
from braintumor.evaluation.report import plots
from braintumor.evaluation.report.formatting import duration, figure, size
from braintumor.evaluation.report.model_report import ModelReport
from braintumor.evaluation.report.tables import ReportTable, occlusion_table, slices_table
from braintumor.reports.jinja import page_environment

CARD = "model_card.md"
"""The model card's name, beside the page that links to it."""


def model_report(report: ModelReport) -> str:
    """The page of one model: provenance, verdict, figures, pictures, tables, facts, and a link to its card."""
    tables = (
        occlusion_table(report.occlusion, image_size=report.image_size),
        slices_table(report.slices),
        *report.tables,
    )
    page = _environment().get_template("model.html")
    return page.render(report=report, evaluations=(report.validation, report.test), tables=tables, card=CARD)


def comparison_report(
    models: Sequence[ModelReport], *, title: str = "Models of one run", tables: Sequence[ReportTable] = ()
) -> str:
    """One page that sets all models of a run beside each other, the best validation accuracy first.

    Args:
        models: one or more, with different names.
        title: of the page.
        tables: more tables, such as a paper's published results.

    Raises:
        EvaluationError: there are no models, or two of one name.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) != len(names):
        raise EvaluationError(
            f"A comparison needs one model or more, each with its own name. Received: {names}. Name them apart."
        )
    ranked = sorted(models, key=lambda model: model.rank)
    picture = plots.accuracy_plot({model.name: (model.validation, model.test) for model in ranked})
    page = _environment().get_template("comparison.html")
    return page.render(title=title, models=ranked, picture_png=picture, tables=tables, warnings=_warnings(ranked))


def _warnings(models: Sequence[ModelReport]) -> list[str]:
    """What keeps the figures of these models from being compared."""
    found = []
    if len({model.snapshot_id for model in models}) > 1:
        found.append("These models come from different snapshots: their figures are not of the same images.")
    if len({tuple(m.support for m in model.test.per_class) for model in models}) > 1:
        found.append("The test splits differ in size: their figures are not of the same images.")
    return found


@cache
def _environment() -> Environment:
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters |= {"figure": figure, "duration": duration, "size": size}
    return environment
