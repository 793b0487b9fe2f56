"""The data quality gate: what is wrong with labeled images, before anything is trained on them.

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
from braintumor.labels import CLASSES, TumorClass

_PREFIX = 12
"""Hexadecimal digits of a sha256 that name an image to people."""
_EXAMPLES = 5


def short_name(image_sha256: str) -> str:
    """What an image is called where its address, which can name a patient, may not be shown."""
    return image_sha256[:_PREFIX]


@dataclass(frozen=True, kw_only=True)
class QualityCheckResult:
    """What one check found.

    Attributes:
        code: the name of the check in the rule file.
        level: that the rule file gives it.
        is_beyond: whether the bound is exceeded; never where the check is off.
        reason: for people: what was found, what is allowed, what to do.
        count: files or images that were found.
        examples: sha256 prefixes of some of them.
    """

    code: str
    level: Level
    is_beyond: bool
    reason: str
    count: int
    examples: tuple[str, ...] = ()

    @property
    def is_blocking(self) -> bool:
        """Whether this alone refuses the data."""
        return self.is_beyond and self.level is Level.BLOCKING

    @property
    def outcome(self) -> str:
        """``passed``, ``warning``, ``blocking`` or ``off``."""
        return self.level.value if self.is_beyond or self.level is Level.OFF else "passed"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The verdict on labeled images, and what it was reached from.

    Attributes:
        rules_version: of the rule file.
        findings: whether a class is missing, then one for each check, in the order of the rule file.
        images: that decode.
        excluded: files that do not decode or lie outside class folders.
        grouping: of the images by themselves, without any remembered split.
        review: of the labels.
    """

    rules_version: int
    results: tuple[QualityCheckResult, ...]
    images: tuple[LabeledImage, ...] = field(repr=False)
    excluded: tuple[ExcludedImage, ...] = field(repr=False)
    grouping: Grouping = field(repr=False)
    review: LabelReview = field(repr=False)

    @property
    def blocking(self) -> list[QualityCheckResult]:
        """The findings that refuse the data."""
        return [result for result in self.results if result.is_blocking]

    @property
    def warnings(self) -> list[QualityCheckResult]:
        """The findings that are said and refuse nothing."""
        return [result for result in self.results if result.is_beyond and not result.is_blocking]

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        warned = f"{len(self.warnings)} warning{'' if len(self.warnings) == 1 else 's'}"
        if self.blocking:
            return f"Refused: {', '.join(result.code for result in self.blocking)}; {warned}"
        return f"Accepted with {warned}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; no addresses."""
        return {
            "is_accepted": not self.blocking,
            "summary": self.summary,
            "rules_version": self.rules_version,
            "images": {label.value: count for label, count in counts_by_class(self.images).items()},
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
    """Judge images, as they were read, by the rules."""
    read, not_read = tuple(sorted(images, key=lambda image: image.image_sha256)), tuple(excluded)
    grouping = form_groups(read, {})
    review = LabelReview(skipped="the check is off in the rule file")
    if rules.label_errors.level is not Level.OFF:
        review = review_labels(grouping.groups, maximum_images=rules.maximum_images_label_errors)
    return Quality(
        rules_version=rules.version,
        results=(
            _missing_class(read),
            _unreadable(read, not_read, rules.unreadable),
            _outside(read, not_read, rules.outside),
            _copies(read, rules.copies),
            _contradictions(read, grouping, rules.contradictions),
            _imbalance(read, rules.imbalance),
            _not_mri(read, rules.not_mri),
            _label_errors(review, rules.label_errors),
        ),
        images=read,
        excluded=not_read,
        grouping=grouping,
        review=review,
    )


def counts_by_class(images: Iterable[LabeledImage]) -> dict[TumorClass, int]:
    """How many images each class has, classes without any too."""
    held = Counter(image.label for image in images)
    return {label: held[label] for label in CLASSES}


def not_mri(images: Iterable[LabeledImage]) -> list[LabeledImage]:
    """Those that do not look like MRI."""
    return [image for image in images if image.appearance.why_not_mri]


def duplicates_of(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """Those that repeat the pixels of one before them."""
    first = {image.pixel_sha256: image for image in reversed(images)}
    return [image for image in images if first[image.pixel_sha256] is not image]


def unreadable(excluded: Iterable[ExcludedImage]) -> list[ExcludedImage]:
    """Files in class folders that do not decode."""
    return [item for item in excluded if item.reason != OUTSIDE]


def _missing_class(images: Sequence[LabeledImage]) -> QualityCheckResult:
    """Block data that lacks a class, whatever the rule file says, because no model can be trained on it."""
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
    what = "files lie outside class folders and are not read"
    remedy = "Move images into the folder of their class, anything else elsewhere."
    return _share_result("outside", check, found, len(images) + len(excluded), what=what, remedy=remedy)


def _copies(images: Sequence[LabeledImage], check: QualityCheck) -> QualityCheckResult:
    remedy = "Each picture counts once whatever its copies; compare no figure with one that counted them."
    what = "images repeat the pixels of another"
    return _share_result("copies", check, duplicates_of(images), len(images), what=what, remedy=remedy)


def _contradictions(images: Sequence[LabeledImage], grouping: Grouping, check: QualityCheck) -> QualityCheckResult:
    found = grouping.excluded  # without remembered splits nothing else is left out
    pairs = _listed(item.reason.partition(" are labeled ")[2] for item in found)
    what = f"images are identical or near-identical to one with another label{pairs}"
    remedy = "They stay out; find which label is right and remove the other."
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
        f"{_share(few, many):.2f}; at least {check.bound:.2f} is wanted.{remedy}",
        count=few,
    )


def _not_mri(images: Sequence[LabeledImage], check: QualityCheck) -> QualityCheckResult:
    counts, strange = counts_by_class(images), counts_by_class(not_mri(images))
    beyond = [label for label in CLASSES if _share(strange[label], counts[label]) > check.bound]
    found = [image for image in not_mri(images) if image.label in (beyond or CLASSES)]
    shares = ", ".join(f"{_of(strange[label], counts[label])} images of {label}" for label in beyond or CLASSES)
    why = _listed(str(image.appearance.why_not_mri) for image in found)
    remedy = f" Take out of {' and '.join(beyond)} what is not MRI." if beyond else ""
    return QualityCheckResult(
        code="not_mri",
        level=check.level,
        is_beyond=bool(beyond) and check.level is not Level.OFF,
        reason=f"{shares} do not look like MRI, which is gray on dark air{why}; {_percent(check.bound)} of a class "
        f"are allowed.{remedy}",
        count=len(found),
        examples=_examples(found),
    )


def _label_errors(review: LabelReview, check: QualityCheck) -> QualityCheckResult:
    found = [candidate.image for candidate in review.candidates]
    if review.skipped:
        return QualityCheckResult(
            code="label_errors",
            level=check.level,
            is_beyond=False,
            reason=f"not looked for: {review.skipped}.",
            count=0,
        )
    what = "distinct images resemble another class than their label says"
    remedy = "They are candidates for a person to look at, no more: a cheap model chose them, and many may be right."
    return _share_result("label_errors", check, found, review.count_image, what=what, remedy=remedy)


def _share_result(
    code: str, check: QualityCheck, found: Sequence[LabeledImage | ExcludedImage], whole: int, *, what: str, remedy: str
) -> QualityCheckResult:
    """A share of files or images, with a remedy where there are any."""
    allowed = f"{_of(len(found), whole)} {what}; {_percent(check.bound)} are allowed."
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
    """How often each reason occurs, in brackets: `` (corrupt: 2, empty_file: 1)``; nothing where there are none."""
    held = Counter(reasons)
    return f" ({', '.join(f'{reason}: {count}' for reason, count in sorted(held.items()))})" if held else ""


def _share(count: int, whole: int) -> float:
    return count / whole if whole else 0.0


def _of(count: int, whole: int) -> str:
    return f"{count:,} of {whole:,} ({_percent(_share(count, whole))})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def by_class(images: Iterable[LabeledImage]) -> Mapping[TumorClass, list[LabeledImage]]:
    """Images of each class, in the order given."""
    result: dict[TumorClass, list[LabeledImage]] = {label: [] for label in CLASSES}
    for image in images:
        result[image.label].append(image)
    return result
