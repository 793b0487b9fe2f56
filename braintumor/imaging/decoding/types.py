"""Define the results of decoders, and the limits of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.dicom_header import DicomHeader
from braintumor.imaging.decoding.formats import Format
from braintumor.imaging.decoding.gray_levels import is_gray
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a file. Decoders compare the header with the limits before they decode any pixel.

    Attributes:
        max_bytes: largest size in bytes of the file, and of a deflated DICOM file after decompression.
        max_volume_bytes: largest size in bytes of a NIfTI file up to the end of its first volume, and of a TIFF page.
            Both are sizes after decompression.
        max_pixels: largest number of pixels of all frames together.
        max_frames: largest number of frames. A file with more frames is rejected.
        min_side: least width and height of a frame in pixels.
        max_scored_frames: largest number of frames that are scored, evenly spaced. A file with more frames is not
            rejected.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_volume_bytes: int = 128 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_frames: int = 2_000
    min_side: int = 32
    max_scored_frames: int = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One 2D image of a file, uint8 (H, W), or (H, W, 3) for color.

    ``index`` counts all frames of the file from 0. In TIFF it also counts thumbnails and masks, so that it may be
    above ``Decoded.frame_count``. Stored predictions have this index.
    """

    index: int
    pixels: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The decoded frames of a file.

    ``frames`` are those to score, at least one, in ascending order of index. ``frame_count`` counts all frames of the
    file, without thumbnails and masks. ``dicom`` and ``attributes`` are only for DICOM. ``dicom_attributes`` returns
    the attributes.
    """

    format: Format
    frames: tuple[Frame, ...]
    frame_count: int = 1
    dicom: DicomHeader | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def pixel_sha256(self) -> str:
        """Return the sha256 of shapes and gray pixels of all frames to score, equal for equal pixels in any format."""
        digest = sha256()
        for frame in self.frames:
            pixels = frame.pixels
            gray = pixels if is_gray(pixels) else np.asarray(Image.fromarray(pixels).convert("L"))
            digest.update(str(gray.shape).encode())
            digest.update(np.ascontiguousarray(gray).data)
        return digest.hexdigest()


def check_size(width: int, height: int, limits: Limits, *, frames: int = 1) -> Rejection | None:
    """Return a rejection if ``frames`` frames of this size are beyond the limits, else ``None``."""
    if frames > limits.max_frames:
        return Rejection(RejectionReason.TOO_MANY_FRAMES, f"{frames:,} frames; the limit is {limits.max_frames:,}")
    if width * height * frames > limits.max_pixels:
        prefix = f"{frames} frames of " if frames > 1 else ""
        return Rejection(
            RejectionReason.TOO_MANY_PIXELS,
            f"{prefix}{width} x {height} pixels; the limit is {limits.max_pixels:,} in all",
        )
    if min(width, height) < limits.min_side:
        return Rejection(
            RejectionReason.TOO_SMALL, f"{width} x {height} pixels; each side must have {limits.min_side} or more"
        )
    return None
