"""Render the quality of a dataset as one self-contained HTML page.

The page names each image by the first digits of its sha256, because an address can name a patient.

>>> page = quality_report(quality, source="s3://hospital/dataset/")
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.patient_ids import PatientIds
from braintumor.dataset.label_exclusions import LabelExclusion
from braintumor.dataset.quality.checks import (
    Quality,
    by_class,
    counts_by_class,
    duplicates_of,
    not_mri,
    short_name,
    unreadable,
)
from braintumor.dataset.snapshot import Snapshot
from braintumor.dataset.splits.grouping import group_key
from braintumor.dataset.splits.reviewed_frames_split import split_groups
from braintumor.dataset.splits.split import Split
from braintumor.labels import CLASSES
from braintumor.reports.jinja import page_environment

_SAMPLES_PER_CLASS = 10
_MAX_SHOWN = 30

_ATTRIBUTES = {"format": "Format", "color": "Mode", "long_side": "Longer side, pixels"}
_ORDER = {"up to 255": 0, "256 to 511": 1, "512": 2, "above 512": 3}


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """One image on a page: PNG bytes, display name, and display text below it."""

    png: bytes = field(repr=False)
    name: str
    note: str = ""


def quality_report(
    quality: Quality,
    *,
    source: str,
    snapshot: Snapshot | None = None,
    exclusions: Sequence[LabelExclusion] = (),
    count_listed: int = 0,
    test_needs_patient: bool = False,
) -> str:
    """Return the HTML report on one dataset.

    Args:
        quality: the results of the checks, with the images.
        source: an S3 prefix or the name of a folder, as display text.
        snapshot: the snapshot of the images. If it is ``None``, the report shows the result of ``first_splits``.
        exclusions: the rows of the exclusion list that exclude an image.
        count_listed: number of all rows of the exclusion list.
        test_needs_patient: without a snapshot, as for ``first_splits``.
    """
    patients = PatientIds.of(image.patient for image in quality.images)
    if snapshot is not None and snapshot.identified is not None:
        patients = snapshot.identified
    return (
        page_environment(Path(__file__).with_name("templates"))
        .get_template("quality.html")
        .render(
            quality=quality,
            source=source,
            snapshot_id=snapshot.snapshot_id if snapshot else "",
            splits=snapshot.counts() if snapshot else first_splits(quality, test_needs_patient=test_needs_patient),
            exclusions=exclusions,
            count_listed=count_listed,
            short_name=short_name,
            classes=CLASSES,
            counts=_counts(quality),
            attributes={title: _by_attribute(quality.images, name) for name, title in _ATTRIBUTES.items()},
            reasons=Counter(item.reason.partition(":")[0] for item in unreadable(quality.excluded)),
            contradictions=Counter(item.reason for item in quality.grouping.excluded),
            patients=patients.claim,
            samples={label: _samples(images) for label, images in by_class(quality.images).items()},
            label_candidates=_label_candidates(quality),
            not_mri=_not_mri(quality),
        )
    )


def shown_images(quality: Quality) -> set[str]:
    """Return the sha256 of each image that the report shows or names, including excluded images."""
    strips = [*map(_samples, by_class(quality.images).values()), _label_candidates(quality), _not_mri(quality)]
    names = {thumbnail.name for strip in strips for thumbnail in strip}
    names |= {name for result in quality.results for name in result.examples}
    read = {item.image_sha256 for item in quality.images} | {item.image_sha256 for item in quality.excluded}
    return {image_sha256 for image_sha256 in read if short_name(image_sha256) in names}


def first_splits(quality: Quality, *, test_needs_patient: bool = False) -> dict[str, dict[str, int]]:
    """Return the number of images by split and class that a first snapshot of the images would have.

    A later snapshot can differ, because it keeps the splits of earlier snapshots. ``test_needs_patient`` is as for
    ``split_images``.
    """
    grouping = quality.grouping
    splits = split_groups(grouping, test_needs_patient=test_needs_patient).splits
    counts = Counter((splits[group_key(group)], member.label) for group in grouping.groups for member in group)
    return {split.value: {label.value: counts[split, label] for label in CLASSES} for split in Split}


def _counts(quality: Quality) -> dict[str, list[int]]:
    """Return the columns of the report's table of image counts, by title.

    A column has one number per class, in the order of ``CLASSES``.
    """
    distinct = Counter(member.label for group in quality.grouping.groups for member in group)
    groups = Counter(group[0].label for group in quality.grouping.groups)
    contradicted = {item.image_sha256 for item in quality.grouping.excluded}
    contradicting = [image for image in quality.images if image.image_sha256 in contradicted]
    columns = {
        "Readable": counts_by_class(quality.images),
        "Duplicates": counts_by_class(duplicates_of(quality.images)),
        "Contradicting labels": counts_by_class(contradicting),
        "Distinct": distinct,
        "Groups": groups,
        "Not like MRI": counts_by_class(not_mri(quality.images)),
        "With a known patient": quality.known_patients,
        "Label candidates": counts_by_class(candidate.image for candidate in quality.review.candidates),
    }
    return {title: [counts[label] for label in CLASSES] for title, counts in columns.items()}


def _by_attribute(images: Iterable[LabeledImage], name: str) -> dict[str, list[int]]:
    """Return the number of images per class, in the order of ``CLASSES``, by value of the attribute ``name``."""
    counts = Counter((image.attributes[name], image.label) for image in images)
    values = sorted({value for value, _ in counts}, key=lambda value: (_ORDER.get(value, 0), value))
    return {value: [counts[value, label] for label in CLASSES] for value in values}


def _samples(images: Sequence[LabeledImage]) -> list[Thumbnail]:
    """Return thumbnails of a fixed random sample of ``images``, which are sorted by sha256.

    The sample takes images at equal distances in this order.
    """
    positions = np.linspace(0, len(images) - 1, min(_SAMPLES_PER_CLASS, len(images))).round().astype(int)
    return [_thumbnail(images[position]) for position in positions]


def _label_candidates(quality: Quality) -> list[Thumbnail]:
    return [
        _thumbnail(candidate.image, f"{candidate.image.label}; resembles {candidate.suggested}")
        for candidate in quality.review.candidates[:_MAX_SHOWN]
    ]


def _not_mri(quality: Quality) -> list[Thumbnail]:
    distinct = {image.image_sha256: image for image in not_mri(quality.images)}
    return [
        _thumbnail(image, f"{image.label}: {image.appearance.why_not_mri}")
        for image in list(distinct.values())[:_MAX_SHOWN]
    ]


def _thumbnail(image: LabeledImage, note: str = "") -> Thumbnail:
    stream = io.BytesIO()
    Image.fromarray(image.appearance.pixels).save(stream, "PNG")
    return Thumbnail(png=stream.getvalue(), name=short_name(image.image_sha256), note=note)
