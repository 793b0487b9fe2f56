"""Decode files in child processes: a decoder that crashes, hangs or wants too much memory ends its child, no night.

::

    guard = shared_guard()                       # starts its children and does not wait for them
    found = guard.read(data, size=224)           # safe in threads
    if isinstance(found, Rejection): ...
    else: found.scan.pixels, found.pixel_sha256

A file whose child failed is tried again in a fresh one, alone, while the other children rest: so what is killed from
outside, or was short of memory because of its neighbours, is not condemned. Why it is a child and what the bounds are:
docs/decisions/0025. It keeps a fault in; it is no prison for a decoder that has been taken over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Pipe
from queue import LifoQueue
from tempfile import TemporaryFile
from typing import Any

from braintumor.errors import GuardError
from braintumor.imaging import guarded
from braintumor.imaging.frames import Limits
from braintumor.imaging.picture import DrawnFrame
from braintumor.imaging.prepared import PreparedFile
from braintumor.imaging.rejection import Rejection, RejectionReason

SECONDS = 60.0
"""A file may take so long."""
MEMORY = 3 * 1024**3
"""A child may map so many bytes."""
_MOST_FAILURES = {
    RejectionReason.DECODER_CRASHED: 3,
    RejectionReason.DECODER_TIMEOUT: 2,
    RejectionReason.DECODER_OUT_OF_MEMORY: 2,
}
"""A file at which children failed so often in one way is rejected. What kills from outside kills processes: three."""
_MOST_CHILDREN = 4
"""Each decodes some hundred files a second, more than a CPU scores."""
_DECODE = "braintumor.imaging.frames:decode"
_ENVIRONMENT = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""What a child inherits: the worker's secrets are not needed where strangers' files are read."""
_OF_A_CHILD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PILLOW_BLOCKS_MAX": "4"}
"""One thread; and Pillow keeps up to 64 MiB for the next file: to get them anew takes as long as a third of a JPEG."""
_KEPT = 1024**2
"""A part of the shared file that is larger than this is given back after its file."""
_START_SECONDS = 60.0
_STARTS = 3


class Guard:
    """Child processes that decode, each one file at a time. They end with the guard, or with its process.

    Args:
        children: how many; ``None``: one a usable CPU, four at most.
        seconds: that a file may take.
        memory: bytes that a child may map.
        decode: ``module:function`` with the signature of ``frames.decode``.
    """

    def __init__(
        self, *, children: int | None = None, seconds: float = SECONDS, memory: int = MEMORY, decode: str = _DECODE
    ) -> None:
        self.pid = os.getpid()
        self._seconds, self._memory = seconds, memory
        count = children or min(_usable_cpus(), _MOST_CHILDREN)
        self._children = [_Child(memory=memory, decode=decode) for _ in range(count)]
        self._free: LifoQueue[_Child] = LifoQueue()
        self._alone = threading.Lock()
        self.close = weakref.finalize(self, _end_all, self._children, self.pid)
        for child in self._children:
            child.start()
            self._free.put(child)

    def read(self, data: bytes, *, size: int, limits: Limits | None = None) -> PreparedFile | Rejection:
        """Decode and prepare a file, as ``prepare_file`` does in this process. Safe to call from threads.

        Raises:
            GuardError: no child can be started, which is no fault of the file.
        """
        request = guarded.Request(length=len(data), size=size, limits=limits or Limits())
        found = self._ask(data, request)
        assert not isinstance(found, DrawnFrame)
        return found

    def draw(self, data: bytes, *, frame: int, size: int = 0, limits: Limits | None = None) -> DrawnFrame | Rejection:
        """Decode a file and draw one of its frames for a person, as ``draw_frame`` does. Safe to call from threads.

        Raises:
            GuardError: no child can be started, which is no fault of the file.
        """
        request = guarded.Request(length=len(data), size=size, limits=limits or Limits(), frame=frame)
        found = self._ask(data, request)
        assert not isinstance(found, PreparedFile)
        return found

    def _ask(self, data: bytes, request: guarded.Request) -> guarded.Found:
        failures: Counter[RejectionReason] = Counter()
        while True:
            with self._rested() if failures else self._next() as child:
                found = child.ask(data, request, self._seconds)
                if not isinstance(found, RejectionReason):
                    return found
                end = child.end()
            failures[found] += 1
            if failures[found] == _MOST_FAILURES[found]:
                return Rejection(reason=found, detail=self._detail(found, end))

    @contextmanager
    def _next(self) -> Iterator[_Child]:
        child = self._free.get()
        try:
            yield child
        finally:
            self._free.put(child)

    @contextmanager
    def _rested(self) -> Iterator[_Child]:
        """A fresh child, while the others rest."""
        with self._alone:
            held = [self._free.get() for _ in self._children]
            try:
                held[-1].end()
                yield held[-1]
            finally:
                for child in held:
                    self._free.put(child)

    def _detail(self, reason: RejectionReason, end: str) -> str:
        what = {
            RejectionReason.DECODER_CRASHED: f"ended by {end}",
            RejectionReason.DECODER_TIMEOUT: f"were not done after {self._seconds:g} s",
            RejectionReason.DECODER_OUT_OF_MEMORY: f"needed more than {self._memory // 1024**2:,} MiB",
        }
        return f"{_MOST_FAILURES[reason]} decoding processes {what[reason]}, all but the first alone with it"


