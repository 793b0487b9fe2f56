"""Define decoders that fail at files with a certain last word. Decoder processes import them by name."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from base64 import b64decode
from pathlib import Path

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Decoded, Limits


def by_last_word(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Fail in the way that the last word of the file names."""
    word = data.rpartition(b" ")[2]
    if word == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == b"abort":
        os.abort()
    if word == b"exit":
        os._exit(7)
    if word == b"hang":
        time.sleep(600)
    if word == b"spin":
        hold_the_interpreter()
    if word == b"allocate":
        bytearray(2 * 1024**3)  # any machine allocates this until it is written to
    if word == b"chat":
        os.write(1, b"Jane Doe\n")
        os.write(2, b"Jane Doe\n")
    return decode(data, limits=limits)


def counting(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Append a byte to the file that the last word names, at each call."""
    with Path(os.fsdecode(data.rpartition(b" ")[2])).open("ab") as note:
        note.write(b".")
    return decode(data, limits=limits)


def hanging(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Append a byte to the file that the last word names, and hang. Decode other files as usual."""
    note = Path(os.fsdecode(data.rpartition(b" ")[2]))
    if note.is_absolute():
        with note.open("ab") as stream:
            stream.write(b".")
        time.sleep(600)
    return decode(data, limits=limits)


def short_of_memory(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Append a byte to the file that the last word names, and run out of memory. Later calls take 1.5 s."""
    note = Path(os.fsdecode(data.rpartition(b" ")[2]))
    if note.is_absolute():
        is_first = not note.exists()
        with note.open("ab") as stream:
            stream.write(b".")
        time.sleep(0 if is_first else 1.5)
        raise MemoryError
    return decode(data, limits=limits)


def replying(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Send the reply that the last word contains as JSON in base64, as a compromised decoder can.

    ``sent`` goes unchanged through the socket, and ``stored`` into the shared file. Both are in hexadecimal digits.
    """
    word = data.rpartition(b" ")[2]
    if not word.startswith(b"reply:"):
        return decode(data, limits=limits)
    reply = json.loads(b64decode(word.removeprefix(b"reply:")))
    descriptor, shared = int(sys.argv[1]), int(sys.argv[3])
    os.ftruncate(shared, 0)
    os.pwrite(shared, bytes.fromhex(reply["stored"]), 0)
    os.write(descriptor, bytes.fromhex(reply["sent"]))
    time.sleep(600)
    raise AssertionError


def by_note(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Hang if the last word names a file that does not exist, and create it with the process ID."""
    note = Path(os.fsdecode(data.rpartition(b" ")[2]))
    if note.is_absolute() and not note.exists():
        note.write_text(str(os.getpid()))
        time.sleep(600)
    return decode(data, limits=limits)


def hold_the_interpreter() -> None:
    """Run C code that blocks other threads and Python's signal handlers."""
    sum(iter(int, 1))
