"""A decoder process that a file has taken over sends what it likes: the worker runs none of it and stays alive."""

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

from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import DicomIdentity, Limits
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
IDENTITY = DicomIdentity(
    study_instance_uid="1.2.3", series_instance_uid='"quoted"\n\0', sop_instance_uid="", patient_id="Müller^Jörg 山田"
)
PREPARED = {
    "kind": "prepared", "format": "png", "pixel_sha256": "a" * 64, "content_sha256": "b" * 64, "indexes": [0, 7],
    "is_volume": True, "dicom": None, "dtype": "uint8", "shape": [2, SIZE, SIZE, 3], "byte_count": PIXELS.nbytes,
}  # fmt: skip
PICTURE = png_of(np.random.default_rng(2).integers(0, 256, (40, 40), dtype=np.uint8))
DRAWN = {"kind": "drawn", "width": 40, "height": 40, "byte_count": len(PICTURE)}
REJECTED = {"kind": "rejected", "reason": "corrupt", "detail": "broken"}


class Payload:
    """Makes a folder where it is unpickled."""

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
    """A file that has its decoder send a reply."""
    return b"x reply:" + b64encode(json.dumps({"sent": sent.hex(), "stored": stored.hex()}).encode())


def as_the_library_frames(payload: bytes) -> tuple[bytes, bytes]:
    """A pickle in the shared file, and its length in a pickle as ``multiprocessing.Connection`` sends it."""
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
def test_a_pickle_from_a_decoder_runs_nothing_and_its_process_ends(
    attack: Callable[[bytes], tuple[bytes, bytes]], tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    sent, left = attack(pickle.dumps(Payload(mark)))
    with DecoderPool(processes=1, seconds=20, decode="tests.imaging.bad_decoders:replying") as pool:
        found = pool.read(ordered(sent, left), size=SIZE)
        assert found == Rejection(
            reason=RejectionReason.DECODER_CRASHED, detail="3 decoding processes ended by an invalid reply"
        )
        assert isinstance(pool.read(png(), size=SIZE), PreparedFile), "the next file is read"
    assert not mark.exists()


@pytest.mark.parametrize("sent", [framed(b"{}")[:3], framed(b"{}")[:5], b""], ids=["in its length", "in it", "none"])
def test_a_reply_that_stops_in_the_middle_is_a_timeout(sent: bytes) -> None:
    with DecoderPool(processes=1, seconds=1, decode="tests.imaging.bad_decoders:replying") as pool:
        found = pool.read(ordered(sent), size=SIZE)
    assert isinstance(found, Rejection) and found.reason is RejectionReason.DECODER_TIMEOUT


@pytest.mark.parametrize("length", [MOST_HEADER_BYTES + 1, 2**32 - 1])
def test_a_reply_that_says_it_is_very_long_is_not_waited_for(length: int) -> None:
    with DecoderPool(processes=1, seconds=60, decode="tests.imaging.bad_decoders:replying") as pool:
        found = pool.read(ordered(struct.pack("<I", length)), size=SIZE)
    assert isinstance(found, Rejection) and found.detail == "3 decoding processes ended by an invalid reply"


def test_a_valid_header_is_read(shared: int) -> None:
    found = read_reply(json.dumps(PREPARED).encode(), stored(shared, PIXELS.tobytes()), REQUEST)
    assert isinstance(found, PreparedFile)
    assert (found.format, found.pixel_sha256, found.scan.content_sha256) == ("png", "a" * 64, "b" * 64)
    assert (found.scan.indexes, found.scan.is_volume, found.dicom) == ((0, 7), True, None)
    assert np.array_equal(found.scan.pixels, PIXELS)
    picture = read_reply(json.dumps(DRAWN).encode(), stored(shared, PICTURE), DRAWING)
    assert picture == DrawnFrame(png=PICTURE, width=40, height=40)
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
        ({"width": 41}, PICTURE), ({"height": 0}, PICTURE), ({"byte_count": len(PICTURE) + 1}, PICTURE),
        ({"byte_count": 8}, PICTURE), ({"byte_count": 2**31 - 1}, PICTURE), ({"width": float("nan")}, PICTURE),
        ({}, b"<svg onload='alert(1)'>".ljust(len(PICTURE))), ({}, PICTURE[:-1]),
    ],
    ids=str,
)  # fmt: skip
def test_a_picture_that_is_not_what_its_header_says_is_refused(
    shared: int, change: dict[str, Any], data: bytes
) -> None:
    with pytest.raises(ReplyError):
        read_reply(json.dumps(DRAWN | change).encode(), stored(shared, data), DRAWING)


def test_a_picture_larger_than_was_asked_for_is_refused(shared: int) -> None:
    with pytest.raises(ReplyError, match="Allowed: 39 a side"):
        read_reply(json.dumps(DRAWN).encode(), stored(shared, PICTURE), replace(DRAWING, size=39))


@pytest.mark.parametrize(
    ("header", "request_"), [(PREPARED, DRAWING), (DRAWN, REQUEST), ({"kind": "ready"}, REQUEST)], ids=str
)
def test_the_answer_to_another_question_is_refused(shared: int, header: dict[str, Any], request_: Request) -> None:
    with pytest.raises(ReplyError, match="does not answer the request"):
        read_reply(json.dumps(header).encode(), stored(shared, PIXELS.tobytes()), request_)


@pytest.mark.parametrize(
    "change", [{"reason": "unknown"}, {"detail": "a\0b"}, {"detail": "a\nb"}, {"detail": "x" * 1_001}, {"detail": None}]
)
def test_a_rejection_that_postgres_or_a_reader_cannot_take_is_refused(shared: int, change: dict[str, Any]) -> None:
    with pytest.raises(ReplyError):
        read_reply(json.dumps(REJECTED | change).encode(), shared, REQUEST)


def test_an_error_quotes_nothing_of_the_reply(shared: int) -> None:
    header = PREPARED | {"dicom": {"patient_id": "Jane Doe"}, "Jane": "Doe"}
    with pytest.raises(ReplyError) as caught:
        read_reply(json.dumps(header).encode(), shared, REQUEST)
    assert "Jane" not in str(caught.value) and caught.value.__cause__ is None


def prepared(identity: DicomIdentity | None) -> PreparedFile:
    scan = PreparedScan(pixels=PIXELS, indexes=(3, 9), is_volume=True, content_sha256=sha256(b"").hexdigest())
    return PreparedFile(format="dicom", pixel_sha256=sha256(b"1").hexdigest(), scan=scan, dicom=identity)


@pytest.mark.parametrize("identity", [None, IDENTITY])
def test_what_a_decoder_writes_is_what_the_worker_reads(shared: int, identity: DicomIdentity | None) -> None:
    value = prepared(identity)
    found = read_reply(write_reply(shared, value), shared, REQUEST)
    assert isinstance(found, PreparedFile) and found.dicom == identity
    assert (found.format, found.pixel_sha256) == (value.format, value.pixel_sha256)
    assert (found.scan.indexes, found.scan.content_sha256) == (value.scan.indexes, value.scan.content_sha256)
    assert np.array_equal(found.scan.pixels, PIXELS)


@pytest.mark.parametrize("value", [Rejection(reason=RejectionReason.TRUNCATED, detail="1 of 2 µm")])
def test_a_rejection_passes_unchanged(shared: int, value: DecodeResult) -> None:
    assert read_reply(write_reply(shared, value), shared, REQUEST) == value


def test_a_request_passes_unchanged() -> None:
    assert Request.from_json(DRAWING.to_json()) == DRAWING
    assert Request.from_json(REQUEST.to_json()) == REQUEST
