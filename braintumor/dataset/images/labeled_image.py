"""Read labeled images from S3, with their hashes, measurements, addresses and patient identifiers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from braintumor.dataset.images.folder_layout import SPLIT_FOLDERS, is_image, place_of
from braintumor.dataset.images.image_stats import ImageStats, image_stats
from braintumor.dataset.images.patient_ids import PATIENT, STUDY
from braintumor.dataset.images.perceptual_hash import perceptual_hashes
from braintumor.errors import ObjectChangedError, ObjectMissingError, ObjectRefusedError
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.dicom_header import DicomHeader
from braintumor.imaging.decoding.gray_levels import is_gray
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.pseudonym import pseudonym
from braintumor.labels import CLASSES, TumorClass
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri, is_usable_key, storable_key

OUTSIDE = "not in a class folder"
"""Reason for excluding a file whose folder names no class."""
LOST: dict[type[Exception], str] = {
    ObjectMissingError: "the object is gone",
    ObjectChangedError: "the object was overwritten meanwhile",
    ObjectRefusedError: "S3 refuses the object",
}
"""Reasons for excluding an object that S3 does not return, by the exception raised."""
UNUSABLE_KEY = "the object's key cannot be stored"
"""Reason for excluding an object whose key Postgres cannot store."""
UNOPENED = "the file cannot be opened"
"""Reason for excluding a local file that cannot be opened."""


@dataclass(frozen=True, kw_only=True)
class LabeledImage:
    """A decoded image with its hashes.

    Attributes:
        image_sha256: hex sha256 of the file's bytes.
        pixel_sha256: hex sha256 of the decoded gray pixels.
        perceptual_hash: 256 bytes: the array ``Hashes`` uint64 (8, 4) of the module ``perceptual_hash``.
        label: the class that the folder names.
        image_uri: address in S3, which can name a patient. For a file of a local folder, the path in that folder.
        attributes: values for evaluation by slice: ``source``, ``format``, ``color`` and ``long_side``. A DICOM header
            can add ``age_band``, ``sex``, ``manufacturer``, ``field_strength`` and ``sequence``.
        appearance: the thumbnail and measurements.
        patient: identifiers of the patient and the study from the DICOM header, such as ``patient 123``. They are never
            stored. A reviewed frame has the value of ``ReviewedLabel.identity`` here.
        reviewed: display name of a reviewed frame, such as ``scan 7, frame 0``. Empty for any other image. A reviewed
            frame is never in the test split.
    """

    image_sha256: str
    pixel_sha256: str
    perceptual_hash: bytes = field(repr=False)
    label: TumorClass
    image_uri: str
    attributes: Mapping[str, str] = field(hash=False)
    appearance: ImageStats
    patient: frozenset[str] = field(default=frozenset(), repr=False)
    reviewed: str = ""

    @property
    def has_patient(self) -> bool:
        """Return whether the patient is known. A known study alone does not count."""
        return any(identifier.startswith(f"{PATIENT} ") for identifier in self.patient)

    @property
    def name(self) -> str:
        """Return the display name: ``reviewed`` for a reviewed frame, the address for any other image."""
        return self.reviewed or self.image_uri

    def exclude(self, reason: str) -> ExcludedImage:
        """Return the record that this image is excluded from a snapshot, with the reason."""
        return ExcludedImage(image_uri=self.name, reason=reason, image_sha256=self.image_sha256)


@dataclass(frozen=True, kw_only=True)
class ExcludedImage:
    """An image that is excluded from a snapshot, with the reason.

    Attributes:
        image_uri: address in S3, which can name a patient. For a reviewed frame, its display name.
        reason: reason for the exclusion.
        image_sha256: hex sha256 of the file's bytes. Empty if not all bytes were read.
        patient: identifiers as in ``LabeledImage.patient``, for erasures. They are never stored.
    """

    image_uri: str
    reason: str
    image_sha256: str = ""
    patient: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are stored and printed: all except ``patient``."""
        return {"image_uri": self.image_uri, "reason": self.reason, "image_sha256": self.image_sha256}


def read_image(
    store: ObjectStore, source: S3Uri, entry: ObjectEntry, *, anywhere: bool = False
) -> LabeledImage | ExcludedImage | None:
    """Return the labeled image of one object below ``source``. The object's folder names the class.

    Args:
        store: the object store.
        source: the S3 prefix of the dataset.
        entry: the object.
        anywhere: whether to also read objects outside class folders, with an arbitrary class. Only an erasure sets
            ``anywhere``, and the erasure ignores the class.

    Returns:
        The image, or the record of its exclusion. ``None`` for litter and for files that are not images.
    """
    uri, stored = S3Uri(bucket=entry.bucket, key=entry.key), storable_key(entry.key)
    place = place_of(entry.key.removeprefix(source.key))
    if place.is_litter:
        return None
    if not is_usable_key(entry.key):
        return ExcludedImage(image_uri=str(S3Uri(bucket=entry.bucket, key=stored)), reason=UNUSABLE_KEY)
    label = CLASSES[0] if anywhere and place.label is None else place.label
    try:
        return to_labeled_image(
            lambda: store.read(uri, etag=entry.etag, max_bytes=Limits().max_bytes),
            label=label,
            address=str(uri),
            around=place.folders,
        )
    except tuple(LOST) as exc:
        return ExcludedImage(image_uri=str(uri), reason=LOST[type(exc)])


