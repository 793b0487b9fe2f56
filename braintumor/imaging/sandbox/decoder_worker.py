"""Run a decoder process: ``python -m braintumor.imaging.sandbox.decoder_worker``. Only ``decoder_process`` starts it.

The parent process writes the bytes of a file to a shared file in memory. The decoder process writes the prepared frames
to the same shared file. Requests and replies are small JSON texts that pass through a socket, each after its length.
The parent process checks the replies with the module ``reply``.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from socket import socket
from typing import Any

import numpy as np

from braintumor.imaging.decoding.dicom_header import DicomHeader
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.model_input import PreparedFile, decode_file
from braintumor.imaging.render import DrawnFrame, draw_frame

Decode = Callable[..., Decoded | Rejection]
DecodeResult = PreparedFile | DrawnFrame | Rejection

_IMPORTED = ("braintumor.imaging.decoding.raster", "braintumor.imaging.decoding.dicom.reader", "scipy.sparse.csgraph")
"""Modules of the usual decoders and of text detection. The process imports them at its start, before the first file."""

MOST_HEADER_BYTES = 256 * 1024
"""Largest number of bytes in a request or reply. The DICOM standard allows identifiers of 64 characters each."""
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to decode the file of ``length`` bytes at the beginning of the shared file.

    If ``frame`` is ``None``, the process prepares frames as model input with ``size`` pixels per side. Otherwise the
    process draws the frame at index ``frame`` as a PNG. ``size`` is then the longest side of the PNG, or 0 to keep the
    frame's size.
    """

    length: int
    size: int
    limits: Limits
    frame: int | None = None

    def to_json(self) -> bytes:
        """Return the request as the message that passes through the socket."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, message: bytes) -> Request:
        """Read a request from the message that ``to_json`` returned."""
        values = json.loads(message)
        return cls(**values | {"limits": Limits(**values["limits"])})


def send(connection: socket, message: bytes) -> None:
    """Send the length of a message (4 bytes, little endian), then the message."""
    connection.sendall(_LENGTH.pack(len(message)) + message)


def receive(connection: socket, *, most: int, seconds: float | None = None) -> bytes:
    """Receive one whole message, as ``send`` sends it.

    Args:
        connection: socket to the other process.
        most: largest allowed number of bytes in the message.
        seconds: time limit. ``None`` waits without a limit.

    Raises:
        EOFError: the other process ended.
        TimeoutError: the message was not complete in time.
        ValueError: the message is longer than ``most``.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    (length,) = _LENGTH.unpack(_receive(connection, _LENGTH.size, deadline))
    if length > most:
        raise ValueError(f"A message has {length} bytes. Allowed: {most}.")
    return _receive(connection, length, deadline)


def _receive(connection: socket, count: int, deadline: float | None) -> bytes:
    message = b""
    while len(message) < count:
        if deadline is not None:
            connection.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = connection.recv(count - len(message))
        if not part:
            raise EOFError
        message += part
    return message


def main(descriptor: int, lifeline: int, shared: int, memory: int, decode: str) -> None:
    """Decode files for the parent process until the parent ends.

    Args:
        descriptor: descriptor of the socket for requests and replies.
        lifeline: descriptor of the read end of a pipe. The parent's end of the pipe closes when the parent ends.
        shared: descriptor of the shared file.
        memory: bytes that this process may map.
        decode: ``module:function`` that decodes a file.
    """
    _end_with_parent(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    module, _, name = decode.partition(":")
    function = getattr(import_module(module), name)
    for each in _IMPORTED:
        import_module(each)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)  # a core file would contain a patient's image and name
    _discard_output()
    cached = lru_cache(maxsize=1)(function)  # a reviewer views slice after slice of one volume
    connection = socket(fileno=descriptor)
    send(connection, _header("ready"))
    while True:
        try:
            request = Request.from_json(receive(connection, most=MOST_HEADER_BYTES))
        except EOFError:
            return
        send(connection, _reply(request, shared, function if request.frame is None else cached))


def _end_with_parent(lifeline: int) -> None:
    """Let the kernel end this process when the parent ends. The parent's end of the pipe closes, which causes a SIGIO.

    ``PR_SET_PDEATHSIG`` would not work, because it fires at the end of the thread that started this process. A thread
    that waits for the pipe's end would not work, because a hanging decoder may hold the interpreter lock.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _limit(kind: int, most: int) -> None:
    _, allowed = resource.getrlimit(kind)
    value = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
    resource.setrlimit(kind, (value, value))


def _discard_output() -> None:
    """Discard standard output and error, because C libraries write messages there that may quote the file."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


def _reply(request: Request, shared: int, decode: Decode) -> bytes:
    """Decode the file, write its arrays to the shared file, and return the header of the reply."""
    try:
        data = os.pread(shared, request.length, 0)
        header = write_reply(shared, _result(data, request, decode))
    except MemoryError:
        return _header("out_of_memory")
    if len(header) > MOST_HEADER_BYTES:
        too_long = Rejection(RejectionReason.CORRUPT, "an identifier in the header is too long")
        return write_reply(shared, too_long)
    return header


def _result(data: bytes, request: Request, decode: Decode) -> DecodeResult:
    if request.frame is None:
        return decode_file(data, size=request.size, limits=request.limits, decode=decode)
    return draw_frame(data, frame=request.frame, size=request.size, limits=request.limits, decode=decode)


def write_reply(shared: int, value: DecodeResult) -> bytes:
    """Write the arrays of a result to the shared file, and return the header that describes them.

    Raises:
        MemoryError: the shared file is full.
    """
    if isinstance(value, Rejection):
        return _header("rejected", reason=value.reason, detail=value.detail, dicom=_dicom(value.dicom))
    if isinstance(value, DrawnFrame):
        length = _write(shared, value.png)
        return _header("drawn", width=value.width, height=value.height, byte_count=length)
    pixels = np.ascontiguousarray(value.scan.pixels)
    return _header(
        "prepared",
        format=value.format,
        pixel_sha256=value.pixel_sha256,
        content_sha256=value.scan.content_sha256,
        indexes=[int(index) for index in value.scan.indexes],
        is_volume=bool(value.scan.is_volume),
        dicom=_dicom(value.dicom),
        dtype=str(pixels.dtype),
        shape=pixels.shape,
        byte_count=_write(shared, pixels.data.cast("B")),
    )


def _dicom(header: DicomHeader | None) -> dict[str, Any] | None:
    return None if header is None else asdict(header)


def _header(kind: str, **values: Any) -> bytes:
    return json.dumps({"kind": kind, **values}, allow_nan=False).encode()


def _write(shared: int, array: bytes | memoryview) -> int:
    if os.pwrite(shared, array, 0) != len(array):
        raise MemoryError("the shared file is full")
    return len(array)


if __name__ == "__main__":
    _descriptor, _lifeline, _shared, _memory = map(int, sys.argv[1:5])
    main(_descriptor, _lifeline, _shared, _memory, sys.argv[5])
