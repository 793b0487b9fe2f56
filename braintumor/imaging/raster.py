"""JPEG and PNG through Pillow, and any of its images -> uint8."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from braintumor.imaging.display import deep_to_uint8, displayed_range, range_to_uint8, without_equal_channels
from braintumor.imaging.frames import Decoded, Frame, Limits, check_size
from braintumor.imaging.rejection import Rejection, RejectionReason

_DEEP_MODES = {"I", "I;16", "I;16B", "I;16L"}
_PNG_SIGNATURE_BYTES = 8
_PNG_CHUNK_HEADER = struct.Struct(">I4s")  # length of the data, type
_END_OF_JPEG = b"\xff\xd9"


def decode_raster(data: bytes, found: Literal["jpeg", "png"], limits: Limits) -> Decoded | Rejection:
    """One frame, grey or RGB, turned as EXIF says; the header's size is checked before any pixel is decoded.

    Only the first picture of a multi-picture JPEG is read: the others are its thumbnails. An animated PNG is refused.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=[found.upper()])
    except Image.DecompressionBombError:
        return Rejection(
            reason=RejectionReason.TOO_MANY_PIXELS, detail=f"the limit is {limits.max_pixels:,} pixels in all"
        )
    except (OSError, SyntaxError):  # Pillow's own errors: UnidentifiedImageError is an OSError
        reason = _damage(data, found) or RejectionReason.CORRUPT
        return Rejection(reason=reason, detail=f"the {found} header does not decode")
    with image:
        return check_size(*image.size, limits) or _decode(image, data, found)


def _decode(image: Image.Image, data: bytes, found: Literal["jpeg", "png"]) -> Decoded | Rejection:
    if found == "png" and getattr(image, "n_frames", 1) > 1:
        return Rejection(reason=RejectionReason.MULTI_FRAME, detail="an animated png; pictures are scored")
    damage = _damage(data, found) or _damage_on_load(image)
    if damage is not None:
        detail = f"{found} of {image.size[0]} x {image.size[1]} pixels does not decode"
        return Rejection(reason=damage, detail=detail)
    ImageOps.exif_transpose(image, in_place=True)
    return Decoded(format=found, frames=(Frame(index=0, pixels=image_to_uint8(image)),))


def _damage_on_load(image: Image.Image) -> RejectionReason | None:
    try:
        image.load()
    except (OSError, SyntaxError) as exc:
        is_cut = "truncated" in str(exc)
        return RejectionReason.TRUNCATED if is_cut else RejectionReason.CORRUPT
    return None


def _damage(data: bytes, found: Literal["jpeg", "png"]) -> RejectionReason | None:
    """What is wrong with the file's frame, which Pillow does not look at once it has all rows."""
    if found == "jpeg":
        return None if _END_OF_JPEG in data else RejectionReason.TRUNCATED
    return _png_damage(data)


def _png_damage(data: bytes) -> RejectionReason | None:
    """Walk the chunks up to IEND and compare their checksums (W3C PNG 5.3): Pillow skips those of the pixels."""
    at, kind = _PNG_SIGNATURE_BYTES, b""
    while kind != b"IEND":
        if at + _PNG_CHUNK_HEADER.size > len(data):
            return RejectionReason.TRUNCATED
        length, kind = _PNG_CHUNK_HEADER.unpack_from(data, at)
        end = at + _PNG_CHUNK_HEADER.size + length
        if end + 4 > len(data):
            return RejectionReason.TRUNCATED
        is_critical = kind[:1].isupper()
        if is_critical and zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return RejectionReason.CORRUPT
        at = end + 4
    return None


def image_to_uint8(image: Image.Image) -> NDArray[np.uint8]:
    """Pillow's image -> uint8 (H, W) or (H, W, 3).

    Grey stays grey, 16 bits are brought to 8 (``deep_to_uint8``), the rest is RGB; transparency shows as black.

    Of the SARTAJ set's JPEGs 98% are stored as RGB with three equal channels: as grey they cost half as much from here
    on, and look the same to the model and to ``pixel_sha256``.
    """
    if image.mode in _DEEP_MODES:
        return deep_to_uint8(np.asarray(image))
    if image.mode == "F":
        values = np.asarray(image)
        finite = values[np.isfinite(values)]
        return range_to_uint8(values, *(displayed_range(finite) if finite.size else (0.0, 0.0)))
    if "transparency" in image.info or "A" in image.getbands():
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    if image.mode in {"L", "1"}:
        return np.asarray(image.convert("L"))
    coloured = image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    red, green, blue = map(np.asarray, coloured.split())
    return without_equal_channels(red, green, blue)
