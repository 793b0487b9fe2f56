"""Read the labeled images with their persons, and make the folds.

All three ways to split use the same images. Files with equal pixels are one image. Only the split of files treats each
such file as a separate image, because it ignores duplicates. Equal or near-identical images with different labels are
left out of all splits, because at least one label is wrong. All other labels are used as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.local_folder import read_folder
from braintumor.dataset.snapshot import SnapshotImage
from braintumor.dataset.splits.grouping import DistinctImage, Grouping, form_groups, group_key
from braintumor.dataset.splits.split import Split
from braintumor.errors import DatasetError
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.letterbox import letterbox

COUNT_FOLD = 5
_VALIDATION_PARTS = 7
"""Number of parts into which the images outside the test part are divided. One of these parts is for validation."""
_SEED = 0

Indexes = NDArray[np.intp]


class SplitBy(StrEnum):
    """The images that a split keeps together: none, near-duplicates, or near-duplicates and all images of a person."""

    FILES = "random files"
    GROUPS = "near-duplicate groups"
    PERSONS = "persons"


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Hold the positions of the training, validation and test images of one fold.

    In a split of files, the position of an image is repeated for each file with its pixels.
    """

    training: Indexes
    validation: Indexes
    test: Indexes


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Hold the distinct images.

    Attributes:
        folder: the labeled folder.
        images: the distinct images, sorted by the sha256 of their first file.
        groups: (N,) number of the near-duplicate group of each image.
        persons: (N,) number of the group of each image, if a group also contains all images of a person.
        is_person_known: (N,) whether the table names the person of the image.
        count_excluded: number of files left out because labels contradict each other.
    """

    folder: Path
    images: tuple[DistinctImage, ...]
    groups: Indexes
    persons: Indexes
    is_person_known: NDArray[np.bool_]
    count_excluded: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the position of each image's class in ``CLASSES``, (N,)."""
        return np.array([image.label.position for image in self.images], np.int64)

    @property
    def identity(self) -> str:
        """Return a hash of the list of images, which identifies cached files and stored results."""
        return sha256("".join(image.image.image_sha256 for image in self.images).encode()).hexdigest()[:12]

    def fold(self, by: SplitBy, number: int) -> Fold:
        """Return the fold ``number``, 0 to 4. Folds are stratified by class.

        Validation is separated from training in the same way as test. Each image is in the test part of one fold. In a
        split of files, each file is in the test part of one fold.
        """
        positions = np.arange(len(self.images))
        if by is SplitBy.FILES:
            entries = np.repeat(positions, [len(image.files) for image in self.images])
            together = np.arange(len(entries))
        else:
            entries, together = positions, self.groups if by is SplitBy.GROUPS else self.persons
        rest, test = _part(self.labels[entries], together, parts=COUNT_FOLD, number=number)
        training, validation = _part(self.labels[entries[rest]], together[rest], parts=_VALIDATION_PARTS, number=0)
        return Fold(training=entries[rest[training]], validation=entries[rest[validation]], test=entries[test])

    def frames(self, size: int) -> NDArray[np.uint8]:
        """Return every image as the input of a model, uint8 (N, S, S, 3), letterboxed to ``size`` x ``size`` pixels."""
        frames = np.empty((len(self.images), size, size, 3), np.uint8)
        for position in range(len(self.images)):
            frames[position] = letterbox(self.pixels(position), size=size)
        return frames

    def pixels(self, position: int) -> NDArray[np.uint8]:
        """Return the decoded pixels of one image.

        Raises:
            DatasetError: the file changed while the folder was read.
        """
        decoded = decode((self.folder / self.images[position].image.image_uri).read_bytes())
        if isinstance(decoded, Rejection):
            raise DatasetError("A file changed while it was read. Start again.")
        return decoded.frames[0].pixels

    def part(self, frames: NDArray[np.uint8], positions: Indexes, split: Split) -> FrameArrays:
        """Return the images at ``positions`` in the form that ``braintumor.training`` takes.

        ``frames`` are the frames of all images, from the method ``frames``. ``split`` is recorded with each image.
        """
        records = [
            SnapshotImage.of(self.images[i], group_key=str(self.persons[i]), split=split) for i in positions.tolist()
        ]
        return FrameArrays(frames=frames[positions], labels=self.labels[positions], images=tuple(records))


def read_dataset(folder: Path, patients: Path | None) -> Dataset:
    """Read a labeled folder, and the table of persons with the columns ``sha256`` and ``person``.

    Raises:
        DatasetError: the folder is missing, or the table lacks a column.
    """
    images, _ = read_folder(folder)
    persons = {} if patients is None else _persons(patients)
    by_group = form_groups(images, {})
    by_person = form_groups([_with_person(image, persons) for image in images], {})
    kept = sorted(_distinct(by_group), key=lambda image: image.image.image_sha256)
    return Dataset(
        folder=folder,
        images=tuple(kept),
        groups=_numbers(kept, by_group),
        persons=_numbers(kept, by_person),
        is_person_known=np.array([any(file.image_sha256 in persons for file in image.files) for image in kept]),
        count_excluded=len(by_group.excluded),
    )


def _persons(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"sha256", "person"} <= rows[0].keys():
        raise DatasetError(f"{path} must have the columns sha256 and person, and one row or more. Correct its header.")
    return {row["sha256"]: row["person"] for row in rows}


def _with_person(image: LabeledImage, persons: dict[str, str]) -> LabeledImage:
    person = persons.get(image.image_sha256)
    return image if person is None else replace(image, patient=frozenset({f"person {person}"}))


def _distinct(grouping: Grouping) -> list[DistinctImage]:
    return [image for group in grouping.groups for image in group]


def _numbers(images: Sequence[DistinctImage], grouping: Grouping) -> Indexes:
    """Return the number of each image's group."""
    keys = sorted(group_key(group) for group in grouping.groups)
    number = {key: position for position, key in enumerate(keys)}
    of_image = {image.image.image_sha256: number[group_key(group)] for group in grouping.groups for image in group}
    return np.array([of_image[image.image.image_sha256] for image in images], np.intp)


def _part(labels: NDArray[np.int64], together: Indexes, *, parts: int, number: int) -> tuple[Indexes, Indexes]:
    """Divide images into ``parts``, and return the positions outside and inside the part ``number``.

    Images with the same number in ``together`` are in one part.
    """
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=_SEED).split(labels, labels, together)
    outside, inside = list(folds)[number]
    return np.asarray(outside, np.intp), np.asarray(inside, np.intp)
