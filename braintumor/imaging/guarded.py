"""What a guarded process runs: ``python -m braintumor.imaging.guarded``, started by ``guard`` alone.

One file after the other: its bytes are in the shared file, its prepared frames go there, and only their lengths pass
through the socket, so that neither side ever waits for the other to empty a pipe.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from braintumor.imaging.frames import Decoded, Limits
from braintumor.imaging.picture import DrawnFrame, draw_frame
from braintumor.imaging.prepared import PreparedFile, prepare_file
from braintumor.imaging.rejection import Rejection, RejectionReason

Decode = Callable[..., Decoded | Rejection]
Found = PreparedFile | DrawnFrame | Rejection

_IMPORTED = ("braintumor.imaging.raster", "braintumor.imaging.dicom")
"""The usual formats' decoders: imported while the worker loads its model, not with the first file."""


READY = "ready"
"""The first message to the parent."""


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


def main(socket: int, lifeline: int, shared: int, memory: int, decode: str) -> None:
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
    connection = Connection(socket)
    connection.send(READY)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        connection.send(_answer(request, shared, function if request.frame is None else kept))


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


def _answer(request: Request, shared: int, decode: Decode) -> list[int] | RejectionReason:
    """The lengths of what lies in the shared file now."""
    try:
        data = os.pread(shared, request.length, 0)
        return write(shared, _found(data, request, decode))
    except MemoryError:
        return RejectionReason.DECODER_OUT_OF_MEMORY


def _found(data: bytes, request: Request, decode: Decode) -> Found:
    if request.frame is None:
        return prepare_file(data, size=request.size, limits=request.limits, decode=decode)
    return draw_frame(data, frame=request.frame, size=request.size, limits=request.limits, decode=decode)


def write(shared: int, value: Found) -> list[int]:
    """Put a value into the shared file: its pickle, and behind it the arrays' bytes; returns their lengths."""
    arrays: list[pickle.PickleBuffer] = []
    parts: list[Any] = [pickle.dumps(value, protocol=5, buffer_callback=arrays.append)]
    parts += [array.raw() for array in arrays]
    at, lengths = 0, []
    for part in parts:
        lengths.append(len(part))
        at += os.pwrite(shared, part, at)
    if at != sum(lengths):
        raise MemoryError("the shared file is full")
    return lengths


def read(shared: int, lengths: Sequence[int]) -> Found:
    """The value that ``write`` put there."""
    at, parts = 0, []
    for length in lengths:
        part = bytearray(length)
        at += os.preadv(shared, [part], at)
        parts.append(part)
    value: Found = pickle.loads(parts[0], buffers=parts[1:])
    return value


if __name__ == "__main__":
    _socket, _lifeline, _shared, _memory = map(int, sys.argv[1:5])
    main(_socket, _lifeline, _shared, _memory, sys.argv[5])
