from __future__ import annotations

from dataclasses import replace

from braintumor.evaluation.report.html import comparison_report
from braintumor.evaluation.report.model_report import ModelReport
from braintumor.evaluation.report.paper_baseline import paper_table


def test_recipes_of_the_paper_show_our_accuracy_or_a_dash(report: ModelReport) -> None:
    ours = replace(report, name="a", recipe_name="paper_resnet_dropout_08_8_epochs")
    rows = {row[2]: row for row in paper_table([report, ours]).rows}
    assert {name: row[1] for name, row in rows.items()} == {
        "paper_vgg16": "0.98",
        "paper_vgg16_augmented": "0.97",
        "paper_resnet_dropout_01": "0.966",
        "paper_resnet_dropout_08_8_epochs": "0.88",
        "paper_resnet_dropout_08_15_epochs": "0.96",
    }
    assert rows["paper_resnet_dropout_08_8_epochs"][3] == "0.915 (0.868 to 0.946)"
    assert {row[3] for name, row in rows.items() if name != ours.recipe_name} == {"—"}


def test_the_page_explains_why_figures_are_not_comparable(report: ModelReport) -> None:
    page = comparison_report([report], tables=(paper_table([report]),))
    assert "The figures are not comparable" in page
    assert "validation set (928) contains its test set (464)" in page
