"""Test that the worker survives any reply of a compromised decoder process, and executes none."""

from __future__ import annotations

import json
import os
import pickle
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braintumor.imaging.decoding.dicom_header import DicomHeader, ScanAttributes
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import PreparedFile, PreparedScan
from braintumor.imaging.render import DrawnFrame
from braintumor.imaging.sandbox.decoder_pool import DecoderPool
from braintumor.imaging.sandbox.decoder_worker import MOST_HEADER_BYTES, DecodeResult, Request, write_reply
from braintumor.imaging.sandbox.reply import ReplyError, read_reply
from tests.images import png, png_of

SIZE = 32
REQUEST = Request(length=1, size=SIZE, limits=Limits())
DRAWING = replace(REQUEST, frame=0, size=0)
PIXELS = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
HEADER = DicomHeader(
    study_instance_uid="1.2.3", series_instance_uid='"quoted"\n\0', patient_id="Müller^Jörg 山田",
    station_name="山田", attributes=ScanAttributes(device_model="signa (tm) 1.5", sex="F"),
)  # fmt: skip
PREPARED = {
    "kind": "prepared", "format": "png", "pixel_sha256": "a" * 64, "content_sha256": "b" * 64, "indexes": [0, 7],
    "is_volume": True, "dicom": None, "dtype": "uint8", "shape": [2, SIZE, SIZE, 3], "byte_count": PIXELS.nbytes,
}  # fmt: skip
PNG = png_of(np.random.default_rng(2).integers(0, 256, (40, 40), dtype=np.uint8))
DRAWN = {"kind": "drawn", "width": 40, "height": 40, "byte_count": len(PNG)}
REJECTED = {"kind": "rejected", "reason": "corrupt", "detail": "broken"}


