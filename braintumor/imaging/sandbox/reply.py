"""Check the reply of a decoder process, and read the reply's arrays from the shared file.

The parent of the decoder process runs this module. A hostile file can take over a decoder, so the parent validates the
JSON header before it uses any value. It unpickles nothing. It derives the length of the frames from its own request,
and limits the length of a PNG.
"""

from __future__ import annotations

import math
import os
import struct
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from braintumor.imaging.decoding.dicom_header import ATTRIBUTE_PATTERN, DicomHeader, ScanAttributes
from braintumor.imaging.decoding.formats import Format
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.model_input import PreparedFile, PreparedScan
from braintumor.imaging.render import DrawnFrame
from braintumor.imaging.sandbox.decoder_worker import DecodeResult, Request

_PNG_START = struct.Struct(">8sI4sII")
"""Signature of a PNG, then length, name, width and height of its first chunk."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_PNG_BYTES_PER_PIXEL = 4
"""Limit of a PNG's size: 3 bytes for the channels, and 1 byte for zlib's blocks and the filter byte of each row."""
_PNG_OVERHEAD = 64 * 1024

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Index = Annotated[int, Field(ge=0, lt=2**31)]  # a column of type integer stores it
_Length = Annotated[int, Field(gt=0, lt=2**31)]
_Attribute = Annotated[str, Field(pattern=ATTRIBUTE_PATTERN)]
_Detail = Annotated[str, Field(max_length=1_000, pattern=r"^\P{C}*$")]  # Postgres refuses NUL in a text


class ReplyError(Exception):
    """An invalid reply of a decoder process. The text never quotes the reply, because a reply can name a patient."""


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Ready(_Header):
    kind: Literal["ready"]


class _OutOfMemory(_Header):
    kind: Literal["out_of_memory"]


class _Attributes(_Header):
    manufacturer: _Attribute | None
    device_model: _Attribute | None
    field_strength: _Attribute | None
    sequence_family: _Attribute | None
    age_band: _Attribute | None
    sex: _Attribute | None


class _Dicom(_Header):
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    institution_name: str
    station_name: str
    attributes: _Attributes


class _Rejected(_Header):
    kind: Literal["rejected"]
    reason: RejectionReason
    detail: _Detail
    dicom: _Dicom | None = None


class _Prepared(_Header):
    kind: Literal["prepared"]
    format: Format
    pixel_sha256: _Sha256
    content_sha256: _Sha256
    indexes: tuple[_Index, ...]
    is_volume: bool
    dicom: _Dicom | None
    dtype: Literal["uint8"]
    shape: tuple[_Length, _Length, _Length, _Length]
    byte_count: _Length


class _Drawn(_Header):
    kind: Literal["drawn"]
    width: _Length
    height: _Length
    byte_count: _Length


_AnyHeader = _Ready | _OutOfMemory | _Rejected | _Prepared | _Drawn
_HEADERS: TypeAdapter[_AnyHeader] = TypeAdapter(Annotated[_AnyHeader, Field(discriminator="kind")])


def is_ready(message: bytes) -> bool:
    """Return whether a message says that the process is ready. Raises ``ReplyError`` for an invalid header."""
    return isinstance(_parse(message), _Ready)


def read_reply(message: bytes, shared: int, request: Request) -> DecodeResult | RejectionReason:
    """Return the result of a request from the header ``message`` and the arrays in the shared file.

    ``shared`` is the descriptor of the shared file.

    Raises:
        ReplyError: the header is invalid or does not fit the request, or the file does not contain the arrays.
    """
    header = _parse(message)
    if isinstance(header, _OutOfMemory):
        return RejectionReason.DECODER_OUT_OF_MEMORY
    if isinstance(header, _Rejected):
        return Rejection(header.reason, header.detail, dicom=_dicom(header.dicom))
    if isinstance(header, _Prepared) and request.frame is None:
        return _read_prepared(header, shared, request)
    if isinstance(header, _Drawn) and request.frame is not None:
        return _read_drawn(header, shared, request)
    raise ReplyError(f"The reply is of kind {header.kind!r}, which does not fit the request.")


def _parse(message: bytes) -> _AnyHeader:
    try:
        return _HEADERS.validate_json(message)
    except ValidationError as error:
        wrong = ", ".join(sorted({each["type"] for each in error.errors(include_url=False, include_input=False)}))
        raise ReplyError(f"The header of the reply is invalid: {wrong}.") from None


def _read_prepared(header: _Prepared, shared: int, request: Request) -> PreparedFile:
    count = len(header.indexes)
    if not 1 <= count <= request.limits.max_scored_frames:
        raise ReplyError(f"The reply has {count} frames. Allowed: 1 to {request.limits.max_scored_frames}.")
    if any(later <= earlier for earlier, later in zip(header.indexes, header.indexes[1:], strict=False)):
        raise ReplyError("The indexes of the frames are not in ascending order.")
    expected = (count, request.size, request.size, 3)
    if header.shape != expected or header.byte_count != math.prod(expected):
        raise ReplyError(f"The frames have shape {header.shape} in {header.byte_count} bytes. Expected: {expected}.")
    pixels = _read_bytes(shared, header.byte_count).reshape(expected)
    return PreparedFile(
        format=header.format,
        pixel_sha256=header.pixel_sha256,
        scan=PreparedScan(
            pixels=pixels, indexes=header.indexes, is_volume=header.is_volume, content_sha256=header.content_sha256
        ),
        dicom=_dicom(header.dicom),
    )


def _dicom(header: _Dicom | None) -> DicomHeader | None:
    if header is None:
        return None
    attributes = ScanAttributes(**header.attributes.model_dump())
    return DicomHeader(**header.model_dump(exclude={"attributes"}), attributes=attributes)


def _read_drawn(header: _Drawn, shared: int, request: Request) -> DrawnFrame:
    allowed = _MOST_PNG_BYTES_PER_PIXEL * request.limits.max_pixels + _PNG_OVERHEAD
    if not _PNG_START.size <= header.byte_count <= allowed:
        raise ReplyError(f"The image has {header.byte_count} bytes. Allowed: {_PNG_START.size} to {allowed}.")
    if request.size and max(header.width, header.height) > request.size:
        raise ReplyError(f"The image has {header.width} x {header.height} pixels. Allowed: {request.size} a side.")
    png = _read_bytes(shared, header.byte_count).tobytes()
    signature, _, name, width, height = _PNG_START.unpack_from(png)
    if (signature, name, width, height) != (_PNG_SIGNATURE, b"IHDR", header.width, header.height):
        raise ReplyError(f"The image is not a PNG of {header.width} x {header.height} pixels.")
    return DrawnFrame(png=png, width=width, height=height)


def _read_bytes(shared: int, count: int) -> NDArray[np.uint8]:
    result = np.empty(count, np.uint8)
    at = 0
    while at < count:  # Linux reads 2 GiB at most in one call
        read = os.preadv(shared, [result[at:].data], at)
        if read == 0:
            raise ReplyError(f"The shared file holds {at} of the {count} bytes that the header states.")
        at += read
    return result
