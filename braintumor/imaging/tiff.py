"""TIFF and BigTIFF through Pillow: every page is a frame, but for thumbnails of another page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from braintumor.imaging.frames import Decoded, Frame, Limits, check_size
from braintumor.imaging.raster import image_to_uint8
from braintumor.imaging.rejection import Rejection, RejectionReason
from braintumor.imaging.slices import choose

_SUBFILE_TYPE, _PHOTOMETRIC = 254, 262
_REDUCED, _WHITE_IS_ZERO = 1, 0
_PLACES = ((273, 279), (324, 325))
"""Tags of where strips lie and how long they are, and of tiles."""
_DEEP_MODES = ("I", "F")
"""Beginnings of the names of Pillow's modes of which it does not invert a WhiteIsZero image itself."""


def decode_tiff(data: bytes, limits: Limits) -> Decoded | Rejection:
    """One frame a page; number and sizes of all pages are checked by their headers before any pixel is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            pages = _pages(image, len(data), limits)
            return pages if isinstance(pages, Rejection) else _decode(image, pages, limits)
    except Image.DecompressionBombError:
        detail = f"the limit is {limits.max_pixels:,} pixels in all"
        return Rejection(reason=RejectionReason.TOO_MANY_PIXELS, detail=detail)
    except UnidentifiedImageError:
        return _unread(data)


def _unread(data: bytes) -> Rejection:
    """Why Pillow opens no such file: its directory lies behind the end, or it is of a kind that Pillow reads not."""
    place = data[8:16] if b"+" in data[2:4] else data[4:8]
    directory = int.from_bytes(place, "little" if data[:2] == b"II" else "big")
    if directory + 2 > len(data):
        return Rejection(reason=RejectionReason.TRUNCATED, detail="the file ends before its directory of pages")
    return Rejection(reason=RejectionReason.CORRUPT, detail="the tiff header does not decode, or not with Pillow")


def _pages(image: Any, length: int, limits: Limits) -> list[int] | Rejection:
    """The numbers of the pages to decode, or why none is to be."""
    pages: list[int] = []
    pixels = 0
    for page in _seek(image):
        if page >= limits.max_frames:
            detail = f"more than {limits.max_frames:,} pages"
            return Rejection(reason=RejectionReason.TOO_MANY_FRAMES, detail=detail)
        if _is_thumbnail(image):
            continue
        pages.append(page)
        pixels += image.width * image.height
        refused = check_size(image.width, image.height, limits)
        if refused is not None:
            return refused
        if pixels > limits.max_pixels:
            detail = f"pages of more than {limits.max_pixels:,} pixels in all"
            return Rejection(reason=RejectionReason.TOO_MANY_PIXELS, detail=detail)
        if _is_cut(image, length):
            return Rejection(reason=RejectionReason.TRUNCATED, detail=f"the file ends before its page {page + 1} does")
    return pages or Rejection(reason=RejectionReason.TOO_SMALL, detail="every page is marked as a thumbnail")


def _seek(image: Any) -> Iterator[int]:
    """Each page's number once the image stands there; Pillow reads their headers one by one, and none twice."""
    for page in count():
        try:
            image.seek(page)
        except EOFError:
            return
        yield page


def _is_thumbnail(image: Any) -> bool:
    return bool(int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & _REDUCED)


def _is_cut(image: Any, length: int) -> bool:
    """Whether a strip or tile of the page lies behind the file's end."""
    for offsets, counts in _PLACES:
        pairs = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(counts, ()), strict=False)
        if any(offset + count > length for offset, count in pairs):
            return True
    return False


def _decode(image: Any, pages: list[int], limits: Limits) -> Decoded | Rejection:
    frames = choose(_frames(image, pages), limits)
    return frames if isinstance(frames, Rejection) else Decoded(format="tiff", frames=frames, count_found=len(pages))


def _frames(image: Any, pages: list[int]) -> Iterator[Frame]:
    for page in pages:
        image.seek(page)
        is_inverted = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        image.load()  # turns it as its orientation says
        yield Frame(index=page, pixels=_shown(image, is_inverted=is_inverted))


def _shown(image: Image.Image, *, is_inverted: bool) -> NDArray[np.uint8]:
    pixels = image_to_uint8(image)
    return 255 - pixels if is_inverted and image.mode.startswith(_DEEP_MODES) else pixels
