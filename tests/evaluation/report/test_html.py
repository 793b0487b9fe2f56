from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from braintumor.dataset.images.patient_ids import PatientIds
from braintumor.errors import EvaluationError
from braintumor.evaluation.gate.gate import judge
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.gate.split_memory import SplitMemory
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.report.champion_comparison import ChampionComparison, metric_differences
from braintumor.evaluation.report.formatting import duration, size
from braintumor.evaluation.report.html import comparison_report, model_report
from braintumor.evaluation.report.model_card import model_card
from braintumor.evaluation.report.model_report import ModelPlots, ModelReport
from braintumor.evaluation.report.tables import ReportTable
from braintumor.labels import TumorClass

ATTACK = "<script>alert('x')</script>"


_RANKED = (
    ("resnet50-2026w47", "ResNet50, resnet50 v3 candidate"),
    ("vgg16-2026w46", "VGG16, resnet50 v3 champion"),
    ("mobilenet-2026w47", "VGG16, resnet50 v3"),
)


class _Page(HTMLParser):
    """Collects tags, text, links and sources of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.alts: list[str | None] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "srcset"}]
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag == "img":
            self.alts.append(dict(attrs).get("alt"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "title" not in self.open:
            self.words.append(data)


def test_the_first_line_has_weights_dataset_and_patients(report: ModelReport) -> None:
    text = _Page(model_report(report)).text
    assert text.startswith(
        "For review, not for diagnosis Initialization: imagenet (keras.applications). Dataset: phantoms, grouped "
        "70/15/15; images: 2,285 train, 489 validation, 200 test. "
        "Patient independence cannot be verified: the images carry no patient identifiers. All models resnet50-2026w47"
    )


def test_patient_independence_needs_patient_identifiers(report: ModelReport) -> None:
    every = PatientIds(count_image=200, count_identified=200, count_patient=200)
    text = _Page(model_report(replace(report, identified=every))).text
    assert "all 200 images carry a patient identifier, and no patient's images are in two splits" in text
    assert "cannot be verified" not in text


@pytest.mark.parametrize(
    ("identified", "words"),
    [
        (PatientIds(count_image=1200, count_identified=1100, count_patient=1100), "only 1,100 of 1,200 images carry"),
        (
            PatientIds(count_image=9, count_identified=9, count_patient=8),
            "all 9 images carry a patient or study identifier, but only 8 a patient identifier",
        ),
        (None, "was not counted when the snapshot was taken"),
    ],
)
def test_report_and_card_count_missing_patient_identifiers(
    report: ModelReport, identified: PatientIds | None, words: str
) -> None:
    changed = replace(report, identified=identified)
    for text in (_Page(model_report(changed)).text, model_card(changed)):
        assert "Patient independence cannot be verified: " in text and words in text
        assert "no patient's images" not in text


def test_page_and_card_show_known_patients_and_interval(report: ModelReport) -> None:
    for text in (_Page(model_report(report)).text, model_card(report)):
        assert "The patient is known for 120 of 200 test images." in text
        assert "0.851 to 0.963 (77 clusters, bootstrap)" in text
    without = model_card(replace(report, clustered=None))
    assert "The patients of the test images were not counted." in without


def test_report_states_images_kept_out_of_test(report: ModelReport) -> None:
    identified = PatientIds(
        count_image=300, count_identified=250, count_patient=250, count_kept_from_test=41, exempt=(TumorClass.NORMAL,)
    )
    words = "41 images without a patient are kept out of the test split. Images of normal may enter it without"
    changed = replace(report, identified=identified)
    for text in (_Page(model_report(changed)).text, model_card(changed)):
        assert words in text


def test_the_model_page_shows_metrics_and_facts(report: ModelReport) -> None:
    text = _Page(model_report(report)).text
    expected = [
        "0.915",  # accuracy
        "0.868 to 0.946",  # its interval
        "Gate: passed",
        "recall of glioma 0.90 reaches the minimum 0.60 (45 of 50)",
        "no champion: absolute rules alone decide",
        "Recall (sensitivity)",
        "snap-9f31",
        "4 run, weights of epoch 3 kept",
        "27 min",
        "23,595,908",
        "Seed 7",
        "94.6 MB",
        "37.2 images/s (openvino-cpu, two old cores, 2 threads)",
        "0.131 before temperature scaling",
        "the marked place 60 0.312 0.300 (0.199 to 0.425)",
        "a random place 60 0.021 0.050 (0.017 to 0.137)",
        "It does not show that the marked place is the tumor",
        "format jpeg 60 120 0.917 (0.840 to 0.970)",
        "format png 19 80 not assessed",
        "temperature 1.312, fitted on validation; calibration error on test 0.131 before, 0.005 after",
        "build-7a592c8",
        "keras 3.15.0, numpy 2.4.6",
        "Small ones left out.",
    ]
    assert [words for words in expected if words not in text] == []


def test_a_refused_model_lists_failed_rules_first(report: ModelReport, good: Evaluation) -> None:
    verdict = judge(good, GateRules.load().model_copy(update={"minimum_accuracy": 0.95}))
    page = model_report(replace(report, verdict=verdict))
    assert "Gate: refused" in page
    assert page.count('<tr class="failed">') == 1
    reason = "accuracy 0.92 is below the minimum 0.95 (183 of 200)"
    assert page.count(reason) == 2, "at the top, and first in the table of rules at the end"
    assert page.index("Facts</h2>") < page.rindex(reason) < page.index("✓ passed")


def test_report_compares_with_the_champion_before_metrics(
    report: ModelReport, good: Evaluation, evaluation_of: Callable[..., Evaluation]
) -> None:
    champion = evaluation_of([[46, 2, 1, 1], [2, 45, 2, 1], [1, 1, 47, 1], [1, 1, 2, 46]])
    comparison = ChampionComparison(
        champion="vgg16-2026w40",
        snapshot_id="snap-9f31",
        rows=metric_differences(good, champion),
        count_image=200,
        count_changed=35,
    )
    compared = replace(report, comparison=comparison, run_key="scheduled__2026-11-22T03:00:00+00:00")
    text = _Page(model_report(compared)).text
    assert "predict different classes for 35 of 200 test images" in text
    assert "accuracy 0.915 0.920 -0.005" in text and "recall of normal 0.940 0.940 identical" in text
    assert text.index("recall of pituitary") < text.index("Macro precision") < text.index("Rules of the gate")
    preview = "../../runs/scheduled__2026-11-22T03-00-00-00-00/flip_preview.html"
    assert preview in _Page(model_report(compared)).links
    same = replace(comparison, rows=metric_differences(good, good), count_changed=0)
    assert "Identical to the champion vgg16-2026w40" in same.to_markdown()
    assert same.to_markdown().count("| identical |") == len(same.rows) == 6


def test_a_report_without_plots_verdict_or_training_renders(report: ModelReport) -> None:
    bare = replace(
        report,
        plots=ModelPlots(),
        verdict=None,
        history={},
        training_seconds=0,
        throughput=None,
        uncalibrated_error=None,
        occlusion=None,
        slices=(),
        temperature=None,
        tables=(),
    )
    page = _Page(model_report(bare))
    assert "img" not in page.tags
    assert "not trained" in page.text
    assert "not measured" in page.text
    assert "Gate" not in page.text


def test_undefined_metrics_are_shown_as_not_defined(report: ModelReport, good: Evaluation) -> None:
    test = replace(good, tumor_sensitivity=None)
    assert "not defined" in _Page(model_report(replace(report, test=test))).text


def _pages(report: ModelReport) -> list[str]:
    return [model_report(report), comparison_report([report], tables=report.tables)]


def test_pages_are_well_formed_and_self_contained(report: ModelReport) -> None:
    for text in _pages(report):
        page = _Page(text)
        assert page.open == []
        assert not re.search(r"https?://", text)
        assert "url(" not in text
        assert page.sources
        assert all(source.startswith("data:image/png;base64,") for source in page.sources)
        assert set(page.links) <= {"model_card.md", "../../", "#rules"}, "only the card and the page of all models"
        assert not {"script", "link", "iframe"} & set(page.tags)
        assert all(page.alts)
        assert page.text.startswith("For review, not for diagnosis")
        assert "prefers-color-scheme: dark" in text


def test_the_model_page_shows_all_six_plots(report: ModelReport) -> None:
    assert _Page(model_report(report)).tags.count("img") == 6


def test_untrusted_names_are_escaped_everywhere(report: ModelReport) -> None:
    table = ReportTable(title=ATTACK, note=ATTACK, columns=(ATTACK,), rows=((ATTACK,),))
    words = (
        "name",
        "backbone",
        "recipe",
        "initialization",
        "dataset",
        "snapshot_id",
        "device",
        "code_version",
        "created",
    )
    attacked = replace(
        report,
        **dict.fromkeys(words, ATTACK),
        library_versions={ATTACK: ATTACK},
        tables=(table,),  # type: ignore[arg-type]
    )
    for page in [*_pages(attacked), comparison_report([attacked], title=ATTACK)]:
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_the_comparison_ranks_by_validation_and_marks_roles(
    report: ModelReport, evaluation_of: Callable[..., Evaluation]
) -> None:
    weaker, weakest = (
        evaluation_of([[n, 50 - n, 0, 0], [0, 45, 5, 0], [0, 0, 45, 5], [0, 0, 5, 45]], split="validation")
        for n in (35, 20)
    )
    champion = replace(report, name="vgg16-2026w46", role="champion", backbone="VGG16", validation=weaker)
    trained = replace(champion, name="mobilenet-2026w47", role="trained", validation=weakest)
    text = _Page(comparison_report([trained, champion, report], title="Week 47")).text
    names = [text.index(f"{name} {rest}") for name, rest in _RANKED]
    assert names == sorted(names)
    assert "The candidate is selected on validation, and the gate judges it on test." in text
    assert "trained" not in text
    assert "validation 0.850 (0.794 to 0.893)" in text
    assert "test 0.915 (0.868 to 0.946)" in text
    assert text.count("27 min") == 3
    assert text.count("37.2") == 3 and text.count("on openvino-cpu, two old cores, 2 threads") == 1


def test_the_comparison_shows_why_a_model_was_refused(report: ModelReport, good: Evaluation) -> None:
    verdict = judge(good, GateRules.load().model_copy(update={"minimum_accuracy": 0.95}))
    text = _Page(comparison_report([replace(report, verdict=verdict)])).text
    assert "Why resnet50-2026w47 was refused accuracy 0.92 is below the minimum 0.95 (183 of 200)" in text


def test_the_comparison_warns_when_images_differ(report: ModelReport) -> None:
    other = replace(report, name="other", snapshot_id="snap-2")
    assert "different snapshots" in comparison_report([report, other])
    assert "different snapshots" not in comparison_report([report, replace(other, snapshot_id=report.snapshot_id)])


def test_a_comparison_of_no_models_or_equal_names_is_refused(report: ModelReport) -> None:
    with pytest.raises(EvaluationError, match=r"Received: \[\]"):
        comparison_report([])
    with pytest.raises(EvaluationError, match="own name"):
        comparison_report([report, report])


def test_validation_and_test_cannot_be_swapped(report: ModelReport) -> None:
    with pytest.raises(EvaluationError, match="'test', 'validation'"):
        replace(report, validation=report.test, test=report.validation)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "not trained"), (42.4, "42 s"), (89, "89 s"), (1630, "27 min"), (3599, "1 h 0 min"), (3725, "1 h 2 min")],
)
def test_durations_are_formatted(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "not recorded"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_999, "1.0 MB"),
        (94_600_000, "94.6 MB"),
        (10**13, "10000.0 GB"),
    ],
)
def test_sizes_are_formatted(count: int, words: str) -> None:
    assert size(count) == words


def test_the_page_states_the_memory_of_the_test_split(report: ModelReport) -> None:
    assert report.verdict is not None
    memory = SplitMemory(count_judged=7, count_year=3, reference="vgg16-2026w01", champion_optimism=0.0123)
    page = _Page(model_report(replace(report, verdict=replace(report.verdict, memory=memory))))
    assert "The gate has judged 7 candidates on this test split, 3 in the last 365 days." in page.text
    assert "The reference model is vgg16-2026w01." in page.text
    assert "look up to 0.012 too high" in page.text
