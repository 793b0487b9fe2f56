"""Test damaged JPEG files, unsupported kinds, and undamaged files."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from braintumor.imaging.decoding.jpeg import find_damage, read_structure
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import frame, rejected

GRAY = draw(TumorClass.MENINGIOMA, seed=8, size=160).pixels
COLOR = np.dstack([GRAY, GRAY[::-1], GRAY])


def jpeg(pixels: np.ndarray = GRAY, mode: str | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def zeroed(data: bytes, share: float, count: int = 100) -> bytes:
    """Return the file with zeros inside its first scan that has more than the average brightness."""
    scan = read_structure(data).scans[:2][-1]
    at = scan.end + int(share * (scan.scan_end - scan.end - count))
    return data[:at] + bytes(count) + data[at + count :]


def ended_after(data: bytes, scan: int, share: float) -> bytes:
    """Return the file cut inside one of its scans, with an end marker, as repair tools write it."""
    cut = read_structure(data).scans[scan]
    return data[: cut.end + int(share * (cut.scan_end - cut.end))].rstrip(b"\xff") + b"\xff\xd9"


def pillow_reads(data: bytes) -> bool:
    Image.open(io.BytesIO(data)).load()
    return True


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize(
    "data",
    [jpeg(), jpeg(COLOR), jpeg(optimize=True), jpeg(progressive=True), jpeg(restart_marker_rows=2)],
    ids=["gray", "color", "optimized", "progressive", "restart markers"],
)
def test_zeros_inside_the_image_are_corrupt(data: bytes, share: float) -> None:
    damaged = zeroed(data, share)
    assert pillow_reads(damaged) and rejected(damaged).reason is RejectionReason.CORRUPT


def test_image_complete_before_its_data_ends_is_corrupt() -> None:
    """Test a few excess bytes, about which the decoder does not warn."""
    scan = read_structure(jpeg()).scans[-1]
    longer = jpeg()[: scan.scan_end] + b"\x55" * 4 + b"\xff\xd9"
    refusal = rejected(longer)
    assert pillow_reads(longer) and refusal.reason is RejectionReason.CORRUPT
    assert refusal.detail == "the jpeg image is complete before its data ends"


@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
@pytest.mark.parametrize(("scan", "share"), [(0, 1), (1, 1), (-1, 0.5), (-2, 1)])
def test_progressive_image_without_last_scans_is_refused(pixels: np.ndarray, scan: int, share: float) -> None:
    cut = ended_after(jpeg(pixels, progressive=True), scan, share)
    assert pillow_reads(cut)
    assert rejected(cut).reason in {RejectionReason.TRUNCATED, RejectionReason.CORRUPT}


def test_cut_baseline_image_with_end_marker_is_corrupt() -> None:
    cut = ended_after(jpeg(COLOR), 0, 0.6)
    assert pillow_reads(cut) and rejected(cut).reason is RejectionReason.CORRUPT


WHOLE = {
    "gray": jpeg(),
    "color": jpeg(COLOR),
    "progressive": jpeg(COLOR, progressive=True),
    "optimized": jpeg(optimize=True),
    "4:4:4": jpeg(COLOR, subsampling=0),
    "4:2:2": jpeg(COLOR, subsampling=1),
    "restart markers": jpeg(COLOR, restart_marker_blocks=3),
    "cmyk": jpeg(COLOR, "CMYK"),
    "progressive cmyk": jpeg(COLOR, "CMYK", progressive=True),
    "odd size": jpeg(GRAY[:91, :77]),
    "blank lower half": jpeg(np.vstack([GRAY, np.zeros_like(GRAY)]), optimize=True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_undamaged_image_equals_pillows_decoding(name: str) -> None:
    data = WHOLE[name]
    assert find_damage(read_structure(data)) is None
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(
        np.dstack([frame(data)] * 3)[..., :3] if frame(data).ndim == 2 else frame(data), shown
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"another program's notes",
        lambda data: data[:-2] + b"\xff\xff\xff" + data[-2:],
        lambda data: data[:-2] + bytes(300) + data[-2:],
        lambda data: data[:2] + b"\xff\xfe\x00\x04ab" + b"\0\0\0" + data[2:],
        lambda data: data.replace(b"JFIF\x00\x01\x01", b"JFIF\x00\x09\x09"),
    ],
    ids=["bytes after the end", "fill bytes", "zeros before the end", "bytes between segments", "unknown JFIF version"],
)
def test_unusual_bytes_outside_the_image_are_accepted(change: object) -> None:
    assert callable(change)
    np.testing.assert_array_equal(frame(change(jpeg())), frame(jpeg()))


@pytest.mark.parametrize(
    ("marker", "bits", "kind"),
    [(0xF7, 8, "JPEG-LS"), (0xC3, 8, "lossless JPEG"), (0xC5, 8, "hierarchical JPEG"), (0xC1, 12, "JPEG of 12 bits")],
)
def test_kinds_of_jpeg_without_a_decoder_are_named(marker: int, bits: int, kind: str) -> None:
    data = bytearray(jpeg())
    frame_at = data.index(b"\xff\xc0")
    data[frame_at + 1], data[frame_at + 4] = marker, bits
    refusal = rejected(bytes(data))
    assert refusal.reason is RejectionReason.UNSUPPORTED_FORMAT and kind in refusal.detail


def test_jpeg_ls_after_other_segments_is_named() -> None:
    data = b"\xff\xd8\xff\xe8\x00\x08SPIFF\x00" + b"\xff\xf7\x00\x0b\x08\x00\xa0\x00\x80\x01\x01\x11\x00" + bytes(500)
    assert rejected(data).reason is RejectionReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("count", [101, 24_000])
def test_too_many_scans_are_refused_without_decoding(count: int) -> None:
    data = jpeg(progressive=True)
    last = read_structure(data).scans[-1]
    scan = b"\xff\xda" + data[last.start : last.end] + b"\x55"
    started = time.process_time()
    refusal = rejected(data[:-2] + scan * count + b"\xff\xd9")
    assert time.process_time() - started < 1
    assert refusal.reason is RejectionReason.CORRUPT and "more than 100 scans" in refusal.detail


def test_large_image_may_have_fewer_scans() -> None:
    data = jpeg(np.zeros((5000, 8000), np.uint8), progressive=True)
    last = read_structure(data).scans[-1]
    scan = b"\xff\xda" + data[last.start : last.scan_end]
    assert "more than 25 scans" in rejected(data[:-2] + scan * 30 + b"\xff\xd9").detail


@pytest.mark.parametrize("length", [4, 5, 6, 7])
def test_jpeg_cut_in_its_frame_header_is_truncated(length: int) -> None:
    header = b"\xff\xd8\xff\xc0\x00\x11\x08\x01\x00"
    assert rejected(header[:length]).reason is RejectionReason.TRUNCATED
