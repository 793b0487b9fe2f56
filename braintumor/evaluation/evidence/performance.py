"""Collect how well a model predicts: verdict of the gate, test split, live accuracy and subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from braintumor.dataset.splits.split import Split
from braintumor.db.statements import statement
from braintumor.evaluation.evidence.content import estimate, not_assessed, reason_of, rows
from braintumor.evaluation.metrics.classification import ClassMetrics, Evaluation
from braintumor.evaluation.metrics.optimism import MINIMUM_GROUPS
from braintumor.evaluation.metrics.set_coverage import coverage_of
from braintumor.evaluation.metrics.significance import ClusteredAccuracy, ImagePrediction, ImagePredictions
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.evaluation.model_history import ModelHistory
from braintumor.evaluation.store import load_diagnostics, load_evaluation, load_image_predictions
from braintumor.labels import CLASSES
from braintumor.live_accuracy.figures import Figure
from braintumor.registry.model_versions import ModelVersion

_MINIMUM_IMAGES = 20
"""Smallest number of test images for an accuracy of the whole split."""


def gate(history: ModelHistory) -> dict[str, Any]:
    """Return the section about the gate: the newest verdict with every rule, and all verdicts."""
    if not history.verdicts:
        missing = not_assessed("the gate never judged the model")
        return dict.fromkeys(("verdict", "test_split", "rules"), missing) | {"verdicts": []}
    newest = history.verdicts[-1]
    verdict, memory = newest.verdict, newest.verdict.memory
    return {
        "verdict": {
            "passed": verdict.passed,
            "summary": verdict.summary,
            "judged_at": newest.judged_at,
            "run": newest.run_key,
            "champion": newest.champion,
            "reference_model": memory and memory.reference,
            "rules_version": verdict.rules_version,
        },
        "test_split": {
            "count_candidate_judged": memory.count_judged,
            "count_candidate_judged_in_365_days": memory.count_year,
            "champion_optimism": memory.champion_optimism,
            "not_compared": list(memory.not_assessed),
        }
        if memory
        else not_assessed("the verdict is from a version that did not count candidates"),
        "rules": [
            {"rule": r.name, "passed": r.passed, "value": r.value, "limit": r.bound, "reason": r.reason}
            for r in verdict.rules
        ],
        "verdicts": [
            {"judged_at": v.judged_at, "run": v.run_key, "champion": v.champion, "passed": v.verdict.passed}
            for v in history.verdicts
        ],
    }


def test_accuracy(connection: Connection, model: ModelVersion, history: ModelHistory) -> dict[str, Any]:
    """Return the section about the test split of the model's snapshot."""
    evaluation = load_evaluation(connection, model, model.snapshot_id, Split.TEST)
    problem = _problem(evaluation)
    accesses = [asdict(access) for access in history.test_set_accesses]
    if problem or evaluation is None:
        names = ("overall", "clustered", "classes", "prediction_sets", "confusion", "robustness")
        return dict.fromkeys(names, not_assessed(problem)) | {"accesses": accesses}
    occlusion = load_diagnostics(connection, model, model.snapshot_id, Split.TEST).occlusion
    predictions = load_image_predictions(connection, model, model.snapshot_id, Split.TEST)
    return {
        "overall": {
            "count_image": evaluation.count,
            "accuracy": estimate(evaluation.accuracy, evaluation.accuracy_low, evaluation.accuracy_high),
            "macro_precision": evaluation.macro_precision,
            "macro_recall": evaluation.macro_recall,
            "macro_f1": evaluation.macro_f1,
            "tumor_sensitivity": evaluation.tumor_sensitivity,
            "expected_calibration_error": evaluation.expected_calibration_error,
            "log_loss": evaluation.log_loss,
        },
        "clustered": _clustered(predictions),
        "classes": [_of_class(metrics, predictions) for metrics in evaluation.per_class],
        "prediction_sets": _coverage(model, predictions),
        "confusion": [
            {"label": label} | {f"predicted_{name}": count for name, count in zip(CLASSES, row, strict=True)}
            for label, row in zip(CLASSES, evaluation.confusion, strict=True)
        ],
        "robustness": [
            {"hidden_place": "marked", **asdict(occlusion.marked)},
            {"hidden_place": "random", **asdict(occlusion.elsewhere)},
        ]
        if occlusion
        else not_assessed("no tumor image was classified correctly, or no second place in a frame could be hidden"),
        "accesses": accesses,
    }


def _problem(evaluation: Evaluation | None) -> str:
    """Return why there is no accuracy on test, or an empty text."""
    if evaluation is None:
        return "the model was never evaluated on the test split of its snapshot"
    if evaluation.count < _MINIMUM_IMAGES:
        return f"{evaluation.count} test images, {_MINIMUM_IMAGES} are required"
    if sum(metrics.support > 0 for metrics in evaluation.per_class) == 1:
        return "the test images are of one class only"
    return ""


