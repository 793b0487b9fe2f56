"""Decoders that fail at files that end in a word, for guarded processes to import by name."""

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
    """Do what the last word of the file says."""
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
        bytearray(2 * 1024**3)  # which any machine gives, until it is written to
    if word == b"chat":
        os.write(1, b"Jane Doe\n")
        os.write(2, b"Jane Doe\n")
    return decode(data, limits=limits)


def counting(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Lengthen the file that the last word names by a byte each time."""
    with Path(os.fsdecode(data.rpartition(b" ")[2])).open("ab") as note:
        note.write(b".")
    return decode(data, limits=limits)


def hanging(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Lengthen the file that the last word names by a byte each time, and hang. Decode other files as usual."""
    note = Path(os.fsdecode(data.rpartition(b" ")[2]))
    if note.is_absolute():
        with note.open("ab") as stream:
            stream.write(b".")
        time.sleep(600)
    return decode(data, limits=limits)


def short_of_memory(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Lengthen the file that the last word names by a byte each time, and run out of memory, slowly after the first."""
    note = Path(os.fsdecode(data.rpartition(b" ")[2]))
    if note.is_absolute():
        is_first = not note.exists()
        with note.open("ab") as stream:
            stream.write(b".")
        time.sleep(0 if is_first else 1.5)
        raise MemoryError
    return decode(data, limits=limits)


def replying(data: bytes, *, limits: Limits) -> Decoded | Rejection:
    """Send the reply that the last word holds as JSON in base64, as a decoder that was taken over can.

    ``sent`` goes through the socket as it is, ``stored`` into the shared file: both in hexadecimal digits.
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
    """Wait as long as the last word names a file that is not there, which is made to say that it has begun."""
    note = Path(os.fsdecode(data.rpartition(b" ")[2]))
    if note.is_absolute() and not note.exists():
        note.write_text(str(os.getpid()))
        time.sleep(600)
    return decode(data, limits=limits)


def hold_the_interpreter() -> None:
    """In C code that neither lets another thread run nor looks at a signal's Python handler."""
    sum(iter(int, 1))
