"""Test that a volume whose header states too few frames is read completely, or rejected."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.dicom.values import functional_group
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.phantom.volume import as_enhanced_mr, draw_volume
from braintumor.labels import TumorClass
from tests.decode_results import frame, rejected
from tests.dicom_files import RAMP, mr_of, with_bytes, written

VOLUME = draw_volume(TumorClass.MENINGIOMA, seed=2, slices=10, size=48)[1:9]
COUNT = len(VOLUME)
WHOLE = as_enhanced_mr(VOLUME, seed=1)
STATED_TOO_LOW = [None, 0, 1, 4, COUNT - 1]


def volume(stated: int | None, *, items: int | None = COUNT) -> Dataset:
    """Return the volume with another number of frames in its header, and of items in its functional groups."""
    dataset = pydicom.dcmread(io.BytesIO(WHOLE))
    dataset.PixelData = dataset.PixelData  # converts the raw element
    dataset.pop("NumberOfFrames")
    if stated is not None:
        dataset.NumberOfFrames = stated
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    if items:
        dataset.PerFrameFunctionalGroupsSequence = (groups * 2)[:items]
    else:
        dataset.pop("PerFrameFunctionalGroupsSequence")
    return dataset


def compressed(dataset: Dataset, syntax: uid.UID, offsets: int | None = None) -> bytes:
    """Return the object compressed, with an offset table of ``offsets`` entries if a number is given."""
    stated = dataset.get("NumberOfFrames")
    dataset.NumberOfFrames = COUNT
    dataset.compress(syntax, generate_instance_uid=False)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=COUNT))
    plain = encapsulate(frames, has_bot=False)
    if offsets is not None:
        lengths = [len(each) + len(each) % 2 + 8 for each in frames]
        starts = [sum(lengths[:place]) for place in range(offsets)]
        table = np.asarray(starts, "<u4").tobytes()
        plain = b"\xfe\xff\x00\xe0" + len(table).to_bytes(4, "little") + table + plain[8:]
    dataset.PixelData = plain
    dataset["PixelData"].is_undefined_length = True
    dataset.pop("NumberOfFrames")
    if stated is not None:
        dataset.NumberOfFrames = stated
    return written(dataset)


def assert_whole(data: bytes) -> None:
    result, expected = decode(data), decode(WHOLE)
    assert isinstance(result, Decoded), result
    assert isinstance(expected, Decoded) and expected.frame_count == COUNT
    assert (result.frame_count, result.pixel_sha256) == (COUNT, expected.pixel_sha256)


@pytest.mark.parametrize("stated", STATED_TOO_LOW)
class TestItemsOfEachFrame:
    def test_pixel_data_with_an_item_for_each_frame_is_read_whole(self, stated: int | None) -> None:
        assert_whole(written(volume(stated)))

    @pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
    def test_compressed_pixel_data_too(self, stated: int | None, syntax: uid.UID) -> None:
        assert_whole(compressed(volume(stated), syntax))


@pytest.mark.parametrize("items", [0, COUNT])
@pytest.mark.parametrize("offsets", [None, 1, COUNT])
def test_compressed_frames_are_counted_in_every_layout(offsets: int | None, items: int) -> None:
    windows = volume(None, items=items)
    data = compressed(windows, uid.RLELossless, offsets)
    result = decode(data)
    assert isinstance(result, Decoded), result
    assert result.frame_count == COUNT and len(result.frames) == COUNT


def test_one_compressed_frame_in_several_fragments_stays_one() -> None:
    dataset = pydicom.dcmread(io.BytesIO(mr_of(RAMP)))
    dataset.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    (only,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([only], fragments_per_frame=4)
    dataset["PixelData"].is_undefined_length = True
    np.testing.assert_array_equal(frame(written(dataset)), frame(mr_of(RAMP)))


@pytest.mark.parametrize(("vr", "value"), [("LO", b"Jane"), ("US", bytes(8)), ("UN", b"Jane"), ("OB", b"Jane")])
def test_malformed_functional_groups_do_not_reject_the_file(vr: str, value: bytes) -> None:
    data = with_bytes(mr_of(RAMP), "PerFrameFunctionalGroupsSequence", value, vr=vr)
    np.testing.assert_array_equal(frame(data), RAMP)


def test_group_of_a_frame_is_read_without_the_other_groups() -> None:
    """Test the reads, because a list of all groups for each frame takes quadratic time."""

    class Groups(Sequence):
        passes = 0

        def __iter__(self) -> Iterator[Dataset]:
            Groups.passes += 1
            return super().__iter__()

    dataset, window = Dataset(), Dataset()
    group = Dataset()
    group.FrameVOILUTSequence = [window]
    dataset.PerFrameFunctionalGroupsSequence = Groups([Dataset(), group])
    Groups.passes = 0
    assert functional_group(dataset, "FrameVOILUTSequence", 0) is dataset
    assert functional_group(dataset, "FrameVOILUTSequence", 1) is window
    assert functional_group(dataset, "FrameVOILUTSequence", 2) is dataset
    assert Groups.passes == 0


class TestDisagreement:
    @pytest.mark.parametrize(("stated", "items"), [(None, 0), (1, 0), (4, 0), (None, 5), (4, 4), (1, 16)])
    def test_more_pixel_data_than_the_header_explains_is_named(self, stated: int | None, items: int) -> None:
        rejection = rejected(written(volume(stated, items=items)))
        expected = RejectionReason.TRUNCATED if items > COUNT else RejectionReason.CORRUPT
        assert rejection.reason is expected
        assert f"the pixel data has the size of {COUNT}, the header states" in rejection.detail

    @pytest.mark.parametrize("bits", [8, 16])
    def test_pixels_of_twice_the_stated_bits_are_named(self, bits: int) -> None:
        wide = {8: RAMP.astype(np.uint16) * 16, 16: RAMP.astype(np.uint32) * 16}[bits]
        data = mr_of(wide, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1)
        assert rejected(data).reason is RejectionReason.CORRUPT

    def test_more_items_than_pixel_data_is_a_file_that_ends_early(self) -> None:
        dataset = volume(None)
        dataset.PixelData = dataset.PixelData[: 3 * 48 * 48 * 2]
        assert rejected(written(dataset)).reason is RejectionReason.TRUNCATED

    def test_the_limit_holds_for_the_number_that_was_found(self) -> None:
        limits = Limits(max_frames=COUNT - 1)
        assert rejected(written(volume(1)), limits).reason is RejectionReason.TOO_MANY_FRAMES


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 100, b"\0" * 10_000, b"\x01\x02\x03\x04"])
def test_padding_after_the_frames_is_not_a_frame(padding: bytes) -> None:
    data = mr_of(RAMP, PixelData=RAMP.tobytes() + padding + b"\0" * (len(padding) % 2))
    np.testing.assert_array_equal(frame(data), RAMP)
