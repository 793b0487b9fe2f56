"""Decoders that fail at files that end in a word, for guarded processes to import by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from braintumor.imaging.frames import Decoded, Limits, decode
from braintumor.imaging.rejection import Rejection


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