class Payload:
    """Create a folder when the pickle is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.fixture
def shared() -> Iterator[int]:
    descriptor = os.memfd_create("shared")
    yield descriptor
    os.close(descriptor)


def stored(shared: int, data: bytes) -> int:
    os.ftruncate(shared, 0)
    os.pwrite(shared, data, 0)
    return shared


def framed(message: bytes) -> bytes:
    return struct.pack("<I", len(message)) + message


def ordered(sent: bytes, stored: bytes = b"") -> bytes:
    """Return a file whose decoder sends this reply."""
    return b"x reply:" + b64encode(json.dumps({"sent": sent.hex(), "stored": stored.hex()}).encode())


def as_the_library_frames(payload: bytes) -> tuple[bytes, bytes]:
    """Return a pickle in the shared file, and its length as ``multiprocessing.Connection`` pickles it."""
    lengths = pickle.dumps([len(payload)])
    return struct.pack("!i", len(lengths)) + lengths, payload


@pytest.mark.parametrize(
    "attack",
    [
        as_the_library_frames,
        lambda payload: (struct.pack("!i", len(payload)) + payload, b""),
        lambda payload: (framed(payload), b""),
        lambda payload: (framed(json.dumps(PREPARED | {"byte_count": len(payload)}).encode()), payload),
    ],
    ids=["lengths and a stored pickle", "a sent pickle", "a framed pickle", "a stored pickle under a header"],
)
def test_pickled_reply_is_not_executed_and_process_ends(
    attack: Callable[[bytes], tuple[bytes, bytes]], tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    sent, left = attack(pickle.dumps(Payload(mark)))
    with DecoderPool(processes=1, seconds=20, decode="tests.imaging.bad_decoders:replying") as pool:
        result = pool.read(ordered(sent, left), size=SIZE)
        assert result == Rejection(
            reason=RejectionReason.DECODER_CRASHED, detail="3 decoding processes ended by an invalid reply"
        )
        assert isinstance(pool.read(png(), size=SIZE), PreparedFile), "the next file is read"
    assert not mark.exists()


@pytest.mark.parametrize("sent", [framed(b"{}")[:3], framed(b"{}")[:5], b""], ids=["in its length", "in it", "none"])
def test_incomplete_reply_is_a_timeout(sent: bytes) -> None:
    with DecoderPool(processes=1, seconds=1, decode="tests.imaging.bad_decoders:replying") as pool:
        result = pool.read(ordered(sent), size=SIZE)
    assert isinstance(result, Rejection) and result.reason is RejectionReason.DECODER_TIMEOUT


@pytest.mark.parametrize("length", [MOST_HEADER_BYTES + 1, 2**32 - 1])
def test_reply_with_too_large_stated_length_is_refused(length: int) -> None:
    with DecoderPool(processes=1, seconds=60, decode="tests.imaging.bad_decoders:replying") as pool:
        result = pool.read(ordered(struct.pack("<I", length)), size=SIZE)
    assert isinstance(result, Rejection) and result.detail == "3 decoding processes ended by an invalid reply"


def test_a_valid_header_is_read(shared: int) -> None:
    result = read_reply(json.dumps(PREPARED).encode(), stored(shared, PIXELS.tobytes()), REQUEST)
    assert isinstance(result, PreparedFile)
    assert (result.format, result.pixel_sha256, result.scan.content_sha256) == ("png", "a" * 64, "b" * 64)
    assert (result.scan.indexes, result.scan.is_volume, result.dicom) == ((0, 7), True, None)
    assert np.array_equal(result.scan.pixels, PIXELS)
    drawn = read_reply(json.dumps(DRAWN).encode(), stored(shared, PNG), DRAWING)
    assert drawn == DrawnFrame(png=PNG, width=40, height=40)
    rejection = read_reply(json.dumps(REJECTED).encode(), shared, DRAWING)
    assert rejection == Rejection(reason=RejectionReason.CORRUPT, detail="broken")


@pytest.mark.parametrize(
    "change",
    [
        {"byte_count": PIXELS.nbytes + 1}, {"byte_count": PIXELS.nbytes - 1}, {"byte_count": 0}, {"byte_count": -1},
        {"byte_count": 2**62}, {"byte_count": float("nan")}, {"byte_count": float(PIXELS.nbytes)},
        {"shape": [2, SIZE, SIZE]}, {"shape": [2, SIZE, SIZE, 3, 1]}, {"shape": [3, SIZE, SIZE, 3]},
        {"shape": [2, SIZE, SIZE, 1]}, {"shape": [10**12, SIZE, SIZE, 3]}, {"shape": [-2, -SIZE, SIZE, 3]},
        {"shape": [2, SIZE, float("inf"), 3]}, {"shape": [2, 2 * SIZE, SIZE // 2, 3]}, {"shape": "2"},
        {"dtype": "float32"}, {"dtype": "object"}, {"dtype": "|O"},
        {"indexes": []}, {"indexes": [0]}, {"indexes": [7, 0]}, {"indexes": [0, 0]}, {"indexes": [-1, 0]},
        {"indexes": [0, 2**31]}, {"indexes": [0, True]}, {"indexes": [0, "7"]}, {"indexes": None},
        {"is_volume": 1}, {"format": "exe"}, {"pixel_sha256": "A" * 64}, {"content_sha256": "b" * 63},
        {"content_sha256": None}, {"dicom": {}}, {"dicom": {"patient_id": "x"}}, {"dicom": "x"}, {"more": 1},
        {"kind": "drawn"}, {"kind": "pickle"}, {"kind": None}, {"kind": "ready"},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_with_one_wrong_value_is_refused(shared: int, change: dict[str, Any]) -> None:
    with pytest.raises(ReplyError):
        read_reply(json.dumps(PREPARED | change).encode(), stored(shared, PIXELS.tobytes()), REQUEST)


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b"null", b"\xff", b"ready", b'{"kind": NaN}', b"[" * 100_000])
def test_a_header_that_is_no_json_object_is_refused(shared: int, message: bytes) -> None:
    with pytest.raises(ReplyError):
        read_reply(message, shared, REQUEST)


@pytest.mark.parametrize("name", [name for name in PREPARED if name != "kind"])
def test_a_header_without_a_value_is_refused(shared: int, name: str) -> None:
    message = json.dumps({key: value for key, value in PREPARED.items() if key != name}).encode()
    with pytest.raises(ReplyError):
        read_reply(message, stored(shared, PIXELS.tobytes()), REQUEST)


def test_more_frames_than_are_scored_are_refused(shared: int) -> None:
    request = replace(REQUEST, limits=Limits(max_scored_frames=1))
    with pytest.raises(ReplyError, match=r"2 frames\. Allowed: 1 to 1"):
        read_reply(json.dumps(PREPARED).encode(), stored(shared, PIXELS.tobytes()), request)


@pytest.mark.parametrize("missing", [1, PIXELS.nbytes // 2, PIXELS.nbytes])
def test_a_shared_file_that_is_too_short_is_refused(shared: int, missing: int) -> None:
    data = PIXELS.tobytes()[: PIXELS.nbytes - missing]
    with pytest.raises(ReplyError, match=rf"holds {len(data)} of the {PIXELS.nbytes} bytes"):
        read_reply(json.dumps(PREPARED).encode(), stored(shared, data), REQUEST)


@pytest.mark.parametrize(
    ("change", "data"),
    [
        ({"width": 41}, PNG), ({"height": 0}, PNG), ({"byte_count": len(PNG) + 1}, PNG),
        ({"byte_count": 8}, PNG), ({"byte_count": 2**31 - 1}, PNG), ({"width": float("nan")}, PNG),
        ({}, b"<svg onload='alert(1)'>".ljust(len(PNG))), ({}, PNG[:-1]),
    ],
    ids=str,
)  # fmt: skip
def test_drawn_image_that_contradicts_its_header_is_refused(shared: int, change: dict[str, Any], data: bytes) -> None:
    with pytest.raises(ReplyError):
        read_reply(json.dumps(DRAWN | change).encode(), stored(shared, data), DRAWING)


def test_drawn_image_larger_than_requested_is_refused(shared: int) -> None:
    with pytest.raises(ReplyError, match="Allowed: 39 a side"):
        read_reply(json.dumps(DRAWN).encode(), stored(shared, PNG), replace(DRAWING, size=39))


@pytest.mark.parametrize(
    ("header", "request_"), [(PREPARED, DRAWING), (DRAWN, REQUEST), ({"kind": "ready"}, REQUEST)], ids=str
)
def test_reply_to_another_request_is_refused(shared: int, header: dict[str, Any], request_: Request) -> None:
    with pytest.raises(ReplyError, match="does not fit the request"):
        read_reply(json.dumps(header).encode(), stored(shared, PIXELS.tobytes()), request_)


@pytest.mark.parametrize(
    "change", [{"reason": "unknown"}, {"detail": "a\0b"}, {"detail": "a\nb"}, {"detail": "x" * 1_001}, {"detail": None}]
)
def test_rejection_with_invalid_text_is_refused(shared: int, change: dict[str, Any]) -> None:
    with pytest.raises(ReplyError):
        read_reply(json.dumps(REJECTED | change).encode(), shared, REQUEST)


def test_an_error_quotes_nothing_of_the_reply(shared: int) -> None:
    header = PREPARED | {"dicom": {"patient_id": "Jane Doe"}, "Jane": "Doe"}
    with pytest.raises(ReplyError) as caught:
        read_reply(json.dumps(header).encode(), shared, REQUEST)
    assert "Jane" not in str(caught.value) and caught.value.__cause__ is None


def prepared(header: DicomHeader | None) -> PreparedFile:
    scan = PreparedScan(pixels=PIXELS, indexes=(3, 9), is_volume=True, content_sha256=sha256(b"").hexdigest())
    return PreparedFile(format="dicom", pixel_sha256=sha256(b"1").hexdigest(), scan=scan, dicom=header)


@pytest.mark.parametrize("header", [None, HEADER])
def test_written_reply_is_read_unchanged(shared: int, header: DicomHeader | None) -> None:
    value = prepared(header)
    result = read_reply(write_reply(shared, value), shared, REQUEST)
    assert isinstance(result, PreparedFile) and result.dicom == header
    assert (result.format, result.pixel_sha256) == (value.format, value.pixel_sha256)
    assert (result.scan.indexes, result.scan.content_sha256) == (value.scan.indexes, value.scan.content_sha256)
    assert np.array_equal(result.scan.pixels, PIXELS)


@pytest.mark.parametrize("value", [Rejection(reason=RejectionReason.TRUNCATED, detail="1 of 2 µm")])
def test_a_rejection_passes_unchanged(shared: int, value: DecodeResult) -> None:
    assert read_reply(write_reply(shared, value), shared, REQUEST) == value


def test_a_rejection_keeps_the_header_of_its_object(shared: int) -> None:
    value = Rejection(reason=RejectionReason.TRUNCATED, detail="1 of 2 µm", dicom=HEADER)
    result = read_reply(write_reply(shared, value), shared, REQUEST)
    assert isinstance(result, Rejection) and result.dicom == HEADER


@pytest.mark.parametrize("model", ["", "jane^doe", "a\0", "x" * 33, "<b>", "a\n", 5])
def test_unsafe_attribute_in_a_reply_is_refused(shared: int, model: Any) -> None:
    header = json.loads(write_reply(shared, prepared(HEADER)))
    header["dicom"]["attributes"]["device_model"] = model
    with pytest.raises(ReplyError):
        read_reply(json.dumps(header).encode(), shared, REQUEST)


def test_a_request_passes_unchanged() -> None:
    assert Request.from_json(DRAWING.to_json()) == DRAWING
    assert Request.from_json(REQUEST.to_json()) == REQUEST