_lock = threading.Lock()
_shared: list[Guard] = []


def shared_guard() -> Guard:
    """The guard of this process, started by the first call. A fork of a process with one starts its own."""
    with _lock:
        if not _shared or _shared[0].pid != os.getpid():
            _shared.insert(0, Guard())  # one that this process was forked with is left to its owner
        return _shared[0]


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Child:
    """A place for one process, filled again when it is needed."""

    def __init__(self, *, memory: int, decode: str) -> None:
        self._start = partial(_Process, memory=memory, decode=decode)
        self._process: _Process | None = None

    def start(self) -> None:
        """Start the process, and do not wait for its imports."""
        if self._process is None:
            self._process = self._start()

    def ask(self, data: bytes, request: guarded.Request, seconds: float) -> guarded.Found | RejectionReason:
        """What is in the file, or how the process failed at it: then it is to be ended."""
        process = self._ready()
        try:
            return process.ask(data, request, seconds)
        except BaseException:
            self.end()  # it would answer the next question with the answer to this one
            raise

    def _ready(self) -> _Process:
        for _ in range(_STARTS):
            self.start()
            assert self._process is not None
            if self._process.is_ready():
                return self._process
            end = self.end()
        raise GuardError(
            f"No decoding process can be started: the last of {_STARTS} ended by {end}. "
            f"Try `{sys.executable} -c 'import {guarded.__name__}'`, and look at the machine's free memory."
        )

    def end(self) -> str:
        """End the process; returns what ended it, if that was not this."""
        process, self._process = self._process, None
        return "" if process is None else process.end()


class _Process:
    """A running ``guarded``. The bytes go through a file in memory that both hold, short messages through a socket."""

    def __init__(self, *, memory: int, decode: str) -> None:
        self._is_ready = False
        self._file = _shared_file()
        self._connection, theirs = Pipe()
        watched, self._lifeline = os.pipe()
        passed = (theirs.fileno(), watched, self._file)
        arguments = [str(each) for each in (*passed, memory, decode)]
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", guarded.__name__, *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env=_environment(),
            )
        except OSError as exc:
            self._close()
            raise GuardError(
                f"No decoding process can be started ({exc.strerror}). Look at the machine's free memory and its limit "
                "of processes."
            ) from exc
        finally:
            theirs.close()
            os.close(watched)

    def is_ready(self) -> bool:
        """Whether it runs and has imported what it needs, which is waited for."""
        if not self._is_ready:
            self._is_ready = self._connection.poll(_START_SECONDS) and self._received() == guarded.READY
        return self._is_ready and self._popen.poll() is None

    def ask(self, data: bytes, request: guarded.Request, seconds: float) -> guarded.Found | RejectionReason:
        """Have a file decoded; a reason says how that failed."""
        os.pwrite(self._file, data, 0)
        with suppress(ConnectionError):  # it has ended: what is received says so
            self._connection.send(request)
        if not self._connection.poll(seconds):
            return RejectionReason.DECODER_TIMEOUT
        lengths = self._received()
        if isinstance(lengths, RejectionReason):
            return lengths
        found = guarded.read(self._file, lengths)
        if max(len(data), *lengths) > _KEPT:
            os.ftruncate(self._file, 0)
        return found

    def _received(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):  # also in the middle of a message
            return RejectionReason.DECODER_CRASHED

    def end(self) -> str:
        """Kill it where it still runs, and wait for its end; returns the signal or the exit code."""
        self._popen.kill()
        code = self._popen.wait()
        self._close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _close(self) -> None:
        self._connection.close()
        os.close(self._lifeline)
        os.close(self._file)


def _shared_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("guarded")
    with TemporaryFile() as file:
        return os.dup(file.fileno())


def _environment() -> dict[str, str]:
    """Of the worker's variables those that a program needs to start, and the worker's own module path."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | _OF_A_CHILD | {"PYTHONPATH": os.pathsep.join(sys.path)}


def _end_all(children: Sequence[_Child], pid: int) -> None:
    if pid == os.getpid():  # a fork of this process has no children of its own here
        for child in children:
            child.end()
