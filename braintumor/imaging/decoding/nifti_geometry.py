"""Read from a NIfTI header how its axes run in the patient, and in which plane the slices were acquired."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from braintumor.imaging.decoding.pixel_aspect import SQUARE, usable_spacing

_NEVER = 100
"""Above nibabel's highest level of a fault: its checks repair, and none raises."""
_AXIAL = 2
_CLEARLY_LONGER = 1.5
"""Slices this much thicker than their pixels show their anatomy in the acquired plane only."""


class Geometry(NamedTuple):
    """How the voxels lie in the patient.

    Attributes:
        turned: what brings the voxels to axes to the right, front and head: (3, 2), as nibabel has it.
        shape: numbers of voxels along these axes.
        slice_axis: which of these axes the slices are numbered along: 0 sagittal, 1 coronal, 2 axial.
        spacing: width and height of a slice's pixel, in one unit. They are equal where the header gives none.
    """

    turned: NDArray[np.float64]
    shape: tuple[int, ...]
    slice_axis: int
    spacing: tuple[float, float]

    @property
    def plane(self) -> tuple[int, int]:
        """Width and height of a slice, in voxels."""
        across, up = (axis for axis in range(3) if axis != self.slice_axis)
        return self.shape[across], self.shape[up]


def repair(header: Any) -> None:
    """Correct what nibabel corrects when it loads a file: qfac, negative and missing spacings, unknown codes."""
    header["pixdim"] = np.nan_to_num(header["pixdim"], nan=1, posinf=1, neginf=1)
    header.check_fix(error_level=_NEVER)


def find_geometry(header: Any, shape: tuple[int, int, int]) -> Geometry | None:
    """Read the geometry of a repaired header. ``None`` where it states an orientation that cannot be used."""
    for affine in _stated(header):
        whole = _with_all_axes(affine, shape)
        turned = io_orientation(whole) if np.isfinite(whole).all() else np.full((3, 2), np.nan)
        if np.isfinite(turned).all():
            return _geometry(np.linalg.norm(whole[:3, :3], axis=0), turned, shape)
    return None


def _stated(header: Any) -> list[NDArray[np.float64]]:
    """The orientations that the header states, the better one first. Without any: nibabel's reading of the format."""
    stated = []
    sform = np.asarray(header.get_sform(), np.float64)
    if header["sform_code"] > 0 and sform[:3, :3].any():
        stated.append(sform)
    if header["qform_code"] > 0:
        stated.append(_qform(header))
    return stated or [np.asarray(header.get_base_affine(), np.float64)]


def _qform(header: Any) -> NDArray[np.float64]:
    """The rotation of a header whose quaternion may be a little too long, as rounding makes it."""
    parts = np.array([header[f"quatern_{name}"] for name in "bcd"], np.float64)
    rounded = header.copy()
    for name, part in zip("bcd", parts / max(1.0, float(np.linalg.norm(parts))), strict=True):
        rounded[f"quatern_{name}"] = part
    return np.asarray(rounded.get_qform(), np.float64)


def _with_all_axes(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """The affine of a single slice, with a third axis across it where the header leaves that empty."""
    empty = np.flatnonzero(~affine[:3, :3].any(axis=0))
    if len(empty) != 1 or shape[empty[0]] != 1:
        return affine
    one, other = (affine[:3, axis] for axis in range(3) if axis != empty[0])
    across = np.cross(one, other)
    whole = affine.copy()
    whole[:3, empty[0]] = across / max(float(np.linalg.norm(across)), np.finfo(float).tiny)
    return whole


def _geometry(lengths: NDArray[np.float64], turned: NDArray[np.float64], shape: tuple[int, int, int]) -> Geometry:
    place = [int(np.flatnonzero(turned[:, 0] == axis)[0]) for axis in range(3)]  # where in the file an axis lies
    spacing, ordered = [float(lengths[at]) for at in place], tuple(shape[at] for at in place)
    slice_axis = _slice_axis(spacing, ordered)
    width, height = (spacing[axis] for axis in range(3) if axis != slice_axis)
    return Geometry(turned, ordered, slice_axis, usable_spacing(width, height) or SQUARE)


def _slice_axis(spacing: list[float], shape: tuple[int, ...]) -> int:
    """The axis of a single slice, else the one with clearly the longest voxels, else the axial one."""
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    *_, second, longest = sorted(spacing)
    return spacing.index(longest) if longest >= _CLEARLY_LONGER * second else _AXIAL
