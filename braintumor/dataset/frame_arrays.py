"""Load the images of one split of a snapshot as arrays, for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.snapshot import Snapshot, SnapshotImage
from braintumor.dataset.splits.split import Split
from braintumor.errors import DatasetError, ObjectMissingError
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.letterbox import letterbox
from braintumor.progress import progress
from braintumor.s3 import ObjectStore, S3Uri


@dataclass(frozen=True, kw_only=True)
class FrameArrays:
    """The images of one split, in snapshot order.

    Attributes:
        frames: uint8 (N, S, S, 3): image, height, width, channel. S is the model's image size in pixels.
        labels: int64 (N,), the position of each image's class in ``CLASSES``.
        images: the N snapshot images, in the order of ``frames``.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]
    images: tuple[SnapshotImage, ...]

    @property
    def groups(self) -> list[str]:
        """Return the group key of each image, (N,). Images of one patient and near-duplicates have the same key."""
        return [image.group_key for image in self.images]


def load_frames(store: ObjectStore, snapshot: Snapshot, split: Split, *, size: int) -> FrameArrays:
    """Return every image of a split, letterboxed to ``size`` x ``size`` pixels. Each file's sha256 is verified.

    Raises:
        DatasetError: a file is missing or differs from the snapshot, or this program version rejects the file.
    """
    images = snapshot.of_split(split)
    frames = np.empty((len(images), size, size, 3), np.uint8)
    with progress(f"Loading {split} images", len(images)) as advance:
        for index, frame in enumerate(store.concurrently(lambda image: _read(store, image, size), images)):
            frames[index] = frame
            advance(1)
    labels = np.array([image.label.position for image in images], np.int64)
    return FrameArrays(frames=frames, labels=labels, images=tuple(images))


def _read(store: ObjectStore, image: SnapshotImage, size: int) -> NDArray[np.uint8]:
    try:
        data = store.read(S3Uri.parse(image.image_uri))
    except ObjectMissingError as exc:
        raise _changed(image, "removed") from exc
    if sha256(data).hexdigest() != image.image_sha256:
        raise _changed(image, "overwritten")
    decoded = decode(data)
    if isinstance(decoded, Rejection):
        raise DatasetError(
            f"Image {image.image_sha256[:12]}... is unchanged since the snapshot, but this version rejects it: "
            f"{decoded.reason}, {decoded.detail}. Take a new snapshot."
        )
    return letterbox(decoded.frames[0].pixels, size=size)


def _changed(image: SnapshotImage, change: str) -> DatasetError:
    short = image.image_sha256[:12]
    return DatasetError(
        f"Image {short}... was {change} since the snapshot recorded it. Restore the object (its address: select "
        f"image_uri from braintumor.snapshot_image where image_sha256 like '{short}%'), or take a new snapshot."
    )
