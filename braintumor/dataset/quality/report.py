"""The quality of a data set as one self-contained HTML page, for people outside the project too.

Images are named by the beginning of their sha256: their addresses can name patients and are not shown.

>>> page = quality_report(quality, source="s3://hospital/dataset/", created="2026-11-23 03:00 UTC")
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment
from PIL import Image

from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.patient_ids import PatientIds
from braintumor.dataset.quality.checks import (
    Quality,
    by_class,
    counts_by_class,
    duplicates_of,
    not_mri,
    short_name,
    unreadable,
)
from braintumor.dataset.splits.grouping import group_key
from braintumor.dataset.splits.split import Split, assign
from braintumor.labels import CLASSES
from braintumor.reports.jinja import page_environment

_PER_CLASS = 10
_IN_STRIP = 30

_ATTRIBUTES = {"format": "Format", "color": "Mode", "long_side": "Longer side, pixels"}
_ORDER = {"up to 255": 0, "256 to 511": 1, "512": 2, "above 512": 3}


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """One image as a page shows it."""

    png: bytes = field(repr=False)
    name: str
    note: str = ""


def quality_report(
    quality: Quality,
    *,
    source: str,
    created: str,
    snapshot_id: str = "",
    splits: Mapping[str, Mapping[str, int]] | None = None,
) -> str:
    """The page of one data set.

    Args:
        quality: the verdict and what it was reached from.
        source: what was read, in words: an S3 prefix or the name of a folder.
        created: when, in words.
        snapshot_id: of the snapshot that was taken; empty where none was.
        splits: images by split and class, as the snapshot has them; ``None`` where none was taken.
    """
    return (
        _environment()
        .get_template("quality.html")
        .render(
            quality=quality,
            source=source,
            created=created,
            snapshot_id=snapshot_id,
            splits=splits or first_splits(quality),
            classes=CLASSES,
            counts=_counts(quality),
            attributes={title: _by_attribute(quality.images, name) for name, title in _ATTRIBUTES.items()},
            reasons=Counter(item.reason.partition(":")[0] for item in unreadable(quality.excluded)),
            contradictions=Counter(item.reason for item in quality.grouping.excluded),
            patients=PatientIds.of(image.patient for image in quality.images).claim,
            samples={label: _samples(images) for label, images in by_class(quality.images).items()},
            suspects=_suspects(quality),
            strange=_strange(quality),
        )
    )


def shown_images(quality: Quality) -> set[str]:
    """Return the sha256 of each image that the report shows or names."""
    strips = [*map(_samples, by_class(quality.images).values()), _suspects(quality), _strange(quality)]
    names = {shown.name for strip in strips for shown in strip}
    names |= {name for result in quality.results for name in result.examples}
    read = {item.image_sha256 for item in quality.images} | {item.image_sha256 for item in quality.excluded}
    return {image_sha256 for image_sha256 in read if short_name(image_sha256) in names}


def first_splits(quality: Quality) -> dict[str, dict[str, int]]:
    """Images by split and class, as a first snapshot would split them: images that were taken before keep theirs."""
    grouping = quality.grouping
    splits = assign(grouping.to_split(), grouping.known)
    held = Counter((splits[group_key(group)], picture.label) for group in grouping.groups for picture in group)
    return {split.value: {label.value: held[split, label] for label in CLASSES} for split in Split}


def _counts(quality: Quality) -> dict[str, list[int]]:
    """Column -> images by class."""
    pictures = Counter(picture.label for group in quality.grouping.groups for picture in group)
    groups = Counter(group[0].label for group in quality.grouping.groups)
    contradicted = {item.image_sha256 for item in quality.grouping.excluded}
    contradicting = [image for image in quality.images if image.image_sha256 in contradicted]
    columns = {
        "Readable": counts_by_class(quality.images),
        "Copies": counts_by_class(duplicates_of(quality.images)),
        "Contradicting labels": counts_by_class(contradicting),
        "Distinct": pictures,
        "Near-duplicate groups": groups,
        "Not like MRI": counts_by_class(not_mri(quality.images)),
        "Label candidates": counts_by_class(candidate.image for candidate in quality.review.candidates),
    }
    return {title: [held[label] for label in CLASSES] for title, held in columns.items()}


def _by_attribute(images: Iterable[LabeledImage], name: str) -> dict[str, list[int]]:
    """Value of an attribute -> images by class."""
    held = Counter((image.attributes[name], image.label) for image in images)
    values = sorted({value for value, _ in held}, key=lambda value: (_ORDER.get(value, 0), value))
    return {value: [held[value, label] for label in CLASSES] for value in values}


def _samples(images: Sequence[LabeledImage]) -> list[Thumbnail]:
    """Some of a class: spread evenly over the order of their sha256, which is as good as chance and stays the same."""
    places = np.linspace(0, len(images) - 1, min(_PER_CLASS, len(images))).round().astype(int)
    return [_thumbnail(images[place]) for place in places]


def _suspects(quality: Quality) -> list[Thumbnail]:
    return [
        _thumbnail(candidate.image, f"{candidate.image.label}; resembles {candidate.suggested}")
        for candidate in quality.review.candidates[:_IN_STRIP]
    ]


def _strange(quality: Quality) -> list[Thumbnail]:
    distinct = {image.image_sha256: image for image in not_mri(quality.images)}
    return [
        _thumbnail(image, f"{image.label}: {image.appearance.why_not_mri}")
        for image in list(distinct.values())[:_IN_STRIP]
    ]


def _thumbnail(image: LabeledImage, note: str = "") -> Thumbnail:
    stream = io.BytesIO()
    Image.fromarray(image.appearance.pixels).save(stream, "PNG")
    return Thumbnail(png=stream.getvalue(), name=short_name(image.image_sha256), note=note)


@cache
def _environment() -> Environment:
    return page_environment(Path(__file__).with_name("templates"))
