"""NIfTI-1 and NIfTI-2 in one file, plain or gzipped, through nibabel. Importing this module imports nibabel.

The first volume's slices are the frames, seen as radiologists see them. Voxels that are clearly longer along one axis
say that the slices were acquired across it: axial, coronal or sagittal ones. All other volumes are shown as axial
slices. Axial slices are numbered from the feet up, coronal ones from back to front, sagittal ones from left to right.
Where the file states no orientation, nibabel's reading of the format holds: the first axis runs to the patient's left.
Header texts (``descrip``, ``aux_file``, ``intent_name``) are never read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import apply_orientation
from numpy.typing import NDArray

from braintumor.imaging.decoding.formats import sniff
from braintumor.imaging.decoding.frame_selection import select_frames
from braintumor.imaging.decoding.gray_levels import displayed_range, range_to_uint8
from braintumor.imaging.decoding.label_map import is_label_map
from braintumor.imaging.decoding.nifti_geometry import find_geometry, repair
from braintumor.imaging.decoding.pixel_aspect import square_size, with_square_pixels
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Frame, Limits, check_size

_GZIP = b"\x1f\x8b"
_MOST_MEMBERS = 4096
"""Block-compressed files have a member every 64 KiB, which is 2,048 for the largest volume. Each costs time."""
_PIECE = 16 * 1024
"""Compressed bytes that are inflated at once."""
_HEADERS: dict[bytes, type[Any]] = {b"n+1\0": Nifti1Header, b"n+2\0": Nifti2Header}
_HEADER_BYTES = 540
"""NIfTI-2's; NIfTI-1's are 348."""
_LABEL_INTENTS = {1002, 1005}
"""NIFTI_INTENT_LABEL and NIFTI_INTENT_NEURONAME."""
_READ_KINDS = "iuf"
"""numpy's kinds of voxels that are one number each: no color, no complex numbers."""
_SLACK = 64 * 1024
"""Bytes inflated behind the volume, so that the checksum of a file with one volume is reached."""
_SAMPLED = 2_000_000
"""Voxels that the percentiles of a volume are taken from, at most: every n-th along each axis."""


class _TooManyMembersError(Exception):
    """Says that a file has more gzip members than allowed."""


def decode_nifti(data: bytes, limits: Limits) -> Decoded | Rejection | None:
    """The slices of a file's first volume; ``None`` where it is gzip and no NIfTI.

    Sizes are checked by the header before anything more than it is inflated; then no more than the first volume is.
    """
    try:
        return _decode_file(data, limits)
    except _TooManyMembersError:
        detail = f"more than {_MOST_MEMBERS:,} gzip members in one file"
        return Rejection(reason=RejectionReason.CORRUPT, detail=detail)


def _decode_file(data: bytes, limits: Limits) -> Decoded | Rejection | None:
    head = _start(data, _HEADER_BYTES)
    if sniff(head) != "nifti":
        return None
    magic = head[4:8] if head[4:8] in {b"n+2\0", b"ni2\0"} else head[344:348]
    if magic not in _HEADERS:
        return Rejection(reason=RejectionReason.NO_PIXELS, detail="the header's pixels are in another file")
    kind = _HEADERS[magic]
    if len(head) < kind.sizeof_hdr:
        return Rejection(reason=RejectionReason.TRUNCATED, detail="the file ends inside its header")
    header = kind(head[: kind.sizeof_hdr], check=False)
    repair(header)
    return _refused(header, limits) or _decode(header, data, limits)


def _start(data: bytes, length: int) -> bytes:
    """The first bytes, inflated where the file is gzipped: ``length`` of them, or as many as there are.

    Raises:
        zlib.error: what is inflated is no gzip, or fails its checksum.
        _TooManyMembersError: the file has more gzip members than allowed before these bytes.
    """
    if data[:2] != _GZIP:
        return data[:length]
    parts, missing, at = [], length, 0
    for _ in range(_MOST_MEMBERS):  # a file may be several gzip members, one after the other
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        while missing > 0 and at < len(data) and not inflater.eof:
            piece = data[at : at + _PIECE]  # a small one, because zlib copies what it leaves over
            parts.append(inflater.decompress(piece, missing))
            missing -= len(parts[-1])
            at += len(piece) - len(inflater.unused_data) - len(inflater.unconsumed_tail)
        if missing <= 0 or data[at : at + 2] != _GZIP:
            return b"".join(parts)
    raise _TooManyMembersError


def _refused(header: Any, limits: Limits) -> Rejection | None:
    """What the header alone forbids."""
    return _check_kind(header) or _check_extent(header, limits)


