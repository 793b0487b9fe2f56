"""Test NIfTI headers that nibabel repairs, the plane of slices, masks, and gzip files of many members."""

from __future__ import annotations

import gzip
import struct
import time
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.phantom.volume import as_nifti, draw_volume
from braintumor.labels import TumorClass
from tests.decode_results import decoded, rejected

VOLUME = draw_volume(TumorClass.MENINGIOMA, seed=9, slices=12, size=64)
VOXELS = VOLUME[:, ::-1, ::-1].transpose(2, 1, 0)
"""The voxels along axes to the right, front and head."""
SLOPED = np.add.outer(np.add.outer(np.arange(40) * 3, np.arange(50) * 2), np.arange(60)).astype(np.int16)
"""A volume that gets brighter to the right, to the front and to the head, at different rates."""
PIXDIM, QFORM_CODE, SFORM_CODE, QUATERN, SROW = 76, 252, 254, 256, 280
"""Offsets in the header of NIfTI-1."""


def nifti(voxels: NDArray[np.generic], affine: NDArray[np.float64] | None = None, *, form: str = "qform") -> bytes:
    """Return an uncompressed file whose orientation is in its qform, its sform, or absent (``none``)."""
    affine = np.eye(4) if affine is None else affine
    image = nibabel.Nifti1Image(voxels, None if form == "none" else affine, dtype=voxels.dtype)
    if form != "none":
        image.header.set_qform(affine, code=int(form == "qform"))
        image.header.set_sform(affine if form == "sform" else None, code=int(form == "sform"))
    return bytes(image.to_bytes())


def patched(data: bytes, *changes: tuple[int, str, tuple[float, ...]]) -> bytes:
    changed = bytearray(data)
    for place, form, values in changes:
        struct.pack_into(form, changed, place, *values)
    return bytes(changed)


class TestRepairs:
    EXPECTED = decoded(as_nifti(VOLUME)).pixel_sha256
    QFORM = nifti(VOXELS)
    BOTH = patched(nifti(VOXELS), (SFORM_CODE, "<h", (1,)))  # the sform is all zeros

    @pytest.mark.parametrize(
        "data",
        [
            patched(QFORM, (PIXDIM, "<f", (0,))),
            patched(QFORM, (PIXDIM, "<f", (float("nan"),))),
            patched(QFORM, (PIXDIM + 8, "<f", (-1,))),
            patched(QFORM, (PIXDIM + 4, "<3f", (-1, -1, -1))),
            patched(QFORM, (PIXDIM + 12, "<f", (0,))),
            patched(QFORM, (PIXDIM + 12, "<f", (float("inf"),))),
            patched(QFORM, (108, "<f", (0,))),
            patched(QFORM, (72, "<h", (99,))),
            BOTH,
            patched(BOTH, (SROW, "<12f", (float("nan"),) * 12)),
            patched(BOTH, (SROW, "<12f", (1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0))),
            patched(BOTH, (SFORM_CODE, "<h", (-7,))),
        ],
        ids=[
            "qfac 0", "qfac is no number", "one negative spacing", "negative spacings", "no spacing",
            "infinite spacing", "no offset", "bits a voxel", "sform of zeros", "sform of no numbers",
            "sform of two axes", "unknown sform code",
        ],
    )  # fmt: skip
    def test_a_usual_fault_of_a_header_changes_nothing(self, data: bytes) -> None:
        assert decoded(data).pixel_sha256 == self.EXPECTED

    def test_big_endian_headers_are_repaired_as_well(self) -> None:
        header = nibabel.Nifti1Header(endianness=">")
        image = nibabel.Nifti1Image(VOXELS, np.eye(4), header, dtype=np.uint8)
        image.header.set_sform(None, 0)
        image.header.set_qform(np.eye(4), 1)
        data = patched(bytes(image.to_bytes()), (PIXDIM, ">2f", (0, -1)))
        assert decoded(data).pixel_sha256 == self.EXPECTED

    def test_a_quaternion_a_little_too_long_is_scaled(self) -> None:
        turned = np.diag([-1.0, -1.0, 1.0, 1.0])  # half a turn: the quaternion is (0, 0, 1)
        data = patched(nifti(VOXELS[::-1, ::-1], turned), (QUATERN + 8, "<f", (1.01,)))
        assert decoded(data).pixel_sha256 == self.EXPECTED

    def test_where_both_are_usable_the_sform_holds(self) -> None:
        mirrored = patched(self.BOTH, (SROW, "<12f", (-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)))
        np.testing.assert_array_equal(decoded(mirrored).frames[3].pixels, decoded(self.QFORM).frames[3].pixels[:, ::-1])

    @pytest.mark.parametrize("axes", [3, 2])
    def test_one_slice_without_orientation_is_read(self, axes: int) -> None:
        middle = VOXELS[..., 6]
        data = nifti(middle[..., np.newaxis] if axes == 3 else middle, form="none")
        result = decoded(patched(data, (PIXDIM + 12, "<f", (0,))))
        (stated,) = decoded(nifti(VOXELS[..., 6:7])).frames  # first axis to the right, and to the left if unstated
        np.testing.assert_array_equal(result.frames[0].pixels, stated.pixels[:, ::-1])

    def test_one_slice_whose_sform_has_no_third_axis_is_read(self) -> None:
        data = nifti(VOXELS[..., 6:7], np.eye(4), form="sform")
        flat = patched(data, (SROW, "<12f", (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)))
        assert decoded(flat).pixel_sha256 == decoded(data).pixel_sha256

    def test_an_orientation_that_cannot_be_used_is_corrupt(self) -> None:
        data = patched(self.QFORM, (QUATERN, "<3f", (float("nan"),) * 3))
        assert rejected(data).reason is RejectionReason.CORRUPT


