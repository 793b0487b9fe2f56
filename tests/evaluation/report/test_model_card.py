from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braintumor.evaluation.gate.gate import GateRules, judge
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.set_coverage import set_coverage
from braintumor.evaluation.report.model_card import model_card
from braintumor.evaluation.report.model_report import ModelReport
from braintumor.evaluation.report.tables import sets_table
from braintumor.labels import CLASSES
from braintumor.serving.prediction_set import SetThresholds


def section(card: str, title: str) -> str:
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Intended use", "For review, not for diagnosis."),
        ("Data", "Snapshot `snap-9f31` of phantoms, grouped 70/15/15."),
        ("Data", "| test | 200 | 50 | 50 | 50 | 50 |"),
        ("Data", "| train | 2,285 | 571 | 571 | 571 | 572 |"),
        ("Training", "- Recipe: resnet50 v3"),
        ("Training", "- Initialization: imagenet (keras.applications)"),
        ("Training", "- Scoring speed: 37.2 images/s (openvino-cpu, two old cores, 2 threads)"),
        ("Training", "- Size on disk: 94.6 MB"),
        ("Metrics", "| test | 200 | 0.915 (0.868 to 0.946) |"),
        ("Metrics", "| glioma | 50 | 0.918 | 0.900 |"),
        ("Calibration", "calibration error on test 0.131 before, 0.005 after"),
        ("Gate", "| sensitivity_glioma | passed |"),
        ("Does hiding the marked place change the prediction?", "| the marked place | 60 | 0.312 |"),
        ("Slices of the test images", "| format | jpeg | 60 | 120 | 0.917 (0.840 to 0.970) |"),
        ("Limits", "Patient independence cannot be verified"),
        ("Limits", "because of fewer than 20 groups of test images: format png (19 groups, 80 images)."),
        ("Limits", "because no test image has it: age, sex, manufacturer, field strength, sequence."),
        ("Versions", "- keras: 3.15.0"),
        ("Files", f"| `model.bin` | `{'cd' * 32}` |"),
    ],
)
def test_the_card_contains(report: ModelReport, title: str, words: str) -> None:
    assert words in section(model_card(report), title)


def test_the_card_shows_a_refusal_or_a_missing_verdict(report: ModelReport, good: Evaluation) -> None:
    refused = judge(good, GateRules.load().model_copy(update={"minimum_accuracy": 0.95}))
    assert "| accuracy | **FAILED** |" in section(model_card(replace(report, verdict=refused)), "Gate")
    assert section(model_card(replace(report, verdict=None)), "Gate").strip() == "Not judged."


def test_missing_measurements_are_shown_as_not_measured(report: ModelReport) -> None:
    bare = replace(report, throughput=None, uncalibrated_error=None, occlusion=None, slices=(), artifact_sha256s={})
    card = model_card(bare)
    assert "Scoring speed: not measured" in card
    assert "Slices are not assessed" in section(card, "Limits")
    assert "| not assessed | 0 |" in section(card, "Does hiding the marked place change the prediction?")
    assert section(card, "Files").strip() == "Not recorded."


def test_the_card_states_target_guarantee_and_coverage_of_sets(report: ModelReport) -> None:
    thresholds = SetThresholds(
        coverage=0.95,
        lowest_probability=dict.fromkeys(CLASSES, 0.3),
        count_group={**dict.fromkeys(CLASSES, 40), "pituitary": 9},
    )
    labels = np.repeat(np.arange(4), (30, 40, 20, 19))
    inside = np.eye(4, dtype=bool)[labels]
    inside[:3] = False
    coverages = set_coverage(inside, labels, [str(image) for image in range(len(labels))])
    words = section(model_card(replace(report, tables=(sets_table(thresholds, coverages),))), "Prediction sets")
    assert "for each class, 95% of the images of new groups" in words and "fitted on validation" in words
    assert "| glioma | 0.300 | 40 | 95.0% | 30 | 0.900 (0.744 to 0.965) | 0.90 | 90.0% |" in words
    assert "| pituitary | 0.300 | 9 | 90.0% | 19 | not assessed: fewer than 20 groups |" in words
    without = section(model_card(replace(report, tables=(sets_table(None, ()),))), "Prediction sets")
    assert "The model has no prediction sets" in without and "| not assessed |" in without


def test_every_table_of_the_card_is_well_formed(report: ModelReport) -> None:
    blocks = [block.splitlines() for block in model_card(report).split("\n\n") if block.startswith("| ")]
    assert len(blocks) >= 7
    for lines in blocks:
        assert len({line.count("|") for line in lines}) == 1, lines[0]
        assert set(lines[1]) <= set("|-: ")


def test_untrusted_names_are_escaped_in_the_card(report: ModelReport) -> None:
    name = "a|b <img src=x>\n# *x* [y](z) `c`"
    card = model_card(replace(report, name=name, dataset=name, backbone=name, device=name))
    assert card.startswith(r"# a\|b \<img src=x\> # \*x\* \[y\](z) \`c\`" + "\n")
    assert "<img" not in card.replace(r"\<img", "") and "\n# *" not in card
