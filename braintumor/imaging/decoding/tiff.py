"""Decode TIFF and BigTIFF. Every page is a frame, except thumbnails and masks of other pages."""

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
"""TIFF tag of MetaMorph. Its number of values is the number of images that belong to one directory."""


def decode_tiff(data: bytes, limits: Limits) -> Decoded | Rejection:
    """Return one frame per page, or a rejection. All sizes are checked before any pixel is decoded."""
    try:
        with TiffFile(io.BytesIO(data)) as file:
            pages = _pages(file, data, limits)
            if isinstance(pages, Rejection):
                return pages
            return _planes(file, pages, data, limits) or _decode(pages, data, limits)
    except TiffFileError:
        return _reject_unreadable(data)


def _reject_unreadable(data: bytes) -> Rejection:
    """Return a rejection for a file without a readable page. Its first directory is beyond the end, or damaged."""
    place = data[8:16] if b"+" in data[2:4] else data[4:8]
    directory = int.from_bytes(place, "little" if data[:2] == b"II" else "big")
    if directory + 2 > len(data):
        return Rejection(RejectionReason.TRUNCATED, "the file ends before its directory of pages")
    return Rejection(RejectionReason.CORRUPT, "the tiff header does not decode")


def _pages(file: TiffFile, data: bytes, limits: Limits) -> list[Any] | Rejection:
    """Return tifffile's descriptions of the pages to decode, or a rejection."""
    pages: list[Any] = []
    offsets: set[int] = set()
    for number in count():
        try:
            page: Any = file.pages[number]
        except IndexError:
            break
        if page.offset in offsets:  # the chain returns to an earlier page
            return pages
        offsets.add(page.offset)
        if number >= limits.max_frames:
            return Rejection(RejectionReason.TOO_MANY_FRAMES, f"more than {limits.max_frames:,} pages")
        if page.subfiletype & (_REDUCED | _MASK):
            continue
        pages.append(page)
        refused = _check_page(page, pages, len(data), limits)
        if refused is not None:
            return refused
    if not offsets:
        return _reject_unreadable(data)
    if _is_chain_cut(file, data, offsets):
        return Rejection(RejectionReason.TRUNCATED, f"the file ends before its page {number + 1}")
    return pages or Rejection(RejectionReason.TOO_SMALL, "every page is marked as a thumbnail or as a mask")


def _check_page(page: Any, pages: list[Any], length: int, limits: Limits) -> Rejection | None:
    """Return a rejection if the header of ``page`` exceeds the limits or does not match the file.

    ``pages`` are the pages so far, ``page`` is the last of them, and ``length`` is the size of the file in bytes.
    """
    if not all(
        isinstance(side, int) and side > 0 for side in (page.imagewidth, page.imagelength)
    ):  # a text in a damaged file
        return Rejection(RejectionReason.CORRUPT, "the tiff page states no size")
    refused = check_size(page.imagewidth, page.imagelength, limits)
    if refused is not None:
        return refused
    if sum(each.imagewidth * each.imagelength for each in pages) > limits.max_pixels:
        return Rejection(RejectionReason.TOO_MANY_PIXELS, f"pages with more than {limits.max_pixels:,} pixels in all")
    if page.imagedepth > 1:
        return Rejection(RejectionReason.UNSUPPORTED_FORMAT, "tiff with a volume in one page")
    if any(at + size > length for at, size in zip(page.dataoffsets, page.databytecounts, strict=False)):
        return Rejection(RejectionReason.TRUNCATED, f"the file ends before its page {page.index + 1} does")
    return None


def _is_chain_cut(file: TiffFile, data: bytes, offsets: set[int]) -> bool:
    """Return whether the last directory points to a further directory that the file does not contain."""
    place, size = file.pages.next_page_offset, file.tiff.offsetsize
    if place is None:
        return False
    following = int.from_bytes(data[place : place + size], "little" if file.byteorder == "<" else "big")
    return place + size > len(data) or (following != 0 and following not in offsets)


def _planes(file: TiffFile, pages: list[Any], data: bytes, limits: Limits) -> Decoded | Rejection | None:
    """Return the frames of a stack with one directory for all images, or a rejection, or ``None`` for any other file.

    ImageJ, tifffile and MetaMorph write such stacks.
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
        return Rejection(RejectionReason.TRUNCATED, f"the file states {stated:,} images and contains {stored:,}")
    dtype = page.dtype.newbyteorder(file.byteorder)
    read = []
    for index in range(stated):
        values = np.frombuffer(data, dtype, count=prod(page.shape), offset=start + index * page.nbytes)
        samples = split_samples(page, values.reshape(page.shape).astype(page.dtype))
        if isinstance(samples, Rejection):
            return samples
        read.append((index, samples))
    return _to_frames(read, limits)


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
    return _to_frames(read, limits)


def _to_frames(read: list[tuple[int, Samples]], limits: Limits) -> Decoded | Rejection:
    """Return the frames to score, or a rejection. One common range converts all pages of more than 8 bits."""
    deep = [samples.values for _, samples in read if samples.values.dtype != np.uint8]
    converted = stack_to_uint8(deep) if deep else []
    frames = []
    for index, samples in read:
        pixels = samples.values if samples.values.dtype == np.uint8 else converted.pop(0)
        pixels = 255 - pixels if samples.is_inverted else pixels
        frames.append(Frame(index=index, pixels=gray_or_color(pixels)))
    selected = select_frames(frames, limits)
    if isinstance(selected, Rejection):
        return selected
    return Decoded(format="tiff", frames=selected, frame_count=len(read))