class TestPlane:
    @pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "AIL", "SRP"])
    @pytest.mark.parametrize(
        ("slice_axis", "top_left", "top_right", "bottom_left"),
        [
            (0, (20, 49, 59), (20, 0, 59), (20, 49, 0)),  # sagittal: the front on the left, the head on top
            (1, (39, 20, 59), (0, 20, 59), (39, 20, 0)),  # coronal: the right on the left, the head on top
            (2, (39, 49, 20), (0, 49, 20), (39, 0, 20)),  # axial: the right on the left, the front on top
        ],
    )
    def test_thick_slices_are_shown_in_their_plane(
        self,
        slice_axis: int,
        top_left: tuple[int, ...],
        top_right: tuple[int, ...],
        bottom_left: tuple[int, ...],
        axes: str,
    ) -> None:
        spacing = np.ones(4)
        spacing[slice_axis] = 6
        image = nibabel.Nifti1Image(SLOPED, np.diag(spacing))
        wanted = nibabel.orientations.axcodes2ornt(tuple(axes))
        turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted)
        result = decoded(bytes(image.as_reoriented(turn).to_bytes()))
        assert result.frame_count == SLOPED.shape[slice_axis]
        shown = next(each.pixels for each in result.frames if each.index == 20).astype(int)
        low, high = np.percentile(SLOPED, (0.5, 99.5))
        for corner, place in ((shown[0, 0], top_left), (shown[0, -1], top_right), (shown[-1, 0], bottom_left)):
            assert corner == pytest.approx(np.clip((SLOPED[place] - low) / (high - low), 0, 1) * 255, abs=1)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_few_thick_slices_are_not_too_small(self, axis: int) -> None:
        spacing, thin = np.ones(4), [slice(None)] * 3
        spacing[axis], thin[axis] = 6, slice(10, 30)
        assert decoded(nifti(SLOPED[tuple(thin)], np.diag(spacing))).frame_count == 20

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_single_slice_of_any_spacing_is_shown_in_its_plane(self, axis: int) -> None:
        single = np.take(SLOPED, [20], axis)
        (frame,) = decoded(nifti(single)).frames
        assert frame.pixels.shape == tuple(side for side in single.shape[::-1] if side > 1)

    @pytest.mark.parametrize("spacing", [(1, 1, 1), (1.2, 0.94, 0.94), (1, 1.2, 1), (3, 3, 3)])
    def test_nearly_cubic_voxels_are_shown_as_axial_slices(self, spacing: tuple[float, ...]) -> None:
        assert decoded(nifti(SLOPED, np.diag([*spacing, 1.0]))).frame_count == SLOPED.shape[2]

    def test_pixels_of_a_coronal_slice_are_made_square(self) -> None:
        (frame, *_) = decoded(nifti(SLOPED, np.diag([1.0, 6, 2, 1]))).frames
        assert frame.pixels.shape == (2 * SLOPED.shape[2], SLOPED.shape[0])


