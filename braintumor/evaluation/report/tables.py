"""A table of a report: words in rows, under a note that says what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from braintumor.dataset.images.perceptual_hash import NEAR
from braintumor.evaluation.metrics.leakage import HASH_BITS, DistanceBand
from braintumor.evaluation.metrics.occlusion import HidingEffect, Occlusion, window_side
from braintumor.evaluation.metrics.slices import MINIMUM_IMAGES, SliceResult
from braintumor.evaluation.report.formatting import figure, share
from braintumor.markdown import escaped, table


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """One more table for a report, such as slices by source folder or the leak receipt."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """The note, then the table; what comes from outside is escaped."""
        return f"{self.note}\n\n{table(self.columns, (list(map(escaped, row)) for row in self.rows))}"


_NOTE = (
    "How near each test image is to the training image that it resembles most, in any flip or turn. Images within "
    f"{NEAR} bits are kept in one split, so the first row is empty unless images changed sides since. A model that is "
    "right mostly where a training image is near remembers rather than recognizes. The last rows show what the same "
    "frozen features and head claim when files are split at random, as public results often are: what is gained there "
    "is the leak. Both were measured without the test split."
)


def leak_table(
    bands: Sequence[DistanceBand], *, grouped_accuracy: float | None, naive_accuracy: float | None
) -> ReportTable | None:
    """The receipt as a report shows it; ``None`` where nothing of it is known.

    Args:
        bands: of ``accuracy_by_distance``.
        grouped_accuracy: of the frozen stage on the validation split.
        naive_accuracy: of the same on a random split of the files of train and validation.
    """
    rows = [
        (
            f"{band.lowest} to {band.highest} of {HASH_BITS} bits",
            str(band.count),
            share(band.count_correct, band.count) if band.count else "no images",
        )
        for band in bands
    ]
    if grouped_accuracy is not None and naive_accuracy is not None:
        rows += [
            ("frozen stage, validation split as it is", "", figure(grouped_accuracy)),
            ("frozen stage, files split at random", "", figure(naive_accuracy)),
        ]
    if not rows:
        return None
    return ReportTable(title="Leak receipt", note=_NOTE, columns=("Nearest training image", "Images", "Accuracy"),
                       rows=tuple(rows))  # fmt: skip


def occlusion_table(found: Occlusion | None, *, image_size: int) -> ReportTable:
    """Both effects side by side, with what they show and what they do not."""
    side = window_side(image_size)
    note = (
        f"A square of {side} x {side} pixels is filled with its frame's median in correctly classified tumor images "
        "of the test split, and the model answers again (after Zeiler and Fergus 2014). A larger drop at the marked "
        "place shows that the answer rests more on it than on a like square elsewhere on the head; it does not show "
        "that the marked place is the tumor, nor that the answer is right for a right reason."
    )
    places = () if found is None else (("the marked place", found.marked), ("a random place", found.elsewhere))
    return ReportTable(
        title="Does hiding the marked place change the answer?",
        note=note,
        columns=("Hidden", "Images", "Mean drop in probability", "Answers changed (95% interval)"),
        rows=tuple(_row(name, effect) for name, effect in places)
        or (("not assessed", "0", "no tumor image classified correctly, or no second place in a frame", ""),),
    )


def _row(name: str, effect: HidingEffect) -> tuple[str, ...]:
    return name, str(effect.count), figure(effect.mean_drop), share(effect.count_changed, effect.count)


OF_DICOM = {
    "age_band": "age",
    "sex": "sex",
    "manufacturer": "manufacturer",
    "field_strength": "field strength",
    "sequence": "sequence",
}
"""Attributes that only DICOM gives, in words."""


def slices_table(results: Sequence[SliceResult]) -> ReportTable:
    """The groups as a report shows them."""
    return ReportTable(
        title="Groups of test images",
        note=(
            f"Accuracy by what is known of each file. Groups of fewer than {MINIMUM_IMAGES} images are not assessed. "
            "Groups differ in their mix of classes, too: a difference is a reason to look, not yet a finding. "
            + not_given(results)
        ).rstrip(),
        columns=("Attribute", "Group", "Images", "Accuracy (95% interval)"),
        rows=tuple((r.attribute, r.value, str(r.count), _accuracy(r)) for r in results)
        or (("not assessed", "nothing is known of the files", "", ""),),
    )


def not_given(results: Iterable[SliceResult]) -> str:
    """Which attributes of DICOM are known of no test image, as a sentence; empty where each is known of some."""
    given = {result.attribute for result in results}
    missing = [words for name, words in OF_DICOM.items() if name not in given]
    return f"Not assessed, being known of no test image: {', '.join(missing)}." if missing else ""


def _accuracy(result: SliceResult) -> str:
    return share(result.count_correct, result.count) if result.is_assessed else "not assessed"
