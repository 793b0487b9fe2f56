"""One labelled image as it was read: what it is, what it resembles, where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from braintumor.dataset.fingerprint import perceptual_hashes
from braintumor.errors import DatasetError
from braintumor.imaging.frames import Decoded, decode
from braintumor.imaging.rejection import Rejection
from braintumor.labels import TumorClass, parse_class
from braintumor.objectstore import ObjectEntry, ObjectStore, S3Uri

_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """An image that decodes, with its fingerprints.

    Attributes:
        image_sha256: of the file's bytes.
        pixel_sha256: of its decoded grey pixels.
        perceptual_hash: 256 bytes, ``Hashes`` (8, 4) of ``fingerprint``.
        label: what its folder says.
        image_uri: its address in S3; may name a patient.
        attributes: what its answers can be sliced by: ``source``, ``format``, ``colour``, ``long_side``.
        patient: raw identifiers of its patient and study, where DICOM gives them; never stored.
    """

    image_sha256: str
    pixel_sha256: str
    perceptual_hash: bytes = field(repr=False)
    label: TumorClass
    image_uri: str
    attributes: Mapping[str, str] = field(hash=False)
    patient: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An image that could not enter a snapshot, and why."""

    image_uri: str
    reason: str


def read_image(store: ObjectStore, source: S3Uri, entry: ObjectEntry) -> LabelledImage | LeftOut:
    """Read one object below ``source``, whose first folder names its class."""
    uri = S3Uri(bucket=entry.bucket, key=entry.key)
    folder, *inner = entry.key.removeprefix(source.key).split("/")
    try:
        label = parse_class(folder)
    except DatasetError:
        return LeftOut(image_uri=str(uri), reason="not in a class folder")
    data = store.read(uri, etag=entry.etag)
    decoded = decode(data)
    if isinstance(decoded, Rejection):
        return LeftOut(image_uri=str(uri), reason=f"{decoded.reason}: {decoded.detail}")
    return LabelledImage(
        image_sha256=sha256(data).hexdigest(),
        pixel_sha256=decoded.pixel_sha256,
        perceptual_hash=perceptual_hashes(decoded.frames[0].pixels).tobytes(),
        label=label,
        image_uri=str(uri),
        attributes={"source": _source(inner[:-1]), **_attributes(decoded)},
        patient=_patient(decoded),
    )


def _source(folders: list[str]) -> str:
    """The part of a public set that an image came in. Any other folder may be named after a patient: it is not kept."""
    return next((folder for folder in folders if folder.lower() in _PARTS), "-")


def _attributes(decoded: Decoded) -> dict[str, str]:
    pixels = decoded.frames[0].pixels
    is_grey = pixels.ndim == 2 or bool((pixels == pixels[..., :1]).all())  # noqa: PLR2004
    side = max(pixels.shape[:2])
    bands = {"up to 255": 255, "256 to 511": 511, "512": 512}
    band = next((name for name, most in bands.items() if side <= most), "above 512")
    return {"format": decoded.format, "colour": "grey" if is_grey else "colour", "long_side": band}


def _patient(decoded: Decoded) -> frozenset[str]:
    identity = decoded.dicom
    if identity is None:
        return frozenset()
    named = {"patient": identity.patient_id, "study": identity.study_instance_uid}
    return frozenset(f"{kind} {value}" for kind, value in named.items() if value)