def regions(count: int, *, size: int = 40) -> NDArray[np.int16]:
    """Return a label map of cubes, numbered from 0."""
    return np.kron(np.arange(64).reshape(4, 4, 4) % count, np.ones((size // 4,) * 3)).astype(np.int16)


class TestMasks:
    HEAD = (VOXELS > 20).astype(np.uint8)

    @pytest.mark.parametrize(
        "voxels",
        [
            HEAD, HEAD * 255, HEAD.astype(np.float32), HEAD.astype(np.int16) * 1000, HEAD.astype(np.float64) * 0.5,
            regions(4), regions(45), regions(4).astype(np.float64), regions(64) * 40 + 1000, regions(5) + 1,
        ],
        ids=["mask", "of 255", "float mask", "of 1000", "half", "tissues", "regions", "floats", "atlas", "from 1"],
    )  # fmt: skip
    def test_masks_and_label_maps_are_no_images(self, voxels: NDArray[np.generic]) -> None:
        refusal = rejected(nifti(voxels))
        assert refusal.reason is RejectionReason.NOT_MR and "labels" in refusal.detail

    @pytest.mark.parametrize("intent", [1002, 1003])
    def test_label_intent_is_rejected(self, intent: int) -> None:
        refusal = rejected(patched(nifti(VOXELS), (68, "<h", (intent,))))
        assert refusal.reason is RejectionReason.NOT_MR and "labels" in refusal.detail

    @pytest.mark.parametrize("intent", [2, 3, 5, 22, 24])
    def test_statistical_intent_is_rejected(self, intent: int) -> None:
        refusal = rejected(patched(nifti(VOXELS), (68, "<h", (intent,))))
        assert refusal.reason is RejectionReason.NOT_MR and "statistics" in refusal.detail

    @pytest.mark.parametrize("intent", [0, 1, 25, 1001, 1005])
    def test_other_intents_are_images(self, intent: int) -> None:
        assert decoded(patched(nifti(VOXELS), (68, "<h", (intent,)))).frames

    @pytest.mark.parametrize(
        "change",
        [
            lambda noisy, head: np.where(head, noisy, 60),
            lambda noisy, head: np.where(head, noisy, 1),
            lambda noisy, head: np.where(head, noisy, 3),
            lambda noisy, head: np.where(head, noisy, 12),
            lambda noisy, head: 255 - np.where(head, noisy, 0),
            lambda noisy, head: np.repeat(np.where(head, noisy, 0)[:, :, ::2], 2, axis=2),
            lambda noisy, head: np.repeat(np.where(head, noisy, 12)[:, :, ::4], 4, axis=2),
        ],
        ids=["z-scored", "of 1", "of 3", "of 12", "inverted", "doubled slices", "four slices of 12"],
    )
    def test_image_on_a_constant_background_is_an_image(self, change: Any) -> None:
        noisy = np.clip(VOXELS + np.random.default_rng(3).normal(0, 8, VOXELS.shape), 20, 255)
        assert decoded(nifti(change(noisy, self.HEAD > 0).astype(np.uint8))).frames

    @pytest.mark.parametrize("levels", [256, 64, 16, 8])
    def test_images_of_few_gray_levels_are_still_images(self, levels: int) -> None:
        noisy = np.clip(VOXELS + np.random.default_rng(3).normal(0, 20, VOXELS.shape), 0, 255)
        assert decoded(nifti((noisy * (levels - 1) / 255).astype(np.uint8))).frames

    def test_an_empty_volume_is_blank(self) -> None:
        assert rejected(nifti(np.zeros_like(VOXELS))).reason is RejectionReason.BLANK_IMAGE


class TestGzip:
    @pytest.mark.parametrize("size", [1000, 65_280])
    def test_a_file_of_several_members_shows_the_same(self, size: int) -> None:
        plain = nifti(VOXELS)
        members = [gzip.compress(plain[at : at + size]) for at in range(0, len(plain), size)]
        assert decoded(b"".join(members)).pixel_sha256 == decoded(plain).pixel_sha256

    def test_endless_members_are_refused_quickly(self) -> None:
        started = time.process_time()
        refusal = rejected(gzip.compress(b"") * 500_000)
        assert time.process_time() - started < 2
        assert refusal.reason is RejectionReason.CORRUPT and "4,096 gzip members" in refusal.detail

    def test_large_rest_after_a_member_is_not_copied_repeatedly(self) -> None:
        """Test the time, because copies of the rest per member would take seconds for 3,000 members and 50 MB."""
        plain = nifti(VOXELS)
        pieces = [gzip.compress(plain[at : at + 20]) for at in range(0, len(plain), 20)][:3000]
        started = time.process_time()
        long = b"".join(pieces) + gzip.compress(np.random.default_rng(1).bytes(50_000_000), 0)
        assert decoded(long).pixel_sha256 == decoded(plain).pixel_sha256
        assert time.process_time() - started < 5
