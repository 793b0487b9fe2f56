"""Decode single-file NIfTI-1 and NIfTI-2, plain or gzipped, with nibabel. Importing this module imports nibabel.

The frames are the slices of the first volume, in radiological view. If voxels are clearly longer along one axis, the
slices are perpendicular to it. All other volumes give axial slices. Axial slices are numbered from the feet up, coronal
slices from back to front, sagittal slices from left to right. If the header states no orientation, the first axis
points to the patient's left (nibabel's default). Header texts (``descrip``, ``aux_file``, ``intent_name``) are never
read.
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
"""Largest number of gzip members in a file. Block-compressed files have a member every 64 KiB.

The largest volume allowed then has 2,048 members.
"""
_PIECE = 16 * 1024
"""Number of compressed bytes that are decompressed at once."""
_HEADERS: dict[bytes, type[Any]] = {b"n+1\0": Nifti1Header, b"n+2\0": Nifti2Header}
_HEADER_BYTES = 540
"""Bytes of a NIfTI-2 header. A NIfTI-1 header has 348."""
_LABEL_INTENTS = {1002, 1003}
"""NIFTI_INTENT_LABEL and NIFTI_INTENT_NEURONAME."""
_STATISTICAL_INTENTS = range(2, 25)
"""NIFTI_INTENT_CORREL to NIFTI_INTENT_LOG10PVAL: test statistics, distributions and p-values."""
_READ_KINDS = "iuf"
"""numpy's kinds of data types for voxels with one real number each, not with colors or complex numbers."""
_SLACK = 64 * 1024
"""Largest number of bytes to decompress after the volume, to reach the checksum of a file with one volume."""
_SAMPLED = 2_000_000
"""Largest sample of voxels that determines the percentiles of a volume: every n-th voxel along each axis."""


class _TooManyMembersError(Exception):
    """A file has more gzip members than allowed."""


def decode_nifti(data: bytes, limits: Limits) -> Decoded | Rejection | None:
    """Return the slices of a file's first volume, or a rejection. Return ``None`` for a gzip file that is not NIfTI.

    The function checks all sizes before it decompresses the volume. It decompresses at most 64 KiB after the volume, to
    reach the checksum.
    """
    try:
        return _decode_file(data, limits)
    except _TooManyMembersError:
        return Rejection(RejectionReason.CORRUPT, f"more than {_MOST_MEMBERS:,} gzip members in one file")


def _decode_file(data: bytes, limits: Limits) -> Decoded | Rejection | None:
    head = _start(data, _HEADER_BYTES)
    if sniff(head) != "nifti":
        return None
    magic = head[4:8] if head[4:8] in {b"n+2\0", b"ni2\0"} else head[344:348]
    if magic not in _HEADERS:
        return Rejection(RejectionReason.NO_PIXELS, "the header's pixels are in another file")
    kind = _HEADERS[magic]
    if len(head) < kind.sizeof_hdr:
        return Rejection(RejectionReason.TRUNCATED, "the file ends inside its header")
    header = kind(head[: kind.sizeof_hdr], check=False)
    repair(header)
    return _check_kind(header) or _check_extent(header, limits) or _decode(header, data, limits)


def _start(data: bytes, length: int) -> bytes:
    """Return the first ``length`` bytes of a file, or all bytes if there are fewer. A gzipped file is decompressed.

    Raises ``zlib.error`` if the data is damaged, and ``_TooManyMembersError`` if there are too many gzip members.
    """
    if data[:2] != _GZIP:
        return data[:length]
    parts, missing, at = [], length, 0
    for _ in range(_MOST_MEMBERS):  # a file may consist of several gzip members
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        while missing > 0 and at < len(data) and not inflater.eof:
            piece = data[at : at + _PIECE]  # small pieces, because zlib copies the unused rest
            parts.append(inflater.decompress(piece, missing))
            missing -= len(parts[-1])
            at += len(piece) - len(inflater.unused_data) - len(inflater.unconsumed_tail)
        if missing <= 0 or data[at : at + 2] != _GZIP:
            return b"".join(parts)
    raise _TooManyMembersError


