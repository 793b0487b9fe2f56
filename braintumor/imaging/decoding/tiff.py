"""TIFF and BigTIFF: every page is a frame, but for thumbnails and masks of another page.

tifffile reads the directories of pages, and ``tiff_pixels`` decodes them.
"""

from __future__ import annotations

import io
from itertools import count
from math import prod
from typing import Any

import numpy as np
from tifffile import TiffFile, TiffFileError

from braintumor.imaging.decoding.frame_selection import select_frames
from braintumor.imaging.decoding.gray_levels import stack_to_uint8
from braintumor.imaging.decoding.raster import gray_or_color
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.tiff_pixels import PageReader, Samples, split_samples
from braintumor.imaging.decoding.types import Decoded, Frame, Limits, check_size

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType: a thumbnail, and a transparency mask."""
_UNCOMPRESSED = 1
_METAMORPH_PLANES = 33629
"""Tag whose count is the number of planes behind a MetaMorph directory."""


def decode_tiff(data: bytes, limits: Limits) -> Decoded | Rejection:
    """One frame a page; number and sizes of all pages are checked by their headers before any pixel is decoded."""
    try:
        with TiffFile(io.BytesIO(data)) as file:
            pages = _pages(file, data, limits)
            if isinstance(pages, Rejection):
                return pages
            return _planes(file, pages, data, limits) or _decode(pages, data, limits)
    except TiffFileError:
        return _unread(data)


def _unread(data: bytes) -> Rejection:
    """Why there are no pages: the first directory lies behind the end, or it is damaged."""
    place = data[8:16] if b"+" in data[2:4] else data[4:8]
    directory = int.from_bytes(place, "little" if data[:2] == b"II" else "big")
    if directory + 2 > len(data):
        return Rejection(reason=RejectionReason.TRUNCATED, detail="the file ends before its directory of pages")
    return Rejection(reason=RejectionReason.CORRUPT, detail="the tiff header does not decode")


def _pages(file: TiffFile, data: bytes, limits: Limits) -> list[Any] | Rejection:
    """Read the directories of the pages to decode, or say why none is to be."""
    pages: list[Any] = []
    offsets: set[int] = set()
    for number in count():
        try:
            page: Any = file.pages[number]
        except IndexError:
            break
        if page.offset in offsets:  # a chain that returns to an earlier page ends there
            return pages
        offsets.add(page.offset)
        if number >= limits.max_frames:
            detail = f"more than {limits.max_frames:,} pages"
            return Rejection(reason=RejectionReason.TOO_MANY_FRAMES, detail=detail)
        if page.subfiletype & (_REDUCED | _MASK):
            continue
        pages.append(page)
        refused = _refused(page, pages, len(data), limits)
        if refused is not None:
            return refused
    if not offsets:
        return _unread(data)
    if _is_chain_cut(file, data, offsets):
        return Rejection(reason=RejectionReason.TRUNCATED, detail=f"the file ends before its page {number + 1}")
    return pages or Rejection(
        reason=RejectionReason.TOO_SMALL, detail="every page is marked as a thumbnail or as a mask"
    )


def _refused(page: Any, pages: list[Any], length: int, limits: Limits) -> Rejection | None:
    """What one page's directory forbids."""
    if not all(isinstance(side, int) and side > 0 for side in (page.imagewidth, page.imagelength)):  # or texts
        return Rejection(reason=RejectionReason.CORRUPT, detail="the tiff page states no size")
    refused = check_size(page.imagewidth, page.imagelength, limits)
    if refused is not None:
        return refused
    if sum(each.imagewidth * each.imagelength for each in pages) > limits.max_pixels:
        detail = f"pages of more than {limits.max_pixels:,} pixels in all"
        return Rejection(reason=RejectionReason.TOO_MANY_PIXELS, detail=detail)
    if page.imagedepth > 1:
        return Rejection(reason=RejectionReason.UNSUPPORTED_FORMAT, detail="tiff with a volume in one page")
    if any(at + size > length for at, size in zip(page.dataoffsets, page.databytecounts, strict=False)):
        return Rejection(
            reason=RejectionReason.TRUNCATED, detail=f"the file ends before its page {page.index + 1} does"
        )
    return None


def _is_chain_cut(file: TiffFile, data: bytes, offsets: set[int]) -> bool:
    """Whether the last directory points to another one that the file does not hold."""
    place, size = file.pages.next_page_offset, file.tiff.offsetsize
    if place is None:
        return False
    following = int.from_bytes(data[place : place + size], "little" if file.byteorder == "<" else "big")
    return place + size > len(data) or (following != 0 and following not in offsets)


def _planes(file: TiffFile, pages: list[Any], data: bytes, limits: Limits) -> Decoded | Rejection | None:
    """Decode a stack that has one directory for all images, as ImageJ, tifffile and MetaMorph write it.

    ``None`` where the file is no such stack, or was taken out of one.
    """
    page = pages[0]
    if len(pages) > 1 or page.compression != _UNCOMPRESSED or not page.is_contiguous or page.dtype is None:
        return None
    stated, start = _stated_planes(file, page), page.dataoffsets[0]
    stored = (len(data) - start) // page.nbytes
    if min(stated, stored) <= 1:
        return None
    refused = check_size(page.imagewidth, page.imagelength, limits, frames=stated)
    if refused is not None:
        return refused
    if stored < stated:
        detail = f"the file states {stated:,} images and holds {stored:,}"
        return Rejection(reason=RejectionReason.TRUNCATED, detail=detail)
    dtype = page.dtype.newbyteorder(file.byteorder)
    read = []
    for index in range(stated):
        values = np.frombuffer(data, dtype, count=prod(page.shape), offset=start + index * page.nbytes)
        samples = split_samples(page, values.reshape(page.shape).astype(page.dtype))
        if isinstance(samples, Rejection):
            return samples
        read.append((index, samples))
    return _shown(read, limits)


def _stated_planes(file: TiffFile, page: Any) -> int:
    if file.is_imagej:
        stated = (file.imagej_metadata or {}).get("images", 1)
    elif file.is_shaped:
        stated = prod((file.shaped_metadata or ({},))[0].get("shape", page.shape)) // prod(page.shape)
    else:
        stated = page.tags[_METAMORPH_PLANES].count if _METAMORPH_PLANES in page.tags else 1
    return stated if isinstance(stated, int) else 1


def _decode(pages: list[Any], data: bytes, limits: Limits) -> Decoded | Rejection:
    read: list[tuple[int, Samples]] = []
    with PageReader(data, limits) as reader:
        for page in pages:
            samples = reader.read(page)
            if isinstance(samples, Rejection):
                return samples
            read.append((page.index, samples))
    return _shown(read, limits)


def _shown(read: list[tuple[int, Samples]], limits: Limits) -> Decoded | Rejection:
    """Show pages of 8 bits as they are, and all deeper pages by one range."""
    deep = [samples.values for _, samples in read if samples.values.dtype != np.uint8]
    shown_deep = iter(stack_to_uint8(deep) if deep else ())
    frames = []
    for index, samples in read:
        pixels = samples.values if samples.values.dtype == np.uint8 else next(shown_deep)
        pixels = 255 - pixels if samples.is_inverted else pixels
        frames.append(Frame(index=index, pixels=gray_or_color(pixels)))
    chosen = select_frames(frames, limits)
    if isinstance(chosen, Rejection):
        return chosen
    return Decoded(format="tiff", frames=chosen, frame_count=len(read))
