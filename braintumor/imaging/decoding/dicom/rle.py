"""Check a frame in RLE (PS3.5 G) before it is decoded, and cut excess bytes off its segments."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

from braintumor.imaging.decoding.dicom.pixel_attributes import COLOR_SAMPLES, set_allocated_byte, set_samples
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason

_HEADER = struct.Struct("<16L")
"""Number of segments, then the offset of each (PS3.5 G.5)."""
_MOST_SEGMENTS = 15
_NO_OP = 128
_BYTE = 8


def fit_rle(frame: bytes, dataset: Any) -> bytes | Rejection:
    """Return the frame with segments that decode to exactly one byte per pixel, or a rejection.

    Some decoders refuse a segment that decodes to one row too many or ends in zeros. Others expand it without a limit.
    """
    pixels = dataset.Rows * dataset.Columns
    if len(frame) < _HEADER.size:
        return Rejection(RejectionReason.TRUNCATED, "the RLE data ends inside its header")
    count, *offsets = _HEADER.unpack_from(frame)
    if count in {1, COLOR_SAMPLES} and dataset.BitsStored <= _BYTE < dataset.BitsAllocated:
        set_allocated_byte(dataset)
    sample_bytes = dataset.BitsAllocated // _BYTE
    if count in {sample_bytes, COLOR_SAMPLES * sample_bytes} and count != sample_bytes * dataset.SamplesPerPixel:
        set_samples(dataset, count // sample_bytes)
    expected = dataset.SamplesPerPixel * sample_bytes
    if count != expected or count > _MOST_SEGMENTS:
        return Rejection(RejectionReason.CORRUPT, f"{count} RLE segments, {expected} expected")
    segments = []
    for start, end in pairwise([*offsets[:count], len(frame)]):
        is_placed = _HEADER.size <= start <= end <= len(frame)
        fitted = _fit_segment(frame[start:end], pixels, dataset.Columns) if is_placed else None
        if fitted is None:
            return Rejection(RejectionReason.CORRUPT, f"an RLE segment does not decode to {pixels:,} bytes")
        segments.append(fitted)
    if sum(map(len, segments)) == len(frame) - offsets[0]:
        return frame
    return _join(segments)


def _fit_segment(segment: bytes, pixels: int, excess: int) -> bytes | None:
    """Return the segment, cut to decode to exactly ``pixels`` bytes.

    Return ``None`` if the whole segment decodes to fewer bytes, or to more than ``pixels + excess`` bytes.
    """
    at, made, last, before = 0, 0, 0, 0
    while at < len(segment) and made < pixels:
        last, before = at, made
        at, made = _step(segment, at, made)
    if made < pixels or at > len(segment):
        return None
    rest, total = at, made
    if segment[rest:].strip(b"\0"):
        while rest < len(segment) and total <= pixels + excess:
            rest, total = _step(segment, rest, total)
    if total > pixels + excess:
        return None
    if made == pixels:  # the next segment begins at an even byte
        return segment if len(segment) - at <= 1 else segment[:at]
    return segment[:last] + _shorten(segment[last:at], pixels - before)


def _step(segment: bytes, at: int, made: int) -> tuple[int, int]:
    """Return the position after the run (PS3.5 G.3.1) at ``at``, and the number of bytes decoded up to that position.

    ``made`` is the number of bytes decoded before the run.
    """
    run = segment[at]
    if run < _NO_OP:  # run + 1 literal bytes
        return at + run + 2, made + run + 1
    if run > _NO_OP:  # the next byte, 257 - run times
        return at + 2, made + 257 - run
    return at + 1, made


def _shorten(run: bytes, count: int) -> bytes:
    """Return a run that decodes to only ``count`` bytes."""
    if run[0] < _NO_OP or count == 1:
        return bytes([count - 1]) + run[1 : 1 + count]
    return bytes([257 - count]) + run[1:2]


def _join(segments: list[bytes]) -> bytes:
    even = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = [_HEADER.size + sum(map(len, even[:index])) for index in range(len(even))]
    return _HEADER.pack(len(even), *offsets, *[0] * (_MOST_SEGMENTS - len(even))) + b"".join(even)
