"""What a guarded process runs: ``python -m braintumor.imaging.sandbox.decoder_worker``, started by ``guard`` alone.

One file after the other: its bytes are in the shared file, and its prepared frames go there. A request and a reply are
small JSON texts that pass through a socket, each after its length. ``reply`` checks the replies for the worker.
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

from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.model_input import PreparedFile, decode_file
from braintumor.imaging.render import DrawnFrame, draw_frame

Decode = Callable[..., Decoded | Rejection]
DecodeResult = PreparedFile | DrawnFrame | Rejection

_IMPORTED = ("braintumor.imaging.decoding.raster", "braintumor.imaging.decoding.dicom.reader")
"""The usual formats' decoders: imported while the worker loads its model, not with the first file."""

MOST_HEADER_BYTES = 256 * 1024
"""A longer header is refused. Identifiers of a DICOM object have 64 characters each by its standard."""
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A file whose bytes are at the beginning of the shared file.

    ``size`` is the side that all its frames are prepared to; with ``frame``, that one is drawn no larger, and 0 means
    as large as it is.
    """

    length: int
    size: int
    limits: Limits
    frame: int | None = None

    def to_json(self) -> bytes:
        """Write the request as it passes through the socket."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, message: bytes) -> Request:
        """Read what ``to_json`` wrote."""
        values = json.loads(message)
        return cls(**values | {"limits": Limits(**values["limits"])})


def send(connection: socket, message: bytes) -> None:
    """Send a message after its length."""
    connection.sendall(_LENGTH.pack(len(message)) + message)


def receive(connection: socket, *, most: int, seconds: float | None = None) -> bytes:
    """Receive one whole message of at most ``most`` bytes within ``seconds``.

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
    found = b""
    while len(found) < count:
        if deadline is not None:
            connection.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = connection.recv(count - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def main(descriptor: int, lifeline: int, shared: int, memory: int, decode: str) -> None:
    """Decode what the parent asks for until it is gone. The first four are descriptors and a number of bytes."""
    _end_with_parent(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to act on
    module, _, name = decode.partition(":")
    function = getattr(import_module(module), name)
    for each in _IMPORTED:
        import_module(each)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)  # a core would hold a patient's image and name
    _silence()
    kept = lru_cache(maxsize=1)(function)  # a reader moves through the slices of one volume
    connection = socket(fileno=descriptor)
    send(connection, _header("ready"))
    while True:
        try:
            request = Request.from_json(receive(connection, most=MOST_HEADER_BYTES))
        except EOFError:
            return
        send(connection, _answer(request, shared, function if request.frame is None else kept))


def _end_with_parent(lifeline: int) -> None:
    """Let the kernel end this process once the parent has closed its end of the pipe, as it does however it dies.

    ``PR_SET_PDEATHSIG`` is no way: it fires at the end of the thread that started this process. A thread that waits
    here for the pipe's end is none either: a decoder that hangs may hold the interpreter.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _limit(kind: int, most: int) -> None:
    _, allowed = resource.getrlimit(kind)
    value = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
    resource.setrlimit(kind, (value, value))


def _silence() -> None:
    """C libraries write to the descriptors what they think of a file, and may quote it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


def _answer(request: Request, shared: int, decode: Decode) -> bytes:
    """Decode the file, put its arrays into the shared file, and return the header of the reply."""
    try:
        data = os.pread(shared, request.length, 0)
        header = write_reply(shared, _found(data, request, decode))
    except MemoryError:
        return _header("out_of_memory")
    if len(header) > MOST_HEADER_BYTES:
        too_long = Rejection(reason=RejectionReason.CORRUPT, detail="an identifier in the header is too long")
        return write_reply(shared, too_long)
    return header


def _found(data: bytes, request: Request, decode: Decode) -> DecodeResult:
    if request.frame is None:
        return decode_file(data, size=request.size, limits=request.limits, decode=decode)
    return draw_frame(data, frame=request.frame, size=request.size, limits=request.limits, decode=decode)


def write_reply(shared: int, value: DecodeResult) -> bytes:
    """Put the arrays of a value into the shared file, and return the header that describes them.

    Raises:
        MemoryError: the shared file is full.
    """
    if isinstance(value, Rejection):
        return _header("rejected", reason=value.reason, detail=value.detail)
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
        dicom=None if value.dicom is None else vars(value.dicom),
        dtype=str(pixels.dtype),
        shape=pixels.shape,
        byte_count=_write(shared, pixels.data.cast("B")),
    )


def _header(kind: str, **values: Any) -> bytes:
    return json.dumps({"kind": kind, **values}, allow_nan=False).encode()


def _write(shared: int, array: bytes | memoryview) -> int:
    if os.pwrite(shared, array, 0) != len(array):
        raise MemoryError("the shared file is full")
    return len(array)


if __name__ == "__main__":
    _descriptor, _lifeline, _shared, _memory = map(int, sys.argv[1:5])
    main(_descriptor, _lifeline, _shared, _memory, sys.argv[5])
