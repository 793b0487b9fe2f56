"""Write a model card in Markdown: intended use, data, training, metrics and limits.

Source of the form: Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.

>>> Path("model_card.md").write_text(model_card(report), encoding="utf-8")
"""

from __future__ import annotations

from collections.abc import Iterator

from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.optimism import MINIMUM_GROUPS
from braintumor.evaluation.report.formatting import duration, figure, interval, size
from braintumor.evaluation.report.model_report import SPLITS, ModelReport
from braintumor.evaluation.report.tables import missing_attributes
from braintumor.imaging.decoding.formats import all_formats
from braintumor.labels import CLASSES
from braintumor.markdown import escaped, table

INTENDED_USE = f"""For review, not for diagnosis.

It sorts single slices of brain MRI ({all_formats("or")}) into glioma, meningioma, normal and pituitary,
so that a radiologist can review them in a better order. Each slice has its probabilities and the place with the
strongest evidence for the prediction.
It is not for decisions without a radiologist, and not for other organs, modalities or conditions: it assigns every
image to one of the four classes."""

LIMITS = (
    "Groups that are not listed are not assessed.",
    "Test images come from the same source as training images. Other sites and scanners were not tested.",
    "Splits keep near-duplicates together, also mirrored and rotated ones, if a perceptual hash finds them. "
    "Other slices of one head can still be in different splits.",
    "An image of anything else is also assigned to one of the four classes, possibly with high confidence.",
)
"""Limits of every model."""


def model_card(report: ModelReport) -> str:
    """Return the card of a model in Markdown."""
    sections = {
        "Intended use": INTENDED_USE,
        "Data": _data(report),
        "Training": _facts(_training(report)),
        "Metrics": _metrics(report),
        "Calibration": f"Confidence: {report.calibration}.",
        "Gate": report.verdict.to_markdown() if report.verdict else "Not judged.",
        **{escaped(each.title): each.to_markdown() for each in report.all_tables},
        "Limits": "\n".join(f"- {limit}" for limit in _limits(report)),
        "Versions": _facts({name: escaped(value) for name, value in report.library_versions.items()}),
        "Files": _files(report),
    }
    head = f"# {escaped(report.name)}\n\n{escaped(report.provenance)}\n"
    return "\n".join([head, *(f"## {title}\n\n{text.rstrip()}\n" for title, text in sections.items())])


def _data(report: ModelReport) -> str:
    rows = [
        [split, f"{report.images_per_split[split]:,}"]
        + [f"{report.images_per_class.get(split, {}).get(label, 0):,}" for label in CLASSES]
        for split in SPLITS
    ]
    words = (
        f"Snapshot `{report.snapshot_id}` of {escaped(report.dataset)}. Identical images count once and are in one "
        "split. Weights are fitted on train. Tuning, calibration and the selection of the candidate use validation. "
        "The gate judges the candidate on test."
    )
    return f"{words}\n\n{table(['split', 'images', *CLASSES], rows)}"


def _training(report: ModelReport) -> dict[str, str]:
    return {
        "Status": report.status or "never promoted",
        "Backbone": escaped(report.backbone),
        "Recipe": escaped(report.recipe),
        "Initialization": escaped(report.initialization),
        "Image size": f"{report.image_size} x {report.image_size} pixels",
        "Epochs": report.epochs,
        "Training time": f"{duration(report.training_seconds)} on {escaped(report.device)}",
        "Seed": str(report.seed),
        "Parameters": f"{report.parameters:,}",
        "Size on disk": size(report.artifact_bytes),
        "Scoring speed": escaped(str(report.throughput or "not measured")),
        "Code": escaped(report.code_version),
        "Created": escaped(report.created),
    }


def _metrics(report: ModelReport) -> str:
    splits = [_split_row(evaluation) for evaluation in (report.validation, report.test)]
    classes = [
        [c.label, f"{c.support:,}", *map(figure, (c.precision, c.recall, c.specificity, c.f1, c.auroc))]
        for c in report.test.per_class
    ]
    return "\n".join(
        [
            "Intervals are 95% Wilson intervals. Macro metrics are means over the classes.",
            "",
            table(
                ["split", "images", "accuracy", "macro precision", "macro recall", "macro F1", "tumor sensitivity",
                 "calibration error", "log loss"],
                splits,
            ),
            report.test_patients,
            "",
            "Each class, on test:",
            "",
            table(["class", "images", "precision", "recall (sensitivity)", "specificity", "F1", "AUROC"], classes),
        ]
    )  # fmt: skip


def _split_row(e: Evaluation) -> list[str]:
    accuracy = interval(e.accuracy, e.accuracy_low, e.accuracy_high)
    others = (
        e.macro_precision, e.macro_recall, e.macro_f1, e.tumor_sensitivity, e.expected_calibration_error, e.log_loss,
    )  # fmt: skip
    return [e.split, f"{e.count:,}", accuracy, *map(figure, others)]


def _limits(report: ModelReport) -> Iterator[str]:
    yield report.patients
    small = [
        f"{s.attribute} {s.value} ({s.count_group} groups, {s.count} images)"
        for s in report.slices
        if s.interval is None
    ]
    if not report.slices:
        yield "Slices are not assessed because the images have no attributes."
    elif small:
        yield f"Not assessed because of fewer than {MINIMUM_GROUPS} groups of test images: {escaped('; '.join(small))}."
    if missing := missing_attributes(report.slices):
        yield missing
    yield from LIMITS


def _files(report: ModelReport) -> str:
    rows = [[f"`{name}`", f"`{digest}`"] for name, digest in sorted(report.artifact_sha256s.items())]
    return table(["file", "sha256"], rows) if rows else "Not recorded."


def _facts(facts: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items()) or "Not recorded."