def _of_class(metrics: ClassMetrics, predictions: ImagePredictions) -> dict[str, Any]:
    recall = _recall([each for each in predictions.values() if each.label is metrics.label])
    facts = {"label": metrics.label, "count_image": metrics.support, "recall": recall}
    if reason_of(recall):
        return facts | dict.fromkeys(("precision", "specificity", "auroc"), recall)
    return facts | {name: getattr(metrics, name) for name in ("precision", "specificity", "auroc")}


def _recall(predictions: Sequence[ImagePrediction]) -> dict[str, Any]:
    """Return the recall of a class with the interval that keeps the images of one patient together."""
    count = len({each.group_key for each in predictions})
    if count < MINIMUM_GROUPS:
        return not_assessed(f"{count} patients or groups of images, {MINIMUM_GROUPS} are required")
    recall = ClusteredAccuracy.of(predictions)
    return estimate(recall.accuracy, recall.low, recall.high)


def _coverage(model: ModelVersion, predictions: ImagePredictions) -> Any:
    """Return how often the prediction set of an image contains its class, as a table by class."""
    if model.prediction_sets is None:
        return not_assessed("the model has no prediction sets")
    return [
        {
            "label": each.label,
            "count_group": each.count_group,
            "coverage": not_assessed(f"{each.count_group} groups, {MINIMUM_GROUPS} are required")
            if each.share is None or each.interval is None
            else estimate(each.share, *each.interval),
        }
        for each in coverage_of(model.prediction_sets, predictions.values())
    ]


def _clustered(predictions: ImagePredictions) -> dict[str, Any]:
    """Return the accuracy with the interval that keeps the images of one patient together."""
    if not any(prediction.has_patient for prediction in predictions.values()):
        return not_assessed("the patient of no test image is known")
    accuracy = ClusteredAccuracy.of(predictions.values())
    if accuracy.count_cluster < MINIMUM_GROUPS:
        return not_assessed(f"{accuracy.count_cluster} patients or groups, {MINIMUM_GROUPS} are required")
    return {
        "accuracy": estimate(accuracy.accuracy, accuracy.low, accuracy.high),
        "count_image": accuracy.count,
        "count_image_with_known_patient": accuracy.count_known,
        "count_cluster": accuracy.count_cluster,
        "method": "bootstrap over patients, and over groups of near-duplicates where no patient is known",
    }


def live_accuracy(connection: Connection, model: ModelVersion) -> dict[str, Any]:
    """Return the section about the accuracy on new scans, as stored at the end of the model's newest scoring run."""
    figures = rows(connection, statement("evaluation/evidence_live"), model)
    if not figures:
        missing = not_assessed("no scoring run of the model has stored an estimate")
        return dict.fromkeys(("accuracy", "sample", "readers", "figures"), missing)
    newest = figures[0]
    accuracy = _live(newest)
    return {
        "accuracy": accuracy
        if reason_of(accuracy)
        else {
            "accuracy": accuracy,
            "estimated_at": newest["estimated_at"],
            "evidence_of_a_drop": newest["drop_evidence"],
            "method": "audit sample of the last 90 days, first blind reviews, each file once, weighted (Hajek, PPI++)",
        },
        "sample": {name: newest[name] for name in newest if name.startswith("count_")},
        "readers": next(_live(each) for each in figures if each["figure"] == Figure.READERS),
        "figures": [
            {"figure": each["figure"], "label": each["label"], "accuracy": _live(each)}
            | {"count_scan_settled": each["count_settled"]}
            for each in figures
        ],
    }


def _live(figure: dict[str, Any]) -> dict[str, Any]:
    if figure["value"] is None:
        return not_assessed(figure["not_assessed"])
    return estimate(figure["value"], figure["low"], figure["high"])


def subgroups(connection: Connection, model: ModelVersion) -> dict[str, Any]:
    """Return the section about groups of test images and groups of new scans."""
    slices = load_diagnostics(connection, model, model.snapshot_id, Split.TEST).slices
    return {
        "test": [
            {"attribute": s.attribute, "value": s.value, "count_group": s.count_group, "count_image": s.count}
            | {"accuracy": _of_slice(s)}
            for s in slices
        ]
        or not_assessed("the test images have no stored attributes"),
        "production": rows(connection, statement("evaluation/evidence_subgroups"), model)
        or not_assessed("no DICOM scan of the last 28 days has stored attributes"),
    }


def _of_slice(result: SliceResult) -> dict[str, Any]:
    """Return the accuracy of a slice with the interval that keeps the images of one patient together."""
    if result.interval is None:
        return not_assessed(f"{result.count_group} patients or groups of images, {MINIMUM_GROUPS} are required")
    return estimate(result.accuracy, *result.interval)
