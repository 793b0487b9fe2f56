"""Decode files in child processes: a decoder that crashes, hangs or wants too much memory ends its child, no night.

::

    with decoders_closed_at_end():                   # ends the children and waits for them
        guard = shared_guard()                       # starts its children and does not wait for them
        found = guard.read(data, size=224)           # safe in threads
        if isinstance(found, Rejection): ...
        else: found.scan.pixels, found.pixel_sha256

The guard tries a file whose child failed again in a fresh child. It pauses the other children for that only where
memory may have been short, because their memory can be the cause. A file that is slow stops no other file. Why it is a
child and what the bounds are: docs/decisions/0025. It keeps a fault in; it is no prison for a decoder that has been
taken over.
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
from queue import Empty, LifoQueue
from socket import socketpair
from tempfile import TemporaryFile

from braintumor.errors import DecoderPoolError
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import PreparedFile
from braintumor.imaging.render import DrawnFrame
from braintumor.imaging.sandbox import decoder_worker
from braintumor.imaging.sandbox.reply import ReplyError, is_ready, read_reply

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
_DECODE = "braintumor.imaging.decoding.decode:decode"
_ENVIRONMENT = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""What a child inherits: the worker's secrets are not needed where strangers' files are read."""
_OF_A_CHILD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PILLOW_BLOCKS_MAX": "4"}
"""One thread; and Pillow keeps up to 64 MiB for the next file: to get them anew takes as long as a third of a JPEG."""
_KEPT = 1024**2
"""A part of the shared file that is larger than this is given back after its file."""
_START_SECONDS = 60.0
_CLOSE_SECONDS = 10.0
"""A thread gives a child back as soon as the child is killed."""
_INVALID_REPLY = "an invalid reply"
_STARTS = 3


class DecoderPool:
    """Child processes that decode, each one file at a time. They end with the guard, or with its process.

    Call ``close``, or use the guard in a ``with``. ``close`` ends the children and waits for them. Reads that are in
    work raise ``DecoderPoolError`` then. A task that leaves through ``os._exit`` runs no finalizer, so it has to close.

    Args:
        processes: number of decoder processes. ``None`` starts one per usable CPU, four at most.
        seconds: that a file may take.
        memory: bytes that a child may map.
        decode: ``module:function`` with the signature of ``frames.decode``.
    """

    def __init__(
        self, *, processes: int | None = None, seconds: float = SECONDS, memory: int = MEMORY, decode: str = _DECODE
    ) -> None:
        self.pid = os.getpid()
        self._seconds, self._memory = seconds, memory
        count = processes or min(_usable_cpus(), _MOST_CHILDREN)
        self._closed = threading.Event()
        self._children = [_Child(memory=memory, decode=decode, closed=self._closed) for _ in range(count)]
        self._free: LifoQueue[_Child] = LifoQueue()
        self._alone = threading.Lock()
        self.close = weakref.finalize(self, _close, self._children, self._free, self._alone, self._closed, self.pid)
        for child in self._children:
            child.start()
            self._free.put(child)

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_usable(self) -> bool:
        """Whether it can read: it is not closed, and this process started it."""
        return not self._closed.is_set() and self.pid == os.getpid()

    def read(self, data: bytes, *, size: int, limits: Limits | None = None) -> PreparedFile | Rejection:
        """Decode and prepare a file, as ``prepare_file`` does in this process. Safe to call from threads.

        Raises:
            DecoderPoolError: no child can be started, or the guard is closed, which is no fault of the file.
        """
        request = decoder_worker.Request(length=len(data), size=size, limits=limits or Limits())
        found = self._ask(data, request)
        assert not isinstance(found, DrawnFrame)
        return found

    def draw(self, data: bytes, *, frame: int, size: int = 0, limits: Limits | None = None) -> DrawnFrame | Rejection:
        """Decode a file and draw one of its frames for a person, as ``draw_frame`` does. Safe to call from threads.

        Raises:
            DecoderPoolError: no child can be started, or the guard is closed, which is no fault of the file.
        """
        request = decoder_worker.Request(length=len(data), size=size, limits=limits or Limits(), frame=frame)
        found = self._ask(data, request)
        assert not isinstance(found, PreparedFile)
        return found

    def _ask(self, data: bytes, request: decoder_worker.Request) -> decoder_worker.DecodeResult:
        failures: Counter[RejectionReason] = Counter()
        is_memory_short = False
        while True:
            with self._rested() if is_memory_short else self._next(is_fresh=bool(failures)) as child:
                found = child.ask(data, request, self._seconds)
                if not isinstance(found, RejectionReason):
                    return found
                end = child.end()
            _require_open(self._closed)  # what the guard killed itself is no failure of the file
            failures[found] += 1
            if failures[found] == _MOST_FAILURES[found]:
                return Rejection(reason=found, detail=self._detail(found, end))
            is_memory_short = found is RejectionReason.DECODER_OUT_OF_MEMORY or (
                found is RejectionReason.DECODER_CRASHED and end == signal.SIGKILL.name  # as the kernel kills
            )

    @contextmanager
    def _next(self, *, is_fresh: bool) -> Iterator[_Child]:
        child = self._free.get()
        try:
            if is_fresh:
                child.end()
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
        alone = ", all but the first alone with it" if reason is RejectionReason.DECODER_OUT_OF_MEMORY else ""
        return f"{_MOST_FAILURES[reason]} decoding processes {what[reason]}{alone}"