def _check_kind(header: Any) -> Rejection | None:
    count, *sides = (int(side) for side in header["dim"])
    sides = sides[:count]
    if not 2 <= count <= 7 or min(sides) < 1:  # noqa: PLR2004 - what the format allows
        return Rejection(reason=RejectionReason.CORRUPT, detail="the header's dimensions are none")
    if int(header["intent_code"]) in _LABEL_INTENTS:
        return Rejection(reason=RejectionReason.NOT_MR, detail="the header's intent says that the voxels are labels")
    if prod(sides[4:]) > 1:
        detail = "more than four dimensions: vectors or several series, no volume"
        return Rejection(reason=RejectionReason.UNSUPPORTED_FORMAT, detail=detail)
    try:
        dtype = header.get_data_dtype()
    except Exception:  # nibabel's HeaderDataError quotes the code
        dtype = np.dtype(np.void)
    if dtype.kind not in _READ_KINDS or dtype.itemsize > 8:  # noqa: PLR2004 - bytes
        return Rejection(reason=RejectionReason.UNSUPPORTED_FORMAT, detail="voxels that are not one number each")
    return None


def _check_extent(header: Any, limits: Limits) -> Rejection | None:
    shape, offset = _shape(header), _offset(header)
    if prod(shape) > limits.max_pixels:
        detail = f"{' x '.join(map(str, shape))} voxels; the limit is {limits.max_pixels:,} in all"
        return Rejection(reason=RejectionReason.TOO_MANY_PIXELS, detail=detail)
    if offset < 0:
        return Rejection(reason=RejectionReason.CORRUPT, detail="the header does not say where the voxels begin")
    needed = offset + prod(shape) * header.get_data_dtype().itemsize
    if needed > limits.max_volume_bytes:
        detail = f"the first volume ends at byte {needed:,}; the limit is {limits.max_volume_bytes:,}"
        return Rejection(reason=RejectionReason.TOO_MANY_BYTES, detail=detail)
    return None


def _shape(header: Any) -> tuple[int, int, int]:
    """Of the first volume: (I, J, K)."""
    sides = [int(side) for side in header["dim"][1:4]]
    given = int(header["dim"][0])
    return sides[0], sides[1], sides[2] if given > 2 else 1  # noqa: PLR2004


def _offset(header: Any) -> int:
    stated = float(header["vox_offset"])
    return max(int(stated), int(header.single_vox_offset)) if np.isfinite(stated) else -1


def _decode(header: Any, data: bytes, limits: Limits) -> Decoded | Rejection:
    shape, dtype, offset = _shape(header), header.get_data_dtype(), _offset(header)
    geometry = find_geometry(header, shape)
    if geometry is None:
        return Rejection(reason=RejectionReason.CORRUPT, detail="the header's orientation is none")
    width, height = geometry.plane
    depth = geometry.shape[geometry.slice_axis]
    refused = check_size(width, height, limits, frames=depth)
    refused = refused or check_size(*square_size(width, height, geometry.spacing), limits, frames=depth)
    if refused is not None:
        return refused
    needed = offset + prod(shape) * dtype.itemsize
    content = _start(data, needed + _SLACK)
    if len(content) < needed:
        detail = f"{len(content):,} bytes, {needed:,} expected by the header"
        return Rejection(reason=RejectionReason.TRUNCATED, detail=detail)
    stored = np.frombuffer(content, dtype, count=prod(shape), offset=offset).reshape(shape, order="F")
    if is_label_map(stored):
        return Rejection(reason=RejectionReason.NOT_MR, detail="the voxels are a mask or labels: no picture")
    volume = apply_orientation(stored, geometry.turned)  # a view: x to the right, y to the front, z to the head
    frames = select_frames(_slices(np.moveaxis(volume, geometry.slice_axis, -1), header, geometry.spacing), limits)
    if isinstance(frames, Rejection):
        return frames
    return Decoded(format="nifti", frames=frames, frame_count=depth)


def _slices(volume: NDArray[Any], header: Any, spacing: tuple[float, float]) -> Iterator[Frame]:
    """Slices along the last axis, shown by the percentiles of the whole volume after the header's scaling."""
    slope, intercept = _scaling(header)
    step = int(np.ceil(np.cbrt(volume.size / _SAMPLED)))
    sample = volume[::step, ::step, ::step]
    finite = sample[np.isfinite(sample)]
    low, high = displayed_range(finite) if finite.size else (0.0, 0.0)
    shown = sorted((low * slope + intercept, high * slope + intercept))
    for index in range(volume.shape[2]):
        # axial: front on top, right on the left; coronal: head, right; sagittal: head, front
        plane = volume[::-1, ::-1, index].T.astype(np.float64) * slope + intercept
        yield Frame(index=index, pixels=with_square_pixels(range_to_uint8(plane, *shown), spacing))


def _scaling(header: Any) -> tuple[float, float]:
    """``scl_slope`` and ``scl_inter``; a slope of 0, or none, means that there is no scaling."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, intercept if np.isfinite(intercept) else 0.0
