"""One labeled image as it was read: what it is, what it resembles, where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from braintumor.dataset.images.folder_layout import SPLIT_FOLDERS, is_image, place_of
from braintumor.dataset.images.image_stats import ImageStats, image_stats
from braintumor.dataset.images.patient_ids import PATIENT, STUDY
from braintumor.dataset.images.perceptual_hash import perceptual_hashes
from braintumor.errors import ObjectChangedError, ObjectMissingError, ObjectRefusedError
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.gray_levels import is_gray
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.pseudonym import pseudonym
from braintumor.labels import CLASSES, TumorClass
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri, is_usable_key, storable_key

OUTSIDE = "not in a class folder"
"""Why a file was left out whose folder names no class."""
LOST: dict[type[Exception], str] = {
    ObjectMissingError: "the object is gone",
    ObjectChangedError: "the object was overwritten meanwhile",
    ObjectRefusedError: "S3 refuses the object",
}
"""Why one whose object S3 did not hand out."""
UNUSABLE_KEY = "the object's key cannot be stored"
"""Why one whose key Postgres cannot store."""
UNOPENED = "the file cannot be opened"
"""Why a local file that the operating system does not hand out."""


@dataclass(frozen=True, kw_only=True)
class LabeledImage:
    """An image that decodes, with its fingerprints.

    Attributes:
        image_sha256: of the file's bytes.
        pixel_sha256: of its decoded gray pixels.
        perceptual_hash: 256 bytes, ``Hashes`` (8, 4) of ``fingerprint``.
        label: what its folder says.
        image_uri: its address in S3; may name a patient.
        attributes: what its answers can be sliced by: ``source``, ``format``, ``color``, ``long_side``, and what DICOM
            gives of ``age_band``, ``sex``, ``manufacturer``, ``field_strength``, ``sequence``.
        appearance: how it looks.
        patient: raw identifiers of its patient and study, where DICOM gives them; never stored.
        reviewed: of a production frame whose label people gave: its scan and frame. Such an image is in no test split.
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
    def name(self) -> str:
        """What says in a list which one it is: the frame of a reviewed one, the address of any other."""
        return self.reviewed or self.image_uri

    def left_out(self, reason: str) -> ExcludedImage:
        """The word that it could not enter a snapshot."""
        return ExcludedImage(image_uri=self.name, reason=reason, image_sha256=self.image_sha256)


@dataclass(frozen=True, kw_only=True)
class ExcludedImage:
    """An image that could not enter a snapshot, and why.

    Attributes:
        image_uri: its address, which may name a patient; of a reviewed frame its scan and frame.
        reason: why.
        image_sha256: of the file's bytes; empty where they were not read.
    """

    image_uri: str
    reason: str
    image_sha256: str = ""


def read_image(
    store: ObjectStore, source: S3Uri, entry: ObjectEntry, *, anywhere: bool = False
) -> LabeledImage | ExcludedImage | None:
    """Read one object below ``source``, whose folder names its class. Litter and what is no image give ``None``.

    With ``anywhere`` objects outside class folders are read too, under any class. An erasure asks only whose they are.
    """
    uri, stored = S3Uri(bucket=entry.bucket, key=entry.key), storable_key(entry.key)
    place = place_of(entry.key.removeprefix(source.key))
    if place.is_litter:
        return None
    if not is_usable_key(entry.key):
        return ExcludedImage(image_uri=str(S3Uri(bucket=entry.bucket, key=stored)), reason=UNUSABLE_KEY)
    label = CLASSES[0] if anywhere and place.label is None else place.label
    try:
        return understand(lambda: store.read(uri, etag=entry.etag), label=label, address=str(uri), around=place.folders)
    except tuple(LOST) as exc:
        return ExcludedImage(image_uri=str(uri), reason=LOST[type(exc)])


def sorted_out(
    items: Iterable[LabeledImage | ExcludedImage | None], on_read: Callable[[int], None] = lambda _: None
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """What decodes, and what does not; ``on_read`` is told of each as it comes."""
    images: list[LabeledImage] = []
    left_out: list[ExcludedImage] = []
    for item in items:
        if isinstance(item, LabeledImage):
            images.append(item)
        elif item is not None:
            left_out.append(item)
        on_read(1)
    return images, left_out


def understand(
    read: Callable[[], bytes], *, label: TumorClass | None, address: str, around: Sequence[str]
) -> LabeledImage | ExcludedImage | None:
    """Make a labeled image of a file. A file without a class is not read. A file that is no image gives ``None``.

    Args:
        read: gives the file's bytes.
        label: the class that the file's folder names.
        address: where the file lies.
        around: the folders around it that name no class, such as ``Training``.
    """
    if label is None:
        return ExcludedImage(image_uri=address, reason=OUTSIDE)
    data = read()
    if not is_image(address.rpartition("/")[2], data[:1024]):
        return None
    decoded = decode(data)
    digest = sha256(data).hexdigest()
    if isinstance(decoded, Rejection):
        return ExcludedImage(image_uri=address, reason=f"{decoded.reason}: {decoded.detail}", image_sha256=digest)
    if decoded.frame_count > 1:  # which of them does the label speak of?
        detail = f"{decoded.frame_count} frames under one label"
        return ExcludedImage(image_uri=address, reason=f"{RejectionReason.MULTI_FRAME}: {detail}", image_sha256=digest)
    pixels = decoded.frames[0].pixels
    return LabeledImage(
        image_sha256=digest,
        pixel_sha256=decoded.pixel_sha256,
        perceptual_hash=perceptual_hashes(pixels).tobytes(),
        label=label,
        image_uri=address,
        attributes={"source": _source(around), **_attributes(decoded)},
        appearance=image_stats(pixels),
        patient=_patient(decoded),
    )


def _source(folders: Sequence[str]) -> str:
    """The part of a public set that an image came in. Any other folder may be named after a patient: it is not kept."""
    return next((folder for folder in folders if folder.lower() in SPLIT_FOLDERS), "-")


def _attributes(decoded: Decoded) -> dict[str, str]:
    pixels = decoded.frames[0].pixels
    side = max(pixels.shape[:2])
    bands = {"up to 255": 255, "256 to 511": 511, "512": 512}
    band = next((name for name, most in bands.items() if side <= most), "above 512")
    shape = {"format": decoded.format, "color": "gray" if is_gray(pixels) else "color", "long_side": band}
    return {**shape, **decoded.attributes}


def _patient(decoded: Decoded) -> frozenset[str]:
    identity = decoded.dicom
    if identity is None:
        return frozenset()
    named = {PATIENT: identity.patient_id, STUDY: identity.study_instance_uid}
    return frozenset(f"{kind} {value}" for kind, value in named.items() if value)


def under_pseudonyms(image: LabeledImage, key: bytes) -> LabeledImage:
    """The image with the keyed pseudonyms of its patient and study, by which scans are known, for the identifiers."""
    named = [one.partition(" ") for one in image.patient]
    kinds: dict[str, Literal["patient", "study"]] = {PATIENT: "patient", STUDY: "study"}
    found = {(kind, pseudonym(value, kind=kinds[kind], key=key)) for kind, _, value in named}
    return replace(image, patient=frozenset(f"{kind} {value}" for kind, value in found if value))
