"""DICOM as scanners, archives and accidents send it: what is shown, what is refused, and that no tag's text leaks."""

from __future__ import annotations

import io
import logging
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from braintumor.imaging.frames import Decoded, Limits, decode
from braintumor.imaging.rejection import Rejection, RejectionReason

NAME, PATIENT, STUDY = "Jane^Doe", "PAT-4711", "1.2.826.0.1.3680043.8.498.77"
RAMP = np.rint(np.add.outer(np.arange(64) * 2, np.arange(48) * 2.7)).astype(np.uint8)


def shipped(name: str) -> bytes:
    """A file that pydicom brings along."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def changed(name: str = "MR_small.dcm", **tags: Any) -> bytes:
    """A shipped file with other tags; ``None`` removes one."""
    dataset = pydicom.dcmread(io.BytesIO(shipped(name)))
    for keyword, value in tags.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return written(dataset)


def mr_of(pixels: NDArray[Any], **tags: Any) -> bytes:
    """An MR object that shows these pixels, grey or RGB, with a window as wide as their type unless tags say so."""
    bits = pixels.dtype.itemsize * 8
    is_grey = pixels.ndim == 2
    described = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "SamplesPerPixel": 1 if is_grey else 3,
        "PhotometricInterpretation": "MONOCHROME2" if is_grey else "RGB",
        "PlanarConfiguration": 0,
        "WindowCenter": 2 ** (bits - 1),  # with this width: every value as it is
        "WindowWidth": 2**bits,
        "PixelPaddingValue": None,
        "SmallestImagePixelValue": None,
        "LargestImagePixelValue": None,
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    return changed(**{**described, **tags})


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """Bytes replaced once, where pydicom would not write what we want."""
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


def frame(data: bytes) -> NDArray[np.uint8]:
    decoded = decode(data)
    assert isinstance(decoded, Decoded), decoded
    (only,) = decoded.frames
    assert only.pixels.dtype == np.uint8
    return only.pixels


def rejected(data: bytes, limits: Limits | None = None) -> Rejection:
    result = decode(data, limits=limits)
    assert isinstance(result, Rejection), result
    return result


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


class TestEncodings:
    @pytest.mark.parametrize(
        "name",
        [
            "MR_small_RLE.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_expb.dcm",
            "MR_small_implicit.dcm",
            "MR_small_padded.dcm",
        ],
    )
    def test_every_encoding_shows_the_same_image(self, name: str) -> None:
        np.testing.assert_array_equal(frame(shipped(name)), frame(shipped("MR_small.dcm")))

    def test_a_deflated_object_shows_the_same_image(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        np.testing.assert_array_equal(frame(written(dataset)), frame(shipped("MR_small.dcm")))

    @pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm"])
    def test_rle_of_every_depth_is_read_as_pydicom_reads_it(self, name: str) -> None:
        stored = pydicom.dcmread(io.BytesIO(shipped(name))).pixel_array
        shown = frame(changed(name, Modality="MR"))
        assert np.abs(shown - stored / np.iinfo(stored.dtype).max * 255).max() <= 0.5

    def test_a_bare_file_without_preamble_is_recognised(self) -> None:
        data = shipped("MR_small.dcm")
        np.testing.assert_array_equal(frame(data[132:]), frame(data))

    @pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
    def test_a_data_set_without_any_file_meta_is_recognised(self, name: str) -> None:
        data = shipped(name)
        stream = io.BytesIO(data[132:])
        meta = pydicom.filereader._read_file_meta_info(stream)
        assert meta.TransferSyntaxUID
        np.testing.assert_array_equal(frame(data[132 + stream.tell() :]), frame(data))

    def test_nothing_readable_is_an_unsupported_transfer_syntax_by_its_name(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small_jpeg_ls_lossless.dcm")))
        dataset.file_meta.TransferSyntaxUID = uid.MPEG2MPML
        rejection = rejected(written(dataset))
        assert rejection.reason is RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX
        assert "MPEG2 Main Profile" in rejection.detail

    def test_a_private_transfer_syntax_is_not_repeated(self) -> None:
        data = shipped("MR_small.dcm")
        known = uid.ExplicitVRLittleEndian.encode() + b"\0"
        rejection = rejected(patched(data, known, b"1.2.999.4711.9999999"[: len(known)].ljust(len(known), b"\0")))
        assert rejection.reason is RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX
        assert "4711" not in rejection.detail and "private or unknown" in rejection.detail


class TestDisplay:
    def test_the_same_image_as_png_and_as_dicom_is_the_same_frame(self) -> None:
        buffer = io.BytesIO()
        Image.fromarray(RAMP).save(buffer, "PNG")
        as_png, as_dicom = decode(buffer.getvalue()), decode(mr_of(RAMP))
        assert isinstance(as_png, Decoded) and isinstance(as_dicom, Decoded)
        np.testing.assert_array_equal(as_png.frames[0].pixels, as_dicom.frames[0].pixels)
        assert as_png.pixel_sha256 == as_dicom.pixel_sha256

    def test_monochrome1_is_the_inverse(self) -> None:
        inverse = frame(mr_of(RAMP, PhotometricInterpretation="MONOCHROME1"))
        np.testing.assert_array_equal(inverse, 255 - RAMP)

    def test_below_the_window_is_black_above_it_white_and_its_centre_grey(self) -> None:
        shown = frame(mr_of(RAMP, WindowCenter=100, WindowWidth=41))
        assert not shown[RAMP <= 79].any()
        assert (shown[RAMP >= 120] == 255).all()
        assert np.abs(shown[RAMP == 100].astype(int) - 128).max() <= 4

    def test_the_first_of_several_windows_counts(self) -> None:
        several = frame(mr_of(RAMP, WindowCenter=[100, 30], WindowWidth=[41, 5]))
        np.testing.assert_array_equal(several, frame(mr_of(RAMP, WindowCenter=100, WindowWidth=41)))

    def test_the_window_is_in_rescaled_units(self) -> None:
        rescaled = mr_of(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-799.5, WindowWidth=81)
        assert not frame(rescaled)[RAMP < 79].any()
        assert (frame(rescaled)[RAMP > 121] == 255).all()

    def test_without_a_window_hot_pixels_do_not_darken_the_rest(self) -> None:
        hot = RAMP.astype(np.uint16)
        hot[0, :5] = 60_000
        shown = frame(mr_of(hot, WindowCenter=None, WindowWidth=None))
        assert 60 < np.median(shown) < 190

    @pytest.mark.parametrize("width", [0, -5])
    def test_a_senseless_window_is_passed_over(self, width: int) -> None:
        without = frame(mr_of(RAMP, WindowCenter=None, WindowWidth=None))
        np.testing.assert_array_equal(frame(mr_of(RAMP, WindowCenter=100, WindowWidth=width)), without)

    def test_signed_values_keep_their_order(self) -> None:
        signed = RAMP.astype(np.int16) - 128
        shown = frame(mr_of(signed, WindowCenter=0, WindowWidth=256))
        assert np.abs(shown.astype(int) - RAMP).max() <= 1

    def test_colour_stays_and_grey_stored_as_colour_becomes_grey(self) -> None:
        colour = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
        np.testing.assert_array_equal(frame(mr_of(colour)), colour)
        np.testing.assert_array_equal(frame(mr_of(np.dstack([RAMP] * 3))), RAMP)

    def test_a_window_that_shows_one_value_only_is_blank(self) -> None:
        blank = mr_of(RAMP, WindowCenter=5000, WindowWidth=10)
        assert rejected(blank).reason is RejectionReason.BLANK_IMAGE


class TestReasons:
    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (lambda: shipped("CT_small.dcm"), RejectionReason.NOT_MR),
            (lambda: changed(Modality=None), RejectionReason.NOT_MR),
            (lambda: changed(PixelData=None), RejectionReason.NO_PIXELS),
            (lambda: changed(NumberOfFrames=3), RejectionReason.TRUNCATED),
            (lambda: changed(BurnedInAnnotation="YES"), RejectionReason.BURNED_IN_ANNOTATION),
            (lambda: shipped("MR_truncated.dcm"), RejectionReason.TRUNCATED),
            (lambda: changed(PixelData=bytes(100)), RejectionReason.TRUNCATED),
            (lambda: changed(Rows=None), RejectionReason.CORRUPT),
            (lambda: mr_of(RAMP[:20]), RejectionReason.TOO_SMALL),
            (lambda: mr_of(RAMP * 0), RejectionReason.BLANK_IMAGE),
            (lambda: shipped("rtplan.dcm"), RejectionReason.NOT_MR),
            (lambda: shipped("MR_small.dcm")[:-4000], RejectionReason.TRUNCATED),
            (lambda: shipped("MR_small_RLE.dcm")[:-2000], RejectionReason.TRUNCATED),
            (lambda: shipped("MR_small_jp2klossless.dcm")[:-2000], RejectionReason.TRUNCATED),
        ],
    )
    def test_what_cannot_be_scored_gets_its_reason(self, make: Callable[[], bytes], reason: RejectionReason) -> None:
        assert rejected(make()).reason is reason

    @pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.8])
    def test_a_file_cut_anywhere_is_truncated(self, share: float) -> None:
        data = shipped("MR_small.dcm")
        assert rejected(data[: int(len(data) * share)]).reason is RejectionReason.TRUNCATED


class TestBombs:
    @pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
    def test_a_huge_size_with_tiny_pixel_data_is_refused_by_the_header(self, name: str) -> None:
        data = changed(name, Rows=60_000, Columns=60_000)
        decode(data)
        assert peak_bytes(lambda: decode(data)) < 5_000_000
        assert rejected(data).reason is RejectionReason.TOO_MANY_PIXELS

    @pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
    def test_a_size_within_the_limit_that_its_data_cannot_fill_allocates_nothing(self, name: str) -> None:
        data = changed(name, Rows=7_000, Columns=7_000)
        decode(data)
        assert peak_bytes(lambda: decode(data)) < 5_000_000
        assert rejected(data).reason in {RejectionReason.TRUNCATED, RejectionReason.CORRUPT}

    @pytest.mark.parametrize("size", [3_000_000_000, 100_000_000])
    def test_a_deflated_bomb_is_refused_in_bounded_memory(self, size: int) -> None:
        data = self.deflated_bomb(size)
        assert len(data) < 4_000_000
        peak = peak_bytes(lambda: decode(data))
        assert rejected(data).reason is RejectionReason.TOO_MANY_BYTES
        assert peak < 3 * Limits().max_bytes

    def test_a_bomb_behind_a_command_set_is_refused_too(self) -> None:
        # this reads as an element of a command set, which pydicom passes over before it inflates what follows; and as a
        # whole deflated stream: two empty stored blocks and an empty last one
        dataset = self.deflated_bomb(500_000_000)
        meta = dataset[: self.meta_end(dataset)]
        command = b"\0\0\0\xff" + (255).to_bytes(4, "little") + b"\xff\xff\x03\0" + bytes(251)
        data = meta + command + dataset[len(meta) :]
        assert peak_bytes(lambda: decode(data)) < 3 * Limits().max_bytes
        assert rejected(data).reason is RejectionReason.TOO_MANY_BYTES

    def test_a_deflated_file_that_is_cut_is_truncated(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        assert rejected(written(dataset)[:-500]).reason is RejectionReason.TRUNCATED

    def test_run_lengths_that_expand_beyond_the_image_are_refused_in_bounded_memory(self) -> None:
        pixels = 2_000_000
        runs = b"\x81\x07" * (pixels // 2)  # each pair becomes 128 bytes
        segments = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
        data = self.rle(segments + runs, rows=1000, columns=2000)
        decode(data[:5000])
        assert peak_bytes(lambda: decode(data)) < 30_000_000
        assert rejected(data).reason is RejectionReason.CORRUPT

    @pytest.mark.parametrize(
        "body",
        [b"\x81\x07" * 33, b"\x7f" + b"\1" * 20, b"\x81\x07" * 31 + b"\x7f", b"", b"\x80" * 64, b"\x81\x07" * 31],
        ids=["too long", "literal past the end", "cut in a run", "empty", "nothing but no-ops", "too short"],
    )
    def test_run_lengths_that_do_not_fill_the_image_are_refused_without_a_panic(
        self, body: bytes, capfd: pytest.CaptureFixture[str]
    ) -> None:
        header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
        assert rejected(self.rle(header + body, rows=64, columns=64)).reason in {
            RejectionReason.CORRUPT,
            RejectionReason.TRUNCATED,
        }
        assert capfd.readouterr().err == ""

    def test_millions_of_empty_elements_are_refused_before_they_fill_the_memory(self) -> None:
        data = shipped("MR_small_implicit.dcm")
        numbers = np.arange(2_000_000, dtype=np.uint32)
        elements = np.zeros((len(numbers), 4), "<u2")  # group, element, and a length of 0
        elements[:, 0], elements[:, 1] = 9 + 2 * (numbers >> 16), numbers & 0xFFFF
        flood = data[: self.meta_end(data)] + elements.tobytes()
        assert peak_bytes(lambda: decode(flood)) < 60_000_000
        assert rejected(flood).reason is RejectionReason.CORRUPT

    def test_sequences_nested_ten_thousand_deep_are_refused(self) -> None:
        opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        data = shipped("MR_small.dcm")
        rejected(data[: self.meta_end(data)] + opened * 10_000)

    @staticmethod
    def rle(encoded: bytes, *, rows: int, columns: int) -> bytes:
        dataset = pydicom.dcmread(io.BytesIO(mr_of(RAMP, Rows=rows, Columns=columns)))
        dataset.file_meta.TransferSyntaxUID = uid.RLELossless
        dataset.PixelData = pydicom.encaps.encapsulate([encoded + b"\0" * (len(encoded) % 2)])
        dataset["PixelData"].VR = "OB"
        return written(dataset)

    @staticmethod
    def meta_end(data: bytes) -> int:
        stream = io.BytesIO(data[132:])
        pydicom.filereader._read_file_meta_info(stream)
        return 132 + stream.tell()

    def deflated_bomb(self, size: int) -> bytes:
        """An MR object whose PixelData inflates to so many zeros: one compressed piece, repeated."""
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        del dataset.PixelData
        plain = written(dataset)
        start = self.meta_end(plain)
        deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        parts = [deflater.compress(plain[start:] + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little"))]
        parts.append(deflater.flush(zlib.Z_FULL_FLUSH))  # what follows refers to nothing before it, at a byte's edge
        piece = deflater.compress(bytes(10_000_000)) + deflater.flush(zlib.Z_FULL_FLUSH)
        body = b"".join([*parts, piece * (size // 10_000_000), deflater.flush()])
        dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        deflated = written(dataset)
        return deflated[: self.meta_end(deflated)] + body


class TestIdentity:
    TAGS: ClassVar = {
        "PatientName": NAME,
        "PatientID": PATIENT,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.1",
    }
    SECRETS = ("Jane", "Doe", "4711", STUDY)

    def test_the_raw_identifiers_are_there_for_the_pseudonyms(self) -> None:
        decoded = decode(changed(**self.TAGS, SOPInstanceUID=f"{STUDY}.2"))
        assert isinstance(decoded, Decoded) and decoded.dicom is not None
        assert decoded.dicom.patient_id == PATIENT
        assert decoded.dicom.study_instance_uid == STUDY
        assert decoded.dicom.series_instance_uid == f"{STUDY}.1"
        assert decoded.dicom.sop_instance_uid == f"{STUDY}.2"

    def test_missing_identifiers_are_empty(self) -> None:
        decoded = decode(changed(PatientID=None, StudyInstanceUID=None))
        assert isinstance(decoded, Decoded) and decoded.dicom is not None
        assert (decoded.dicom.patient_id, decoded.dicom.study_instance_uid) == ("", "")

    def test_a_png_has_no_identity(self) -> None:
        buffer = io.BytesIO()
        Image.fromarray(RAMP).save(buffer, "PNG")
        decoded = decode(buffer.getvalue())
        assert isinstance(decoded, Decoded) and decoded.dicom is None

    def test_no_repr_shows_them(self) -> None:
        decoded = decode(changed(**self.TAGS))
        assert isinstance(decoded, Decoded)
        self.assert_clean(repr(decoded), str(decoded), repr(decoded.dicom), repr(decoded.frames))

    @pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # of pydicom, when it writes such a file
    @pytest.mark.parametrize("modality", ["JD", "Jane^Doe", "PAT-4711", ["MR", "JD"], "DO"])
    def test_a_modality_that_is_none_is_not_repeated(self, modality: Any) -> None:
        rejection = rejected(changed(**self.TAGS, Modality=modality))
        assert rejection.reason is RejectionReason.NOT_MR
        assert rejection.detail == "Modality is not MR"

    def test_a_known_modality_is_named(self) -> None:
        assert rejected(shipped("CT_small.dcm")).detail == "Modality is CT"

    @pytest.mark.parametrize(
        "element",
        [
            b"\x28\x00\x00\x01US",
            b"\x28\x00\x10\x00US",
            b"\x28\x00\x11\x00US",
            b"\x28\x00\x01\x01US",
            b"\x28\x00\x02\x00US",
        ],
        ids=["BitsAllocated", "Rows", "Columns", "BitsStored", "SamplesPerPixel"],
    )
    def test_text_in_place_of_a_number_is_not_repeated(self, element: bytes) -> None:
        data = changed(**self.TAGS)
        at = data.index(element)
        named = data[:at] + element[:4] + b"LO\x08\0Jane^Doe" + data[at + 10 :]
        self.assert_clean(str(decode(named)))

    @pytest.mark.parametrize("keyword", ["NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope"])
    def test_a_number_that_is_text_is_not_repeated(self, keyword: str, caplog: pytest.LogCaptureFixture) -> None:
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(io.BytesIO(changed(**self.TAGS)))
            vr = pydicom.datadict.dictionary_VR(keyword)
            dataset[keyword] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(keyword), vr, 8, b"Jane^Doe", 0, False, True
            )
            data = written(dataset)
        caplog.set_level(logging.DEBUG)
        self.assert_clean(str(decode(data)), caplog.text)

    def test_nothing_is_logged_or_printed_about_odd_tags(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
    ) -> None:
        data = changed(**self.TAGS)
        odd = [
            patched(data, STUDY.encode(), b"Jane^Doe".ljust(len(STUDY), b"x")),
            changed(**self.TAGS, SpecificCharacterSet="Jane^Doe"),
            patched(data, b"\x10\x00\x30\x00DA", b"\x10\x00\x30\x00QQ"),
            *(data[:cut] for cut in range(600, 1400, 50)),
        ]
        caplog.set_level(logging.DEBUG)
        caplog.clear()  # of what writing them said
        recwarn.clear()
        self.assert_clean(*(str(decode(each)) for each in odd))
        assert not caplog.records and not recwarn.list
        assert capfd.readouterr() == ("", "")

    def assert_clean(self, *texts: str) -> None:
        for text in texts:
            assert not [secret for secret in self.SECRETS if secret in text], text


def test_an_enhanced_objects_window_in_its_functional_groups_counts() -> None:
    voi, group = Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = 100, 41
    group.FrameVOILUTSequence = Sequence([voi])
    grouped = mr_of(
        RAMP, WindowCenter=None, WindowWidth=None, SharedFunctionalGroupsSequence=Sequence([group]), NumberOfFrames=1
    )
    np.testing.assert_array_equal(frame(grouped), frame(mr_of(RAMP, WindowCenter=100, WindowWidth=41)))
