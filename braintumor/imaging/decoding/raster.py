"""Decode JPEG and PNG with Pillow, and convert Pillow's images to uint8."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from braintumor.imaging.decoding.gray_levels import deep_to_uint8, is_gray, without_equal_channels
from braintumor.imaging.decoding.jpeg import find_damage, read_structure, refuse_kind, refuse_scans
from braintumor.imaging.decoding.png import read_chunks
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Frame, Limits, check_size

_DEEP_MODES = {"I", "I;16", "I;16B", "I;16L"}
_END_OF_JPEG = b"\xff\xd9"
_GRAY_ALPHA = "LA;16B"
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Byte orders and their opposites. The last letter of Pillow's raw mode decides which byte of 16 bits Pillow keeps."""
_WITH_ALPHA = (2, 4)
"""Numbers of samples per pixel whose last sample is alpha."""


def decode_jpeg(data: bytes, limits: Limits) -> Decoded | Rejection:
    """Return the frame of a JPEG file, gray or RGB, upright as EXIF states, or a rejection.

    The size in the header is checked first. Further images in the file are ignored, because they are thumbnails.
    """
    structure = read_structure(data)
    refused = refuse_kind(structure)
    if refused is not None:
        return refused
    reason = None if structure.is_ended else RejectionReason.TRUNCATED
    has_end = data.rfind(_END_OF_JPEG) >= 0  # from the back, because the search stops at every 0xFF
    image = _open(data, "jpeg", limits, None if has_end else reason)
    if isinstance(image, Rejection):
        return image
    with image:
        refused = check_size(*image.size, limits) or refuse_scans(structure, image.width * image.height)
        if refused is None and reason is not None:
            refused = _undecoded(image, "jpeg", reason)
        return refused or find_damage(structure) or _decode(image, "jpeg")


def decode_png(data: bytes, limits: Limits) -> Decoded | Rejection:
    """Return the frame of a PNG file like ``decode_jpeg``. An animated PNG is rejected."""
    kept, reason = read_chunks(data)
    image = _open(kept, "png", limits, reason)
    if isinstance(image, Rejection):
        return image
    with image:
        refused = check_size(*image.size, limits)
        if refused is not None:
            return refused
        if getattr(image, "n_frames", 1) > 1:
            return Rejection(RejectionReason.MULTI_FRAME, "an animated png; single images are scored")
        if reason is not None:
            return _undecoded(image, "png", reason)
        if is_deep_color(image):
            return _decode_deep_color(lambda: Image.open(io.BytesIO(kept), formats=["PNG"]))
        return _decode(image, "png")


def _open(
    data: bytes, kind: Literal["jpeg", "png"], limits: Limits, damage: RejectionReason | None
) -> Image.Image | Rejection:
    try:
        return Image.open(io.BytesIO(data), formats=[kind.upper()])
    except Image.DecompressionBombError:
        return Rejection(RejectionReason.TOO_MANY_PIXELS, f"the limit is {limits.max_pixels:,} pixels in all")
    except (OSError, SyntaxError):  # includes Pillow's UnidentifiedImageError
        reason = damage or RejectionReason.CORRUPT
        return Rejection(reason, f"the {kind} header does not decode")


def _decode(image: Image.Image, kind: Literal["jpeg", "png"]) -> Decoded | Rejection:
    damage = _damage_on_load(image)
    if damage is not None:
        return _undecoded(image, kind, damage)
    ImageOps.exif_transpose(image, in_place=True)
    return Decoded(format=kind, frames=(Frame(index=0, pixels=image_to_uint8(image)),))


def _decode_deep_color(open_image: Callable[[], Image.Image]) -> Decoded | Rejection:
    """Return the frame of a PNG with 16 bits per sample, in color or gray with alpha, or a rejection.

    ``open_image`` opens the image without decoding it, and is called several times. Samples are converted to 8 bits in
    the same way as those of a gray PNG.
    """
    with open_image() as image:
        transparent = image.info.get("transparency")
        damage = _damage_on_load(image)
        if damage is not None:
            return _undecoded(image, "png", damage)
    values = sixteen_bit_samples(open_image)
    if isinstance(transparent, tuple):
        values[(values == np.array(transparent)).all(axis=2)] = 0
    if values.shape[2] in _WITH_ALPHA:
        values = without_alpha(values)
    return Decoded(format="png", frames=(Frame(index=0, pixels=gray_or_color(deep_to_uint8(values))),))


