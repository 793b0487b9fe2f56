"""Build the tables of a report, each with a note that explains the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from braintumor.dataset.images.perceptual_hash import NEAR
from braintumor.evaluation.metrics.leakage import HASH_BITS, DistanceBand
from braintumor.evaluation.metrics.occlusion import Occlusion, window_side
from braintumor.evaluation.metrics.optimism import MINIMUM_GROUPS
from braintumor.evaluation.metrics.set_coverage import SetCoverage
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.evaluation.report.formatting import figure, interval, share
from braintumor.live_accuracy.reading import TUMOR_SHARE, ReadingStep
from braintumor.markdown import escaped, table
from braintumor.serving.prediction_set import SetThresholds


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """Hold an additional table of a report, such as the accuracy by slice."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """Return the note, then the table with escaped cells."""
        return f"{self.note}\n\n{table(self.columns, (list(map(escaped, row)) for row in self.rows))}"


_NOTE = (
    "Accuracy by the distance of each test image to the nearest training image, in any flip or turn. Images within "
    f"{NEAR} bits are kept in one split, so the first row is empty unless images changed their split later. A model "
    "that is correct mostly near training images has memorized them. The last rows show the accuracy of the same "
    "frozen features and head, without augmented views, with a random split of the files, as many public results use. "
    "The difference is the effect of leakage. Both were measured without the test split."
)


def similarity_table(
    bands: Sequence[DistanceBand], *, grouped_accuracy: float | None, random_split_accuracy: float | None
) -> ReportTable | None:
    """Return the table of the similarity of test and training images, or ``None`` if the table has no rows.

    Both accuracies are those of a head on features of the frozen backbone. ``grouped_accuracy`` was measured on the
    validation split, ``random_split_accuracy`` on a random split of the train and validation files.
    """
    rows = [
        (
            f"{band.lowest} to {band.highest} of {HASH_BITS} bits",
            str(band.count),
            share(band.count_correct, band.count) if band.count else "no images",
        )
        for band in bands
    ]
    if grouped_accuracy is not None and random_split_accuracy is not None:
        rows += [
            ("frozen stage, validation split", "", figure(grouped_accuracy)),
            ("frozen stage, random split of the files", "", figure(random_split_accuracy)),
        ]
    if not rows:
        return None
    return ReportTable(
        title="Similarity of test and training images",
        note=_NOTE,
        columns=("Nearest training image", "Images", "Accuracy"),
        rows=tuple(rows),
    )


def occlusion_table(occlusion: Occlusion | None, *, image_size: int) -> ReportTable:
    """Return the table of the effects of hiding the marked place and a random place in images.

    ``image_size`` is the width and height of the images in pixels.
    """
    side = window_side(image_size)
    note = (
        f"A square of {side} x {side} pixels is filled with its frame's median in correctly classified tumor images "
        "of the test split, and the model predicts again (after Zeiler and Fergus 2014). A larger drop at the marked "
        "place shows that the prediction depends more on it than on an equal square elsewhere on the head. "
        "It does not show that the marked place is the tumor, or that the prediction has a valid reason."
    )
    effects = {"the marked place": occlusion.marked, "a random place": occlusion.elsewhere} if occlusion else {}
    return ReportTable(
        title="Does hiding the marked place change the prediction?",
        note=note,
        columns=("Hidden", "Images", "Mean drop in probability", "Changed predictions (95% interval)"),
        rows=tuple(
            (name, str(e.count), figure(e.mean_drop), share(e.count_changed, e.count)) for name, e in effects.items()
        )
        or (("not assessed", "0", "no tumor image classified correctly, or no second place in a frame", ""),),
    )


def reading_table(steps: Sequence[ReadingStep], *, seconds: float) -> ReportTable:
    """Return the table of missed tumors against reading time, for steps on the test split.

    ``seconds`` is the assumed reading time of one scan.
    """
    note = (
        "Reviewers read each scan whose tumor probability (1 minus the probability of normal) is at least the "
        f"threshold, in {seconds:.0f} seconds. {TUMOR_SHARE:.0%} of the scans are assumed to have a tumor. A missed "
        "tumor is below the threshold. The last column has the tumors per hour of reading the scans between this "
        "threshold and the one above. The 95% intervals are clustered by patient or near-duplicates."
    )
    return ReportTable(
        title="Missed tumors against reading time",
        note=note,
        columns=("Threshold", "Minutes per 100 scans", "Missed of 100 tumors", "Tumors that one more hour finds"),
        rows=tuple((f"{s.threshold:g}", f"{s.minutes:.1f}", s.missed_words, s.found_words) for s in steps)
        or (("not assessed", "no tumor or no other image in test", "", ""),),
    )


_SETS_NOTE = (
    "A prediction set has the classes that the probabilities do not rule out: those whose probability is the "
    "threshold or more. An empty set and a set of several classes are review reasons. The thresholds were fitted on "
    "{fitted_on} (class-conditional split conformal prediction). Target: for each class, {coverage:.0%} of the images "
    "of new groups have a set with their class. A group has the images of one patient, or near-duplicates if no "
    "patient is known. With K groups, the fit guarantees at most K / (K + 1). The coverage counts each group once. It "
    "is not the target for images unlike those of the fit."
)
_NO_SETS = (
    "The model has no prediction sets, so low probabilities give no review reason. Validation had no image of a class, "
    "or an earlier version trained the model."
)


def sets_table(thresholds: SetThresholds | None, coverages: Sequence[SetCoverage]) -> ReportTable:
    """Return the table of the prediction sets: thresholds, and coverage on test, by class.

    ``coverages`` has one item per class. It is empty if there are no thresholds or no test predictions.
    """
    columns = (
        "Class", "Threshold", "Groups of the fit", "Guaranteed", "Test groups", "Coverage on test (95% interval)",
        "Mean classes in a set", "Sets of one class",
    )  # fmt: skip
    rows = () if thresholds is None else tuple(_set_row(thresholds, each) for each in coverages)
    return ReportTable(
        title="Prediction sets",
        note=_NO_SETS if thresholds is None else _SETS_NOTE.format(**asdict(thresholds)),
        columns=columns,
        rows=rows or (("not assessed", *[""] * (len(columns) - 1)),),
    )


def _set_row(thresholds: SetThresholds, each: SetCoverage) -> tuple[str, ...]:
    name = each.label.value
    coverage = f"not assessed: fewer than {MINIMUM_GROUPS} groups"
    if each.share is not None and each.interval is not None:
        coverage = interval(each.share, *each.interval)
    sizes = (figure(each.mean_size, 2), f"{each.share_one:.1%}") if each.count_group else ("", "")
    fitted = (
        figure(thresholds.lowest_probability[name]),
        str(thresholds.count_group[name]),
        f"{thresholds.guaranteed(name):.1%}",
    )
    return name, *fitted, str(each.count_group), coverage, *sizes


DICOM_ATTRIBUTES = {
    "age_band": "age",
    "sex": "sex",
    "manufacturer": "manufacturer",
    "field_strength": "field strength",
    "sequence": "sequence",
}
"""Display names of the attributes that only DICOM files have."""


def slices_table(results: Sequence[SliceResult]) -> ReportTable:
    """Return the table of the accuracy of each slice, which has the test images with one value of an attribute."""
    return ReportTable(
        title="Slices of the test images",
        note=(
            "Accuracy by attributes of the files. A slice has the images with one value of an attribute. A group has "
            "the images of one patient, or near-duplicates if no patient is known. Slices of fewer than "
            f"{MINIMUM_GROUPS} groups are not assessed. The intervals are clustered by group. Slices also differ in "
            "their mix of classes, so examine a difference before drawing conclusions. " + missing_attributes(results)
        ).rstrip(),
        columns=("Attribute", "Slice", "Groups", "Images", "Accuracy (95% interval)"),
        rows=tuple(
            (
                r.attribute,
                r.value,
                str(r.count_group),
                str(r.count),
                interval(r.accuracy, *r.interval) if r.interval else "not assessed",
            )
            for r in results
        )
        or (("not assessed", "the files have no attributes", "", "", ""),),
    )


def missing_attributes(results: Iterable[SliceResult]) -> str:
    """Return a sentence that lists the DICOM attributes that no test image has, or an empty text if each occurs."""
    given = {result.attribute for result in results}
    missing = [words for name, words in DICOM_ATTRIBUTES.items() if name not in given]
    return f"Not assessed because no test image has it: {', '.join(missing)}." if missing else ""
