"""Read the orientation of a NIfTI volume in the patient, and the plane of its slices, from the header."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from braintumor.imaging.decoding.pixel_aspect import SQUARE, usable_spacing

_NEVER = 100
"""Error level above nibabel's highest fault level, so that nibabel's checks repair and never raise."""
_AXIAL = 2
_CLEARLY_LONGER = 1.5
"""Least ratio of the longest voxel side to the second longest at which slices are perpendicular to the longest side.

Such thick slices are shown as the scanner acquired them.
"""


class Geometry(NamedTuple):
    """The orientation of the voxels in the patient.

    Attributes:
        turned: nibabel's transform (3, 2) to axes that point right, to the front and to the head.
        shape: numbers of voxels along these three axes, in this order.
        slice_axis: axis along which the slices are numbered: 0 sagittal, 1 coronal, 2 axial.
        spacing: width and height of a slice's pixel, in one unit. Both are 1 if the header states no usable ones.
    """

    turned: NDArray[np.float64]
    shape: tuple[int, ...]
    slice_axis: int
    spacing: tuple[float, float]

    @property
    def plane(self) -> tuple[int, int]:
        """Return width and height of a slice in voxels."""
        across, up = (axis for axis in range(3) if axis != self.slice_axis)
        return self.shape[across], self.shape[up]


def repair(header: Any) -> None:
    """Correct invalid values of a NIfTI header in place, as nibabel does when it reads a file.

    These values are qfac, missing and negative spacings, and unknown codes.
    """
    header["pixdim"] = np.nan_to_num(header["pixdim"], nan=1, posinf=1, neginf=1)
    header.check_fix(error_level=_NEVER)


def find_geometry(header: Any, shape: tuple[int, int, int]) -> Geometry | None:
    """Return the geometry of a repaired header, or ``None`` if its stated orientation is unusable."""
    for affine in _stated(header):
        whole = _with_all_axes(affine, shape)
        turned = io_orientation(whole) if np.isfinite(whole).all() else np.full((3, 2), np.nan)
        if np.isfinite(turned).all():
            return _geometry(np.linalg.norm(whole[:3, :3], axis=0), turned, shape)
    return None


def _stated(header: Any) -> list[NDArray[np.float64]]:
    """Return the affines (4, 4) that the header states, sform before qform, else nibabel's default affine."""
    stated = []
    sform = np.asarray(header.get_sform(), np.float64)
    if header["sform_code"] > 0 and sform[:3, :3].any():
        stated.append(sform)
    if header["qform_code"] > 0:
        stated.append(_qform(header))
    return stated or [np.asarray(header.get_base_affine(), np.float64)]


def _qform(header: Any) -> NDArray[np.float64]:
    """Return the qform affine (4, 4), also if rounding made the header's quaternion slightly too long."""
    parts = np.array([header[f"quatern_{name}"] for name in "bcd"], np.float64)
    rounded = header.copy()
    for name, part in zip("bcd", parts / max(1.0, float(np.linalg.norm(parts))), strict=True):
        rounded[f"quatern_{name}"] = part
    return np.asarray(rounded.get_qform(), np.float64)


def _with_all_axes(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the affine (4, 4), with a perpendicular third axis if the header of a single slice omits it."""
    empty = np.flatnonzero(~affine[:3, :3].any(axis=0))
    if len(empty) != 1 or shape[empty[0]] != 1:
        return affine
    one, other = (affine[:3, axis] for axis in range(3) if axis != empty[0])
    across = np.cross(one, other)
    whole = affine.copy()
    whole[:3, empty[0]] = across / max(float(np.linalg.norm(across)), np.finfo(float).tiny)
    return whole


def _geometry(lengths: NDArray[np.float64], turned: NDArray[np.float64], shape: tuple[int, int, int]) -> Geometry:
    place = [
        int(np.flatnonzero(turned[:, 0] == axis)[0]) for axis in range(3)
    ]  # the file's axis for each of the patient's axes
    spacing, ordered = [float(lengths[at]) for at in place], tuple(shape[at] for at in place)
    slice_axis = _slice_axis(spacing, ordered)
    width, height = (spacing[axis] for axis in range(3) if axis != slice_axis)
    return Geometry(turned, ordered, slice_axis, usable_spacing(width, height) or SQUARE)


def _slice_axis(spacing: list[float], shape: tuple[int, ...]) -> int:
    """Return the only axis with one voxel, else the axis with clearly the longest voxels, else the axial axis."""
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    *_, second, longest = sorted(spacing)
    return spacing.index(longest) if longest >= _CLEARLY_LONGER * second else _AXIAL
