"""Exclude images whose labels a person found to be wrong or doubtful. A CSV file lists the sha256 of these images."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, text

from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage
from braintumor.db.database import copy_rows
from braintumor.errors import DatasetError

ON_LIST = "on the exclusion list"
"""Beginning of the reason for excluding a listed image."""
_COLUMNS = ("sha256", "reason", "author")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class LabelExclusion:
    """One row of an exclusion list. It names an image, the reason for its exclusion, and the person who decided.

    Attributes:
        image_sha256: hex sha256 of the file.
        reason: reason for the exclusion.
        author: name of the person.
        count_file: number of files that this row excludes. Files with the same pixels are excluded too.
    """

    image_sha256: str
    reason: str
    author: str
    count_file: int = 0


def read_exclusions(path: Path | str) -> list[LabelExclusion]:
    """Return the rows of an exclusion list, a CSV with the columns sha256, reason and author.

    Raises:
        DatasetError: the file cannot be read or lacks a column. Or a row is incomplete, or repeats an image.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise DatasetError(
                    f"The exclusion list {path} lacks the columns {', '.join(missing)}. Its first line must name "
                    f"{', '.join(_COLUMNS)}. Received: {', '.join(reader.fieldnames or ['nothing'])}. Correct it."
                )
            listed = [(reader.line_num, _exclusion(row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not a CSV in UTF-8"
        raise DatasetError(f"The exclusion list {path} cannot be read: {reason}. Give a CSV file.") from None
    counts = Counter(item.image_sha256 for _, item in listed)
    wrong = [
        number
        for number, item in listed
        if not (_SHA256.fullmatch(item.image_sha256) and item.reason and item.author) or counts[item.image_sha256] > 1
    ]
    if wrong:
        raise DatasetError(
            f"The exclusion list {path} needs one row for each image, with a sha256 of 64 hex digits, a reason and an "
            f"author. Received: {len(wrong)} other rows, the first of them row {wrong[0]}. Row 1 is the header. "
            "Correct these rows."
        )
    return [item for _, item in listed]


def _exclusion(row: Mapping[str, str | None]) -> LabelExclusion:
    image, reason, author = ((row[name] or "").strip() for name in _COLUMNS)
    return LabelExclusion(image_sha256=image.lower(), reason=reason, author=author)


def without_listed(
    images: Sequence[LabeledImage], exclusions: Sequence[LabelExclusion]
) -> tuple[list[LabeledImage], list[ExcludedImage], list[LabelExclusion]]:
    """Return the images that are not on an exclusion list, the excluded images, and the rows that exclude an image.

    Files with the same pixels as a listed file are excluded too. A row that excludes no image is not returned, so it is
    never recorded. Such a row can name an image of an erased person.
    """
    pixels = {image.image_sha256: image.pixel_sha256 for image in images}
    by_pixels: defaultdict[str, list[LabelExclusion]] = defaultdict(list)
    for item in exclusions:
        if item.image_sha256 in pixels:
            by_pixels[pixels[item.image_sha256]].append(item)
    kept = [image for image in images if image.pixel_sha256 not in by_pixels]
    excluded = [
        image.exclude(f"{ON_LIST}: {by_pixels[image.pixel_sha256][0].reason}")
        for image in images
        if image.pixel_sha256 in by_pixels
    ]
    counts = Counter(image.pixel_sha256 for image in images)
    used = [
        replace(item, count_file=counts[pixels[item.image_sha256]])
        for item in exclusions
        if item.image_sha256 in pixels
    ]
    return kept, excluded, used


def record_exclusions(connection: Connection, snapshot_id: str, exclusions: Sequence[LabelExclusion]) -> None:
    """Record the exclusions that a snapshot used in the table ``snapshot_exclusion``.

    They replace the exclusions that were recorded for this snapshot before.
    """
    connection.execute(text("delete from snapshot_exclusion where snapshot_id = :id"), {"id": snapshot_id})
    columns = ["snapshot_id", "image_sha256", "reason", "author", "count_file"]
    copy_rows(
        connection,
        "snapshot_exclusion",
        columns,
        ((snapshot_id, item.image_sha256, item.reason, item.author, item.count_file) for item in exclusions),
    )
