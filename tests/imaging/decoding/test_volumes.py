"""Test files of many frames: NIfTI in any orientation, multi-frame MR objects and pages of TIFF."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from itertools import permutations, product

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from braintumor.imaging.decoding.frame_selection import select_frames
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Frame, Limits
from braintumor.imaging.phantom.volume import as_enhanced_mr, as_nifti, draw_volume
from braintumor.labels import TumorClass
from tests.decode_results import decoded, rejected
from tests.dicom_files import changed

VOLUME = draw_volume(TumorClass.GLIOMA, seed=7, slices=12, size=64)
PLAIN = as_nifti(VOLUME, is_gzipped=False)
SHOWS_HEAD = [index for index in range(len(VOLUME)) if (VOLUME[index] >= 26).mean() >= 0.05]
AXES = ["".join(sides) for pairs in permutations(("LR", "PA", "IS")) for sides in product(*pairs)]


def indexes(result: Decoded) -> list[int]:
    return [frame.index for frame in result.frames]


def nifti(voxels: NDArray[np.generic], *, spacing: tuple[float, ...] = (1, 1, 1), **header: object) -> bytes:
    """Return an uncompressed file of voxels whose axes point right, to the front and to the head."""
    image = nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0]), dtype=voxels.dtype)
    for name, value in header.items():
        image.header[name] = value
    return bytes(image.to_bytes())


def patched(data: bytes, place: int, form: str, *values: float | bytes) -> bytes:
    """Return a file with other header values, which nibabel would not write."""
    changed = bytearray(data)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


class TestNifti:
    def test_every_orientation_shows_the_same_slices(self) -> None:
        """Test all 48 orientations of the axes."""
        first = decoded(as_nifti(VOLUME))
        assert indexes(first) == SHOWS_HEAD and first.frame_count == len(VOLUME) and first.format == "nifti"
        assert len(set(AXES)) == 48
        for axes in AXES:
            turned = decoded(as_nifti(VOLUME, axes=axes, is_gzipped=False))
            assert indexes(turned) == SHOWS_HEAD, axes
            for one, other in zip(first.frames, turned.frames, strict=True):
                np.testing.assert_array_equal(one.pixels, other.pixels, err_msg=axes)

    def test_slices_are_seen_from_the_feet_with_the_front_on_top(self) -> None:
        voxels = np.zeros((40, 50, 3), np.int16)
        voxels[:20] = 200  # the patient's left is dark, the right bright
        voxels[:, 25:] += 400  # the front is brighter than the back
        (frame, *_) = decoded(nifti(voxels)).frames
        assert frame.pixels.shape == (50, 40)
        corners = {
            "right front": frame.pixels[0, 0],
            "left front": frame.pixels[0, -1],
            "right back": frame.pixels[-1, 0],
            "left back": frame.pixels[-1, -1],
        }
        # x grows to the right, and a radiological view shows the patient's right on the left
        assert sorted(corners, key=lambda place: int(corners[place])) == [
            "right back", "left back", "right front", "left front",
        ]  # fmt: skip

    def test_only_first_volume_of_a_series_is_decompressed(self) -> None:
        first = VOLUME[:, ::-1, ::-1].transpose(2, 1, 0)
        series = np.full((*first.shape, 200), 99, np.uint8)
        series[..., 0] = first
        data = gzip.compress(nifti(series))
        tracemalloc.start()
        result = decoded(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert indexes(result) == SHOWS_HEAD
        assert result.pixel_sha256 == decoded(as_nifti(VOLUME)).pixel_sha256
        assert peak < series.nbytes / 4

    def test_scaling_changes_nothing_and_negative_slope_inverts(self) -> None:
        plain = VOLUME[:, ::-1, ::-1].transpose(2, 1, 0).astype(np.int16)
        shown = decoded(nifti(plain)).frames
        scaled = decoded(patched(nifti(plain), 112, "<2f", 0.5, -1024)).frames
        inverted = decoded(patched(nifti(plain), 112, "<2f", -1, 255)).frames
        middle = len(shown) // 2
        np.testing.assert_allclose(scaled[middle].pixels.astype(int), shown[middle].pixels, atol=1)
        by_index = {frame.index: frame.pixels for frame in inverted}
        np.testing.assert_allclose(
            by_index[shown[middle].index].astype(int), 255 - shown[middle].pixels.astype(int), atol=1
        )

    def test_non_square_voxels_are_stretched(self) -> None:
        voxels = VOLUME[:, ::-1, ::-1].transpose(2, 1, 0)
        (frame, *_) = decoded(nifti(voxels, spacing=(1, 2, 5))).frames
        assert frame.pixels.shape == (2 * VOLUME.shape[1], VOLUME.shape[2])

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_every_kind_of_voxel_shows_the_same(self, dtype: type[np.generic], order: str) -> None:
        voxels = VOLUME[:, ::-1, ::-1].transpose(2, 1, 0).astype(dtype)
        image = nibabel.Nifti1Image(voxels, np.eye(4), nibabel.Nifti1Header(endianness=order), dtype=voxels.dtype)
        result = decoded(bytes(image.to_bytes()))
        np.testing.assert_allclose(
            result.frames[2].pixels.astype(int), decoded(as_nifti(VOLUME)).frames[2].pixels, atol=1
        )

    def test_nan_voxels_are_dark(self) -> None:
        voxels = VOLUME[:, ::-1, ::-1].transpose(2, 1, 0).astype(np.float32)
        voxels[:5] = np.nan
        assert all(frame.pixels[:, -5:].max() == 0 for frame in decoded(nifti(voxels)).frames)

    def test_nifti_2_shows_the_same_image(self) -> None:
        image = nibabel.Nifti2Image(VOLUME[:, ::-1, ::-1].transpose(2, 1, 0), np.eye(4))
        assert decoded(bytes(image.to_bytes())).pixel_sha256 == decoded(as_nifti(VOLUME)).pixel_sha256

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (as_nifti(VOLUME)[:-400], RejectionReason.TRUNCATED),
            (PLAIN[:-400], RejectionReason.TRUNCATED),
            (PLAIN[:350], RejectionReason.TRUNCATED),
            (patched(PLAIN, 344, "4s", b"ni1\0"), RejectionReason.NO_PIXELS),
            (patched(PLAIN, 70, "<h", 128), RejectionReason.UNSUPPORTED_FORMAT),  # RGB
            (patched(PLAIN, 40, "<h", -3), RejectionReason.CORRUPT),
            (patched(PLAIN, 42, "<3h", 30000, 30000, 30000), RejectionReason.TOO_MANY_PIXELS),
            (patched(PLAIN, 108, "<f", float("nan")), RejectionReason.CORRUPT),
            (patched(PLAIN, 280, "<f", float("inf")), RejectionReason.CORRUPT),
            (as_nifti(np.zeros_like(VOLUME)), RejectionReason.BLANK_IMAGE),
            (as_nifti(VOLUME[:, :16, :16]), RejectionReason.TOO_SMALL),
            (nifti(np.ones((40, 40, 2100), np.uint8)), RejectionReason.TOO_MANY_FRAMES),
        ],
        ids=[
            "gzip cut", "cut", "header cut", "pair of files", "color", "dimensions", "too many voxels", "offset",
            "orientation", "air", "too small", "too many slices",
        ],
    )  # fmt: skip
    def test_unscorable_file_gets_its_reason(self, data: bytes, reason: RejectionReason) -> None:
        rejection = rejected(data)
        assert rejection.reason is reason, rejection

    def test_a_bomb_is_refused_by_its_header(self) -> None:
        header = patched(PLAIN, 42, "<3h", 3000, 3000, 1)
        bomb = gzip.compress(patched(header, 70, "<2h", 64, 64)[:352] + bytes(200_000_000))
        tracemalloc.start()
        rejection = rejected(bomb, Limits(max_volume_bytes=10_000_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rejection.reason is RejectionReason.TOO_MANY_BYTES
        assert peak < 2_000_000

    def test_header_texts_are_not_repeated(self) -> None:
        data = patched(PLAIN, 148, "80s", b"Jane Doe 1970-01-01")
        assert "Jane" not in repr(decoded(data)) and "Jane" not in repr(rejected(data[:-400]))


class TestDicom:
    def test_every_frame_is_shown_by_its_own_window(self) -> None:
        result = decoded(as_enhanced_mr(VOLUME, seed=1))
        assert indexes(result) == SHOWS_HEAD and result.frame_count == len(VOLUME)
        for frame in result.frames:
            np.testing.assert_allclose(frame.pixels.astype(int), VOLUME[frame.index], atol=1)

    def test_without_windows_one_range_holds_for_all_frames(self) -> None:
        result = decoded(as_enhanced_mr(VOLUME // 4, seed=1, windows=False))
        gains = [float(frame.pixels.mean() / VOLUME[frame.index].mean()) for frame in result.frames]
        assert max(frame.pixels.max() for frame in result.frames) == 255
        assert max(gains) / min(gains) < 1.1

    @pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
    def test_compressed_frames_show_the_same(self, syntax: uid.UID) -> None:
        plain = as_enhanced_mr(VOLUME, seed=1)
        dataset = pydicom.dcmread(io.BytesIO(plain))
        dataset.compress(syntax, generate_instance_uid=False)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        assert decoded(buffer.getvalue()).pixel_sha256 == decoded(plain).pixel_sha256

    def test_one_missing_encapsulated_frame_is_truncated(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(as_enhanced_mr(VOLUME, seed=1)))
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
        frames = list(generate_frames(dataset.PixelData, number_of_frames=len(VOLUME)))
        dataset.PixelData = encapsulate(frames[:-1])
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        assert rejected(buffer.getvalue()).reason is RejectionReason.TRUNCATED

    def test_too_many_frames_are_refused_by_the_header(self) -> None:
        assert rejected(changed(NumberOfFrames=5000)).reason is RejectionReason.TOO_MANY_FRAMES


class TestTiff:
    def saved(self, *pages: NDArray[np.generic], **options: object) -> bytes:
        buffer = io.BytesIO()
        first, *others = (Image.fromarray(page) for page in pages)
        first.save(buffer, "TIFF", save_all=True, append_images=others, **options)  # type: ignore[arg-type]
        return buffer.getvalue()

    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    @pytest.mark.parametrize("big_tiff", [False, True])
    def test_one_page_shows_the_same_as_the_array(self, compression: str | None, big_tiff: bool) -> None:
        data = self.saved(VOLUME[6], compression=compression, big_tiff=big_tiff)
        result = decoded(data)
        assert result.format == "tiff" and result.frame_count == 1
        np.testing.assert_array_equal(result.frames[0].pixels, VOLUME[6])

    def test_every_page_with_a_head_is_a_frame(self) -> None:
        result = decoded(self.saved(*VOLUME))
        assert indexes(result) == SHOWS_HEAD and result.frame_count == len(VOLUME)

    def test_sixteen_bits_are_shown_as_eight(self) -> None:
        result = decoded(self.saved(VOLUME[6].astype(np.uint16) * 257))
        np.testing.assert_allclose(result.frames[0].pixels.astype(int), VOLUME[6], atol=1)

    def test_thumbnail_is_not_a_frame(self) -> None:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[254] = 1
        buffer = io.BytesIO()
        with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
            Image.fromarray(VOLUME[6]).save(writer, "TIFF")
            writer.newFrame()
            Image.fromarray(VOLUME[6][::2, ::2]).save(writer, "TIFF", tiffinfo=tags)
        result = decoded(buffer.getvalue())
        assert result.frame_count == 1 and result.frames[0].pixels.shape == (64, 64)

    def test_a_cut_page_is_named(self) -> None:
        rejection = rejected(self.saved(*VOLUME[4:7])[: 64 * 64 * 2 + 300])
        assert rejection.reason in {RejectionReason.TRUNCATED, RejectionReason.CORRUPT}

    def test_pages_are_counted_before_they_are_decoded(self) -> None:
        data = self.saved(*VOLUME)
        assert rejected(data, Limits(max_frames=4)).reason is RejectionReason.TOO_MANY_FRAMES
        assert rejected(data, Limits(max_pixels=5 * 64 * 64)).reason is RejectionReason.TOO_MANY_PIXELS


class TestChoice:
    def frames(self, count: int) -> list[Frame]:
        return [Frame(index=index, pixels=VOLUME[6]) for index in range(count)]

    @pytest.mark.parametrize(("count", "limit", "chosen"), [
        (3, 64, [0, 1, 2]), (64, 64, list(range(64))), (7, 4, [0, 2, 4, 6]), (9, 1, [4]), (5, 2, [0, 4]),
    ])  # fmt: skip
    def test_the_first_the_last_and_evenly_spaced_ones_between(self, count: int, limit: int, chosen: list[int]) -> None:
        taken = select_frames(self.frames(count), Limits(max_scored_frames=limit))
        assert not isinstance(taken, Rejection) and [frame.index for frame in taken] == chosen

    def test_single_frame_is_always_selected(self) -> None:
        dark = Frame(index=0, pixels=np.zeros((64, 64), np.uint8))
        assert select_frames([dark], Limits()) == (dark,)
