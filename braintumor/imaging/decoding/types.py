"""What decoders return, and the limits that they keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.formats import Format
from braintumor.imaging.decoding.gray_levels import is_gray
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Checked before anything is decoded, on what the header claims.

    Attributes:
        max_bytes: of the file, and of a deflated DICOM once inflated.
        max_volume_bytes: of a NIfTI's first volume once inflated; nothing behind it is inflated.
        max_pixels: of all frames together.
        max_frames: in the file.
        min_side: of a frame, pixels.
        max_scored_frames: taken from a file, evenly spaced; no reason to reject it.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_volume_bytes: int = 128 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_frames: int = 2_000
    min_side: int = 32
    max_scored_frames: int = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One 2-D slice: uint8 (H, W), or (H, W, 3) where the file has color. Three equal channels are gray.

    ``index`` is its place among all frames of the file, from 0.
    """

    index: int
    pixels: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class DicomIdentity:
    """Raw identifiers of a DICOM object; its repr shows none of them. Only pseudonyms may leave the scorer."""

    study_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)
    patient_id: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """A file's frames.

    Attributes:
        format: by content.
        frames: one or more, by rising index; which ones of many: ``slices.choose``.
        frame_count: frames that the file holds, chosen or not.
        dicom: raw identifiers, of a DICOM object.
        attributes: of patient and scanner, where DICOM gives them: the coarse words of ``dicom_attributes``.
    """

    format: Format
    frames: tuple[Frame, ...]
    frame_count: int = 1
    dicom: DicomIdentity | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def pixel_sha256(self) -> str:
        """sha256 over shape and gray pixels of every frame: equal for files that show the same, in any format."""
        digest = sha256()
        for frame in self.frames:
            pixels = frame.pixels
            gray = pixels if is_gray(pixels) else np.asarray(Image.fromarray(pixels).convert("L"))
            digest.update(str(gray.shape).encode())
            digest.update(np.ascontiguousarray(gray).data)
        return digest.hexdigest()


def check_size(width: int, height: int, limits: Limits, *, frames: int = 1) -> Rejection | None:
    """Refuse an image, or several of one size, by the size in its header."""
    if frames > limits.max_frames:
        return Rejection(
            reason=RejectionReason.TOO_MANY_FRAMES, detail=f"{frames:,} frames; the limit is {limits.max_frames:,}"
        )
    if width * height * frames > limits.max_pixels:
        of = f"{frames} frames of " if frames > 1 else ""
        return Rejection(
            reason=RejectionReason.TOO_MANY_PIXELS,
            detail=f"{of}{width} x {height} pixels; the limit is {limits.max_pixels:,} in all",
        )
    if min(width, height) < limits.min_side:
        return Rejection(
            reason=RejectionReason.TOO_SMALL,
            detail=f"{width} x {height} pixels; each side must have {limits.min_side} or more",
        )
    return None