_lock = threading.Lock()
_shared: list[DecoderPool] = []


def default_pool() -> DecoderPool:
    """The guard of this process, started by the first call. A fork of a process with one starts its own."""
    with _lock:
        if not _shared or not _shared[0].is_usable:
            others = [guard for guard in _shared if guard.pid != os.getpid()]  # a parent's guard is left to it
            _shared[:] = [DecoderPool(), *others]
        return _shared[0]


@contextmanager
def decoders_closed_at_end() -> Iterator[None]:
    """Close the shared guard at the end of the block, if something has started it by then.

    Each task of Airflow needs this, because Airflow forks a task and ends it without running finalizers.
    """
    try:
        yield
    finally:
        with _lock:
            started = [guard for guard in _shared if guard.pid == os.getpid()]
        for guard in started:
            guard.close()


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Child:
    """A place for one process, filled again when it is needed. One thread at a time uses it."""

    def __init__(self, *, memory: int, decode: str, closed: threading.Event) -> None:
        self._start = partial(_Process, memory=memory, decode=decode)
        self._closed = closed
        self._starting = threading.Lock()
        self._process: _Process | None = None

    def start(self) -> None:
        """Start the process, and do not wait for its imports."""
        with self._starting:
            _require_open(self._closed)
            if self._process is None:
                self._process = self._start()

    def kill(self) -> None:
        """Kill the process while another thread may wait for its reply. That thread releases what it holds."""
        with self._starting:
            if self._process is not None:
                self._process.kill()

    def ask(
        self, data: bytes, request: decoder_worker.Request, seconds: float
    ) -> decoder_worker.DecodeResult | RejectionReason:
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
        raise DecoderPoolError(
            f"No decoding process can be started: the last of {_STARTS} ended by {end}. "
            f"Try `{sys.executable} -c 'import {decoder_worker.__name__}'`, and look at the machine's free memory."
        )

    def end(self) -> str:
        """End the process; returns what ended it, if that was not this."""
        process, self._process = self._process, None
        return "" if process is None else process.end()


class _Process:
    """A running ``guarded``. The bytes go through a file in memory that both hold, short messages through a socket."""

    def __init__(self, *, memory: int, decode: str) -> None:
        self._is_ready = False
        self._fault = ""
        self._file = _shared_file()
        self._connection, theirs = socketpair()
        watched, self._lifeline = os.pipe()
        passed = (theirs.fileno(), watched, self._file)
        arguments = [str(each) for each in (*passed, memory, decode)]
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", decoder_worker.__name__, *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env=_environment(),
            )
        except OSError as exc:
            self._close()
            raise DecoderPoolError(
                f"No decoding process can be started ({exc.strerror}). Look at the machine's free memory and its limit "
                "of processes."
            ) from exc
        finally:
            theirs.close()
            os.close(watched)

    def is_ready(self) -> bool:
        """Whether it runs and has imported what it needs, which is waited for."""
        if not self._is_ready:
            message = self._received(_START_SECONDS)
            with suppress(ReplyError):
                self._is_ready = isinstance(message, bytes) and is_ready(message)
        return self._is_ready and self._popen.poll() is None

    def ask(
        self, data: bytes, request: decoder_worker.Request, seconds: float
    ) -> decoder_worker.DecodeResult | RejectionReason:
        """Have a file decoded; a reason says how that failed."""
        os.pwrite(self._file, data, 0)
        with suppress(OSError):  # it has ended, or does not listen: what is received says so
            decoder_worker.send(self._connection, request.to_json())
        message = self._received(seconds)
        if isinstance(message, RejectionReason):
            return message
        try:
            found = read_reply(message, self._file, request)
        except ReplyError:
            self._fault = _INVALID_REPLY
            return RejectionReason.DECODER_CRASHED
        if os.fstat(self._file).st_size > _KEPT:
            os.ftruncate(self._file, 0)
        return found

    def _received(self, seconds: float) -> bytes | RejectionReason:
        try:
            return decoder_worker.receive(self._connection, most=decoder_worker.MOST_HEADER_BYTES, seconds=seconds)
        except TimeoutError:
            return RejectionReason.DECODER_TIMEOUT
        except ValueError:
            self._fault = _INVALID_REPLY
        except (EOFError, OSError):  # also in the middle of a message
            pass
        return RejectionReason.DECODER_CRASHED

    def kill(self) -> None:
        """Kill it, and leave the rest to the thread that uses it."""
        self._popen.kill()

    def end(self) -> str:
        """Kill it where it still runs, and wait for its end; returns its fault, its signal or its exit code."""
        self._popen.kill()
        code = self._popen.wait()
        self._close()
        return self._fault or (signal.Signals(-code).name if code < 0 else f"exit code {code}")

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


def _require_open(closed: threading.Event) -> None:
    if closed.is_set():
        raise DecoderPoolError(
            "The decoding processes are closed, because the work that needed them has ended. Try again."
        )


def _close(
    children: Sequence[_Child],
    free: LifoQueue[_Child],
    alone: threading.Lock,
    closed: threading.Event,
    pid: int,
) -> None:
    """End every process and wait for it. Threads that use one give it back first, with an error."""
    if pid != os.getpid():  # a fork of this process has no children of its own here
        return
    closed.set()
    for child in children:
        child.kill()
    with alone, suppress(Empty):
        for _ in children:
            free.get(timeout=_CLOSE_SECONDS)
    for child in children:
        child.end()
        free.put(child)  # a thread that still waits for one gets it, and an error