def _check_kind(header: Any) -> Rejection | None:
    count, *sides = (int(side) for side in header["dim"])
    sides = sides[:count]
    if not 2 <= count <= 7 or min(sides) < 1:  # noqa: PLR2004 - what the format allows
        return Rejection(RejectionReason.CORRUPT, "the header's dimensions are invalid")
    intent = int(header["intent_code"])
    if intent in _LABEL_INTENTS:
        return Rejection(RejectionReason.NOT_MR, "the header's intent states that the voxels are labels")
    if intent in _STATISTICAL_INTENTS:
        detail = f"the header's intent, code {intent}, states that the voxels are statistics such as t or p values"
        return Rejection(RejectionReason.NOT_MR, detail)
    if prod(sides[4:]) > 1:
        detail = "more than four dimensions: vectors or several series, not a volume"
        return Rejection(RejectionReason.UNSUPPORTED_FORMAT, detail)
    try:
        dtype = header.get_data_dtype()
    except Exception:  # nibabel's HeaderDataError quotes the code
        dtype = np.dtype(np.void)
    if dtype.kind not in _READ_KINDS or dtype.itemsize > 8:  # noqa: PLR2004 - bytes
        return Rejection(RejectionReason.UNSUPPORTED_FORMAT, "voxels that are not one number each")
    return None


def _check_extent(header: Any, limits: Limits) -> Rejection | None:
    shape, offset = _shape(header), _offset(header)
    if prod(shape) > limits.max_pixels:
        detail = f"{' x '.join(map(str, shape))} voxels; the limit is {limits.max_pixels:,} in all"
        return Rejection(RejectionReason.TOO_MANY_PIXELS, detail)
    if offset < 0:
        return Rejection(RejectionReason.CORRUPT, "the header does not state where the voxels begin")
    needed = offset + prod(shape) * header.get_data_dtype().itemsize
    if needed > limits.max_volume_bytes:
        detail = f"the first volume ends at byte {needed:,}; the limit is {limits.max_volume_bytes:,}"
        return Rejection(RejectionReason.TOO_MANY_BYTES, detail)
    return None


def _shape(header: Any) -> tuple[int, int, int]:
    """Return the shape (I, J, K) of the first volume."""
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
        return Rejection(RejectionReason.CORRUPT, "the header's orientation is invalid")
    width, height = geometry.plane
    depth = geometry.shape[geometry.slice_axis]
    refused = check_size(width, height, limits, frames=depth)
    refused = refused or check_size(*square_size(width, height, geometry.spacing), limits, frames=depth)
    if refused is not None:
        return refused
    needed = offset + prod(shape) * dtype.itemsize
    content = _start(data, needed + _SLACK)
    if len(content) < needed:
        return Rejection(RejectionReason.TRUNCATED, f"{len(content):,} bytes, {needed:,} expected by the header")
    stored = np.frombuffer(content, dtype, count=prod(shape), offset=offset).reshape(shape, order="F")
    if is_label_map(stored):
        return Rejection(RejectionReason.NOT_MR, "the voxels are a mask or labels, not an image")
    volume = apply_orientation(stored, geometry.turned)  # a view: x to the right, y to the front, z to the head
    frames = select_frames(_slices(np.moveaxis(volume, geometry.slice_axis, -1), header, geometry.spacing), limits)
    if isinstance(frames, Rejection):
        return frames
    return Decoded(format="nifti", frames=frames, frame_count=depth)


def _slices(volume: NDArray[Any], header: Any, spacing: tuple[float, float]) -> Iterator[Frame]:
    """Yield the slices of a volume along its last axis, scaled by the percentiles of the whole volume.

    The slope and intercept of ``header`` apply. ``spacing`` is width and height of a slice's pixel, in one unit.
    """
    slope, intercept = _scaling(header)
    step = int(np.ceil(np.cbrt(volume.size / _SAMPLED)))
    sample = volume[::step, ::step, ::step]
    finite = sample[np.isfinite(sample)]
    low, high = displayed_range(finite) if finite.size else (0.0, 0.0)
    shown = sorted((low * slope + intercept, high * slope + intercept))
    for index in range(volume.shape[2]):
        # top and left of the image: front and right (axial), head and right (coronal), head and front (sagittal)
        plane = volume[::-1, ::-1, index].T.astype(np.float64) * slope + intercept
        yield Frame(index=index, pixels=with_square_pixels(range_to_uint8(plane, *shown), spacing))


def _scaling(header: Any) -> tuple[float, float]:
    """Return ``scl_slope`` and ``scl_inter``. A slope of 0 or NaN means that there is no scaling."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, intercept if np.isfinite(intercept) else 0.0
