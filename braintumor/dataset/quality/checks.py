"""Check the quality of labeled images before training.

>>> quality = assess(images, excluded, QualityRules.load())
>>> print(quality.summary)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from braintumor.dataset.images.folder_layout import other_image_type
from braintumor.dataset.images.labeled_image import OUTSIDE, ExcludedImage, LabeledImage
from braintumor.dataset.quality.label_errors import LabelReview, review_labels
from braintumor.dataset.quality.rules import Level, QualityCheck, QualityRules
from braintumor.dataset.splits.grouping import Grouping, form_groups
from braintumor.dataset.splits.near_links import ComparedImages
from braintumor.labels import CLASSES, TumorClass

_PREFIX = 12
"""Number of hex digits of the sha256 in the display name of an image."""
_EXAMPLES = 5


def short_name(image_sha256: str) -> str:
    """Return the display name of an image, which is the first hex digits of its sha256.

    The address is no display name, because it can name a patient.
    """
    return image_sha256[:_PREFIX]


@dataclass(frozen=True, kw_only=True)
class QualityCheckResult:
    """The result of one check.

    Attributes:
        code: name of the check in the rule file, or ``missing_class``.
        level: the consequence if the data exceeds the bound of the rule file.
        is_beyond: whether the data exceeds this bound. False if the check is off.
        reason: display text with the measured share, the allowed share, and the remedy.
        count: number of affected files or images.
        examples: display names of at most five affected images.
    """

    code: str
    level: Level
    is_beyond: bool
    reason: str
    count: int
    examples: tuple[str, ...] = ()

    @property
    def is_blocking(self) -> bool:
        """Return whether the dataset is refused because of this result."""
        return self.is_beyond and self.level is Level.BLOCKING

    @property
    def outcome(self) -> str:
        """Return ``passed``, ``warning``, ``blocking`` or ``off``."""
        return self.level.value if self.is_beyond or self.level is Level.OFF else "passed"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The results of all checks on labeled images, and the data for a report.

    Attributes:
        results: the result of the check for missing classes, then of each check in the order of the rule file.
        images: the decoded images, sorted by sha256.
        excluded: files that cannot be decoded or are outside class folders.
        grouping: the groups of the images, formed without the splits of earlier snapshots.
        review: the result of the search for label errors.
        compared: the images with their near-duplicates, so that a snapshot does not compare them again.
    """

    rules_version: int
    results: tuple[QualityCheckResult, ...]
    images: tuple[LabeledImage, ...] = field(repr=False)
    excluded: tuple[ExcludedImage, ...] = field(repr=False)
    grouping: Grouping = field(repr=False)
    review: LabelReview = field(repr=False)
    compared: ComparedImages = field(repr=False, compare=False)

    @property
    def blocking(self) -> list[QualityCheckResult]:
        """Return the results because of which the dataset is refused."""
        return [result for result in self.results if result.is_blocking]

    @property
    def warnings(self) -> list[QualityCheckResult]:
        """Return the results that exceed a bound and only cause a warning."""
        return [result for result in self.results if result.is_beyond and not result.is_blocking]

    @property
    def summary(self) -> str:
        """Return the overall result in one line of display text."""
        warned = f"{len(self.warnings)} warning{'' if len(self.warnings) == 1 else 's'}"
        if self.blocking:
            return f"Refused: {', '.join(result.code for result in self.blocking)}; {warned}"
        return f"Accepted with {warned}"

    @property
    def known_patients(self) -> dict[TumorClass, int]:
        """Return the number of images of each class whose patient is known."""
        return counts_by_class(image for image in self.images if image.has_patient)

    @property
    def patient_shares(self) -> str:
        """Return the display text on the share of images whose patient is known, of all images and by class."""
        known, counts = self.known_patients, counts_by_class(self.images)
        by_label = ", ".join(f"{label} {_of(known[label], counts[label])}" for label in CLASSES)
        return f"The patient is known for {_of(sum(known.values()), len(self.images))} images: {by_label}"

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values for JSON, without addresses of images."""
        return {
            "is_accepted": not self.blocking,
            "summary": self.summary,
            "rules_version": self.rules_version,
            "images": {label.value: count for label, count in counts_by_class(self.images).items()},
            "images_with_patient": {label.value: count for label, count in self.known_patients.items()},
            "findings": [asdict(result) | {"outcome": result.outcome} for result in self.results],
            "not_mri": list(dict.fromkeys(short_name(image.image_sha256) for image in not_mri(self.images))),
            "label_errors": [
                {
                    "image": short_name(candidate.image.image_sha256),
                    "label": candidate.image.label,
                    "resembles": candidate.suggested,
                }
                for candidate in self.review.candidates
            ],
        }


def assess(images: Iterable[LabeledImage], excluded: Iterable[ExcludedImage], rules: QualityRules) -> Quality:
    """Return the results of all checks. ``excluded`` are files that cannot be decoded or are outside class folders."""
    images, excluded = tuple(sorted(images, key=lambda image: image.image_sha256)), tuple(excluded)
    compared = ComparedImages()
    grouping = form_groups(images, {}, compared)
    review = LabelReview(skipped="the check is off in the rule file")
    if rules.label_errors.level is not Level.OFF:
        review = review_labels(grouping.groups, maximum_images=rules.maximum_images_label_errors)
    return Quality(
        rules_version=rules.version,
        results=(
            _missing_class(images),
            _unreadable(images, excluded, rules.unreadable),
            _outside(images, excluded, rules.outside),
            _duplicates(images, rules.copies),
            _contradictions(images, grouping, rules.contradictions),
            _imbalance(images, rules.imbalance),
            _not_mri(images, rules.not_mri),
            _label_errors(review, rules.label_errors),
        ),
        images=images,
        excluded=excluded,
        grouping=grouping,
        review=review,
        compared=compared,
    )


def counts_by_class(images: Iterable[LabeledImage]) -> dict[TumorClass, int]:
    """Return the number of images of each class, including zeros."""
    counts = Counter(image.label for image in images)
    return {label: counts[label] for label in CLASSES}


def not_mri(images: Iterable[LabeledImage]) -> list[LabeledImage]:
    """Return the images that do not look like an MRI slice (see ``ImageStats.why_not_mri``)."""
    return [image for image in images if image.appearance.why_not_mri]


def duplicates_of(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """Return the images with the same pixels as an earlier image of ``images``."""
    first = {image.pixel_sha256: image for image in reversed(images)}
    return [image for image in images if first[image.pixel_sha256] is not image]


def unreadable(excluded: Iterable[ExcludedImage]) -> list[ExcludedImage]:
    """Return the excluded files in class folders, which could not be read or decoded."""
    return [item for item in excluded if item.reason != OUTSIDE]


def _missing_class(images: Sequence[LabeledImage]) -> QualityCheckResult:
    """Check that every class has images. No rule file can change this, because training needs all classes."""
    missing = [label.value for label, count in counts_by_class(images).items() if not count]
    found = f"No images of {', '.join(missing)} are readable in class folders" if missing else "every class has images"
    if len(missing) == len(CLASSES):
        found = "No image has a class"
    remedy = f" All four of {', '.join(CLASSES)} are needed. Put images into a folder of that name." if missing else ""
    return QualityCheckResult(
        code="missing_class",
        level=Level.BLOCKING,
        is_beyond=bool(missing),
        reason=f"{found}.{remedy}",
        count=len(missing),
    )


def _unreadable(
    images: Sequence[LabeledImage], excluded: Sequence[ExcludedImage], check: QualityCheck
) -> QualityCheckResult:
    found = unreadable(excluded)
    reasons = _listed(item.reason.partition(":")[0] for item in found)
    types = _listed(kind for item in found if (kind := other_image_type(item.image_uri)))
    what = f"files in class folders cannot be read{reasons}" + (f", of other image types{types}" if types else "")
    return _share_result(
        "unreadable", check, found, len(images) + len(found), what=what, remedy="Replace or remove them."
    )


def _outside(
    images: Sequence[LabeledImage], excluded: Sequence[ExcludedImage], check: QualityCheck
) -> QualityCheckResult:
    found = [item for item in excluded if item.reason == OUTSIDE]
    what = "files are outside class folders and are not read"
    remedy = "Move images into the folder of their class, anything else elsewhere."
    return _share_result("outside", check, found, len(images) + len(excluded), what=what, remedy=remedy)


def _duplicates(images: Sequence[LabeledImage], check: QualityCheck) -> QualityCheckResult:
    remedy = "Duplicates count once. Do not compare results with ones that count them several times."
    what = "images have the pixels of another one"
    return _share_result("copies", check, duplicates_of(images), len(images), what=what, remedy=remedy)


def _contradictions(images: Sequence[LabeledImage], grouping: Grouping, check: QualityCheck) -> QualityCheckResult:
    found = grouping.excluded  # only contradictions, because there are no earlier splits
    pairs = _listed(item.reason.partition(" are labeled ")[2] for item in found)
    what = f"images are identical or near-identical to one with another label{pairs}"
    remedy = "They are excluded. Find the right label, and remove the file with the wrong one."
    return _share_result("contradictions", check, found, len(images), what=what, remedy=remedy)


def _imbalance(images: Sequence[LabeledImage], check: QualityCheck) -> QualityCheckResult:
    counts = counts_by_class(images)
    small, large = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    few, many = counts[small], counts[large]
    is_beyond = many > 0 and few / many < check.bound
    remedy = f" Add images of {small}." if is_beyond else ""
    return QualityCheckResult(
        code="imbalance",
        level=check.level,
        is_beyond=is_beyond and check.level is not Level.OFF,
        reason=f"the smallest class, {small}, has {few:,} images, the largest, {large}, {many:,}: "
        f"{_share(few, many):.2f}. At least {check.bound:.2f} is required.{remedy}",
        count=few,
    )


def _not_mri(images: Sequence[LabeledImage], check: QualityCheck) -> QualityCheckResult:
    counts, affected = counts_by_class(images), counts_by_class(not_mri(images))
    beyond = [label for label in CLASSES if _share(affected[label], counts[label]) > check.bound]
    found = [image for image in not_mri(images) if image.label in (beyond or CLASSES)]
    shares = ", ".join(f"{_of(affected[label], counts[label])} images of {label}" for label in beyond or CLASSES)
    why = _listed(str(image.appearance.why_not_mri) for image in found)
    remedy = f" Remove images that are not MRI from {' and '.join(beyond)}." if beyond else ""
    return QualityCheckResult(
        code="not_mri",
        level=check.level,
        is_beyond=bool(beyond) and check.level is not Level.OFF,
        reason=f"{shares} do not look like MRI, which is gray on dark air{why}. {_percent(check.bound)} of a class "
        f"are allowed.{remedy}",
        count=len(found),
        examples=_examples(found),
    )


def _label_errors(review: LabelReview, check: QualityCheck) -> QualityCheckResult:
    found = [candidate.image for candidate in review.candidates]
    if review.skipped:
        return QualityCheckResult(
            code="label_errors", level=check.level, is_beyond=False, reason=f"not searched: {review.skipped}.", count=0
        )
    what = "distinct images resemble another class than their label"
    remedy = "A person should check these candidates. A simple model selected them, so many labels may be right."
    return _share_result("label_errors", check, found, review.count_image, what=what, remedy=remedy)


def _share_result(
    code: str, check: QualityCheck, found: Sequence[LabeledImage | ExcludedImage], whole: int, *, what: str, remedy: str
) -> QualityCheckResult:
    """Return the result of a check that limits the share of affected files or images.

    ``found`` are the affected ones, and ``whole`` is the number of all. ``what`` is the display text after the share,
    such as "files are outside class folders". ``remedy`` says what to do.
    """
    allowed = f"{_of(len(found), whole)} {what}. {_percent(check.bound)} are allowed."
    return QualityCheckResult(
        code=code,
        level=check.level,
        is_beyond=_share(len(found), whole) > check.bound and check.level is not Level.OFF,
        reason=f"{allowed} {remedy}" if found else allowed,
        count=len(found),
        examples=_examples(found),
    )


def _examples(found: Sequence[LabeledImage | ExcludedImage]) -> tuple[str, ...]:
    names = dict.fromkeys(short_name(item.image_sha256) for item in found if item.image_sha256)
    return tuple(names)[:_EXAMPLES]


def _listed(reasons: Iterable[str]) -> str:
    """Return the count of each reason, such as `` (corrupt: 2, empty_file: 1)``, or an empty text without reasons."""
    counts = Counter(reasons)
    return f" ({', '.join(f'{reason}: {count}' for reason, count in sorted(counts.items()))})" if counts else ""


def _share(count: int, whole: int) -> float:
    return count / whole if whole else 0.0


def _of(count: int, whole: int) -> str:
    return f"{count:,} of {whole:,} ({_percent(_share(count, whole))})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def by_class(images: Iterable[LabeledImage]) -> Mapping[TumorClass, list[LabeledImage]]:
    """Return the images by class, in the given order within each class."""
    result: dict[TumorClass, list[LabeledImage]] = {label: [] for label in CLASSES}
    for image in images:
        result[image.label].append(image)
    return result