def _undecoded(image: Image.Image, kind: Literal["jpeg", "png"], reason: RejectionReason) -> Rejection:
    detail = f"{kind} of {image.size[0]} x {image.size[1]} pixels does not decode"
    return Rejection(reason, detail)


def _damage_on_load(image: Image.Image) -> RejectionReason | None:
    try:
        image.load()
    except (OSError, SyntaxError) as exc:
        is_cut = "truncated" in str(exc)
        return RejectionReason.TRUNCATED if is_cut else RejectionReason.CORRUPT
    return None


def is_deep_color(image: Image.Image) -> bool:
    """Return whether an image that is not decoded yet has 16 bits per sample. Pillow would keep only 8 of them."""
    return image.mode not in _DEEP_MODES and any(";16" in _raw_mode(tile.args) for tile in _tiles(image))


def sixteen_bit_samples(open_image: Callable[[], Image.Image]) -> NDArray[np.uint16]:
    """Return the samples (H, W, samples) of an image for which ``is_deep_color`` is true.

    Pillow reads the high bytes and the low bytes in two passes, so ``open_image`` is called twice.
    """
    with open_image() as high, open_image() as low:
        modes = {_raw_mode(tile.args) for tile in _tiles(high)}
        if modes == {_GRAY_ALPHA}:  # Pillow reads these four bytes per pixel unchanged
            return _loaded(high, {_GRAY_ALPHA: "RGBA"}).view(">u2").astype(np.uint16)
        other = {mode: mode[:-1] + _OTHER_ORDER[mode[-1]] for mode in modes}
        return _loaded(high, {}) * np.uint16(256) + _loaded(low, other)


def _loaded(image: Image.Image, modes: Mapping[str, str]) -> NDArray[np.uint8]:
    """Return an image's samples in EXIF orientation. ``modes`` replaces Pillow's raw modes while decoding."""
    image_file: Any = image
    image_file.tile = [tile._replace(args=_with_raw_mode(tile.args, modes)) for tile in _tiles(image)]
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)


def _tiles(image: Image.Image) -> list[Any]:
    return list(getattr(image, "tile", ()))


def _raw_mode(args: Any) -> str:
    return str(args if isinstance(args, str) else args[0])


def _with_raw_mode(args: Any, modes: Mapping[str, str]) -> Any:
    mode = modes.get(_raw_mode(args), _raw_mode(args))
    return mode if isinstance(args, str) else (mode, *args[1:])


def without_alpha(values: NDArray[Any]) -> NDArray[Any]:
    """Return samples (H, W, n) without alpha, the last sample of a pixel. Transparent pixels become black."""
    samples, alpha = values[..., :-1], values[..., -1:]
    opaque = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
    if (alpha == opaque).all():
        return samples
    seen = samples * (alpha / opaque)
    return seen.astype(values.dtype) if values.dtype.kind == "f" else np.rint(seen).astype(values.dtype)


def gray_or_color(shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return gray levels (H, W), (H, W, 1) or (H, W, 3) as (H, W) if all channels are equal, else as (H, W, 3)."""
    if is_gray(shown):
        return shown
    channels = [np.ascontiguousarray(shown[..., index]) for index in range(shown.shape[2])]
    return channels[0] if len(channels) == 1 else without_equal_channels(*channels)


def image_to_uint8(image: Image.Image) -> NDArray[np.uint8]:
    """Convert Pillow's image to uint8 (H, W) or (H, W, 3). Transparency becomes black.

    RGB with equal channels becomes gray. 98% of the JPEGs in the SARTAJ dataset are such images. The later steps take
    half the time for gray, with the same model input and ``pixel_sha256``.
    """
    if image.mode in _DEEP_MODES:
        values = np.asarray(image)
        transparent = image.info.get("transparency")
        return deep_to_uint8(values if transparent is None else np.where(values == transparent, 0, values))
    if "transparency" in image.info or "A" in image.getbands():
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    if image.mode in {"L", "1"}:
        return np.asarray(image.convert("L"))
    colored = image if image.mode == "RGB" else image.convert("RGB")  # convert() would copy it
    red, green, blue = map(np.asarray, colored.split())
    return without_equal_channels(red, green, blue)