def partition_images(
    items: Iterable[LabeledImage | ExcludedImage | None], on_read: Callable[[int], None] = lambda _: None
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Return the images and the excluded images among ``items``, in this order.

    Args:
        items: results of ``read_image`` or ``to_labeled_image``. ``None`` items are skipped.
        on_read: called with 1 after each item.
    """
    images: list[LabeledImage] = []
    excluded: list[ExcludedImage] = []
    for item in items:
        if isinstance(item, LabeledImage):
            images.append(item)
        elif item is not None:
            excluded.append(item)
        on_read(1)
    return images, excluded


def to_labeled_image(
    read: Callable[[], bytes], *, label: TumorClass | None, address: str, around: Sequence[str]
) -> LabeledImage | ExcludedImage | None:
    """Decode and measure a file, and return it as a labeled image.

    Args:
        read: function that returns the file's bytes. Of a file larger than ``Limits.max_bytes``, one byte more than the
            limit is enough. The function is not called if ``label`` is ``None``.
        label: the class of the file's folder. ``None`` for a file outside class folders.
        address: the path of a local file, or the address of an S3 object.
        around: the folders of the file's path except the class folder, such as ``Training``.

    Returns:
        The image, or the record of its exclusion. ``None`` for a file that is not an image.
    """
    if label is None:
        return ExcludedImage(image_uri=address, reason=OUTSIDE)
    data = read()
    if not is_image(address.rpartition("/")[2], data[:1024]):
        return None
    decoded = decode(data)
    digest, patient = sha256(data).hexdigest(), _patient(decoded.dicom)
    if not isinstance(decoded, Rejection) and decoded.frame_count > 1:  # the label may apply to only one of them
        decoded = Rejection(RejectionReason.MULTI_FRAME, f"{decoded.frame_count} frames under one label")
    if isinstance(decoded, Rejection):
        whole = digest if len(data) <= Limits().max_bytes else ""
        reason = f"{decoded.reason}: {decoded.detail}"
        return ExcludedImage(image_uri=address, reason=reason, image_sha256=whole, patient=patient)
    pixels = decoded.frames[0].pixels
    return LabeledImage(
        image_sha256=digest,
        pixel_sha256=decoded.pixel_sha256,
        perceptual_hash=perceptual_hashes(pixels).tobytes(),
        label=label,
        image_uri=address,
        attributes={"source": _source(around), **_attributes(decoded)},
        appearance=image_stats(pixels),
        patient=patient,
    )


def _source(folders: Sequence[str]) -> str:
    """Return the first split folder of a public dataset among ``folders``, or ``-`` if there is no split folder.

    Other folders are ignored, because they can name a patient.
    """
    return next((folder for folder in folders if folder.lower() in SPLIT_FOLDERS), "-")


def _attributes(decoded: Decoded) -> dict[str, str]:
    pixels = decoded.frames[0].pixels
    side = max(pixels.shape[:2])
    bands = {"up to 255": 255, "256 to 511": 511, "512": 512}
    band = next((name for name, limit in bands.items() if side <= limit), "above 512")
    shape = {"format": decoded.format, "color": "gray" if is_gray(pixels) else "color", "long_side": band}
    return {**shape, **decoded.attributes}


def _patient(identity: DicomHeader | None) -> frozenset[str]:
    if identity is None:
        return frozenset()
    identifiers = {PATIENT: identity.patient_id, STUDY: identity.study_instance_uid}
    return frozenset(f"{kind} {value}" for kind, value in identifiers.items() if value)


def pseudonymize(image: LabeledImage, key: bytes) -> LabeledImage:
    """Return the image with keyed pseudonyms in place of the patient and study identifiers."""
    return replace(image, patient=frozenset(f"{kind} {value}" for kind, value in pseudonyms_of(image.patient, key)))


def pseudonyms_of(identifiers: Collection[str], key: bytes) -> set[tuple[str, str]]:
    """Return the kind and the keyed pseudonym of each identifier, in the form of ``LabeledImage.patient``.

    The database stores the same pseudonyms for scans of this patient and study.
    """
    kinds: dict[str, Literal["patient", "study"]] = {PATIENT: "patient", STUDY: "study"}
    named = [identifier.partition(" ") for identifier in identifiers]
    found = {(kind, pseudonym(value, kind=kinds[kind], key=key)) for kind, _, value in named}
    return {(kind, value) for kind, value in found if value}
