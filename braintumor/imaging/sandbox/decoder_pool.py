"""Decode files in separate processes, so that a crash, hang or memory shortage does not end the worker.

::

    with decoders_closed_at_end():                   # ends the processes and waits for them
        pool = default_pool()                        # starts its processes and does not wait for them
        result = pool.read(data, size=224)           # thread-safe
        if isinstance(result, Rejection): ...
        else: result.scan.pixels, result.pixel_sha256

If the process that decodes a file fails, the pool retries the file in a new process. After a possible memory shortage,
the pool pauses all other processes during the retry, because they can be the cause. A slow file does not stop the other
processes. docs/decisions/0025 gives the reasons for processes and for the limits. The pool isolates crashes. It is not
a security sandbox.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, LifoQueue

from braintumor.errors import DecoderPoolError
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import PreparedFile
from braintumor.imaging.render import DrawnFrame
from braintumor.imaging.sandbox import decoder_worker
from braintumor.imaging.sandbox.decoder_process import DecoderProcess

_TIME_LIMIT_SECONDS = 60.0
"""Seconds that a decoder process may spend on one file."""
_MEMORY_LIMIT = 3 * 1024**3
"""Bytes of memory that a decoder process may map."""
_MOST_FAILURES = {
    RejectionReason.DECODER_CRASHED: 3,
    RejectionReason.DECODER_TIMEOUT: 2,
    RejectionReason.DECODER_OUT_OF_MEMORY: 2,
}
"""Number of failures of one kind after which the pool rejects a file.

The number is higher for crashes, because other programs may kill a process.
"""
_MOST_PROCESSES = 4
"""Largest number of processes in a pool by default. One process decodes about 100 files/s, more than a CPU scores."""
_DECODE = "braintumor.imaging.decoding.decode:decode"
_CLOSE_SECONDS = 10.0
"""Seconds that ``close`` waits for each slot. A thread returns its slot as soon as the slot's process is killed."""
_STARTS = 3


class DecoderPool:
    """A pool of decoder processes, each of which decodes one file at a time.

    The processes end when the pool is closed, and when the process that owns the pool ends. Call ``close``, or use the
    pool as a context manager. ``close`` ends the decoder processes and waits for their end. Reads in progress then
    raise ``DecoderPoolError``. A task that ends through ``os._exit`` must close the pool, because no finalizer runs.

    Args:
        processes: number of decoder processes. ``None`` starts one per usable CPU, four at most.
        seconds: seconds that a decoder process may spend on one file.
        memory: bytes that a decoder process may map.
        decode: ``module:function`` with the signature of ``decoding.decode.decode``.
    """

    def __init__(
        self,
        *,
        processes: int | None = None,
        seconds: float = _TIME_LIMIT_SECONDS,
        memory: int = _MEMORY_LIMIT,
        decode: str = _DECODE,
    ) -> None:
        self.pid = os.getpid()
        self._seconds, self._memory = seconds, memory
        count = processes or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
        self._closed = threading.Event()
        self._slots = [_Slot(memory=memory, decode=decode, closed=self._closed) for _ in range(count)]
        self._free: LifoQueue[_Slot] = LifoQueue()
        self._exclusive = threading.Lock()
        self.close = weakref.finalize(self, _close, self._slots, self._free, self._exclusive, self._closed, self.pid)
        for slot in self._slots:
            slot.start()
            self._free.put(slot)

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_usable(self) -> bool:
        """Return whether the pool is open and the current process started it."""
        return not self._closed.is_set() and self.pid == os.getpid()

    def read(self, data: bytes, *, size: int, limits: Limits | None = None) -> PreparedFile | Rejection:
        """Return the scored frames of a file as model input, or a rejection. Thread-safe.

        A decoder process runs ``decode_file`` on the file.

        Args:
            data: bytes of the file.
            size: the model's input size: pixels per side of a square frame.
            limits: limits of the file. ``None`` means ``Limits()``.

        Raises:
            DecoderPoolError: no process can be started, or the pool is closed. The file is not the cause.
        """
        request = decoder_worker.Request(length=len(data), size=size, limits=limits or Limits())
        result = self._decode(data, request)
        assert not isinstance(result, DrawnFrame)
        return result

    def draw(self, data: bytes, *, frame: int, size: int = 0, limits: Limits | None = None) -> DrawnFrame | Rejection:
        """Return one frame of a file as a PNG, or a rejection. Thread-safe.

        A decoder process runs ``draw_frame`` on the file.

        Args:
            data: bytes of the file.
            frame: index of a scored frame among all frames of the file.
            size: longest side of the PNG in pixels. 0 keeps the frame's size.
            limits: limits of the file. ``None`` means ``Limits()``.

        Raises:
            DecoderPoolError: no process can be started, or the pool is closed. The file is not the cause.
        """
        request = decoder_worker.Request(length=len(data), size=size, limits=limits or Limits(), frame=frame)
        result = self._decode(data, request)
        assert not isinstance(result, PreparedFile)
        return result

    def _decode(self, data: bytes, request: decoder_worker.Request) -> decoder_worker.DecodeResult:
        failures: Counter[RejectionReason] = Counter()
        is_memory_short = False
        while True:
            with self._exclusive_slot() if is_memory_short else self._slot(is_new=bool(failures)) as slot:
                result = slot.decode(data, request, self._seconds)
                if not isinstance(result, RejectionReason):
                    return result
                end = slot.end()
            _require_open(self._closed)  # a process that the pool itself killed is no failure of the file
            failures[result] += 1
            if failures[result] == _MOST_FAILURES[result]:
                return Rejection(result, self._detail(result, end))
            is_memory_short = result is RejectionReason.DECODER_OUT_OF_MEMORY or (
                result is RejectionReason.DECODER_CRASHED and end == signal.SIGKILL.name  # as the OOM killer does
            )

    @contextmanager
    def _slot(self, *, is_new: bool) -> Iterator[_Slot]:
        slot = self._free.get()
        try:
            if is_new:
                slot.end()
            yield slot
        finally:
            self._free.put(slot)

    @contextmanager
    def _exclusive_slot(self) -> Iterator[_Slot]:
        """Provide a slot with a new process, and keep all other slots idle while the ``with`` block runs."""
        with self._exclusive:
            slots = [self._free.get() for _ in self._slots]
            try:
                slots[-1].end()
                yield slots[-1]
            finally:
                for slot in slots:
                    self._free.put(slot)

    def _detail(self, reason: RejectionReason, end: str) -> str:
        failure = {
            RejectionReason.DECODER_CRASHED: f"ended by {end}",
            RejectionReason.DECODER_TIMEOUT: f"were not done after {self._seconds:g} s",
            RejectionReason.DECODER_OUT_OF_MEMORY: f"needed more than {self._memory // 1024**2:,} MiB",
        }
        is_memory = reason is RejectionReason.DECODER_OUT_OF_MEMORY
        alone = ", all but the first while no other file was decoded" if is_memory else ""
        return f"{_MOST_FAILURES[reason]} decoding processes {failure[reason]}{alone}"


_lock = threading.Lock()
_shared: list[DecoderPool] = []


def default_pool() -> DecoderPool:
    """Return the pool of the current process. The first call starts the pool. A forked process starts its own pool."""
    with _lock:
        if not _shared or not _shared[0].is_usable:
            others = [pool for pool in _shared if pool.pid != os.getpid()]  # the parent closes its own pool
            _shared[:] = [DecoderPool(), *others]
        return _shared[0]


@contextmanager
def decoders_closed_at_end() -> Iterator[None]:
    """Close the default pool of the current process at the end of the ``with`` block (context manager).

    Each Airflow task needs this context manager, because Airflow forks a task and ends it without running finalizers.
    """
    try:
        yield
    finally:
        with _lock:
            started = [pool for pool in _shared if pool.pid == os.getpid()]
        for pool in started:
            pool.close()


class _Slot:
    """A slot of the pool, with one decoder process at a time. A new process replaces a failed process.

    One thread at a time uses a slot.
    """

    def __init__(self, *, memory: int, decode: str, closed: threading.Event) -> None:
        self._start = partial(DecoderProcess, memory=memory, decode=decode)
        self._closed = closed
        self._starting = threading.Lock()
        self._process: DecoderProcess | None = None

    def start(self) -> None:
        """Start the process without waiting for its imports."""
        with self._starting:
            _require_open(self._closed)
            if self._process is None:
                self._process = self._start()

    def kill(self) -> None:
        """Kill the process, even if another thread waits for its reply. That thread then closes the process's files."""
        with self._starting:
            if self._process is not None:
                self._process.kill()

    def decode(
        self, data: bytes, request: decoder_worker.Request, seconds: float
    ) -> decoder_worker.DecodeResult | RejectionReason:
        """Return the decoded file, or the reason for which the process failed.

        After a failure, the caller must end the process.

        Args:
            data: bytes of the file.
            request: the request to decode the file.
            seconds: time limit.
        """
        process = self._ready()
        try:
            return process.decode(data, request, seconds)
        except BaseException:
            self.end()  # otherwise the reply to this request would be read as the reply to the next one
            raise

    def _ready(self) -> DecoderProcess:
        for _ in range(_STARTS):
            self.start()
            assert self._process is not None
            if self._process.is_ready():
                return self._process
            end = self.end()
        raise DecoderPoolError(
            f"No decoding process can be started. Reason for the last of {_STARTS} attempts: {end}. "
            f"Try `{sys.executable} -c 'import {decoder_worker.__name__}'`, and look at the machine's load and memory."
        )

    def end(self) -> str:
        """End the process, and return the cause of its end, or an empty text if the slot has no process."""
        process, self._process = self._process, None
        return "" if process is None else process.end()


def _require_open(closed: threading.Event) -> None:
    if closed.is_set():
        raise DecoderPoolError(
            "The decoding processes are closed, because the work that needed them has ended. Try again."
        )


def _close(
    slots: Sequence[_Slot], free: LifoQueue[_Slot], exclusive: threading.Lock, closed: threading.Event, pid: int
) -> None:
    """End every decoder process and wait for its end.

    A thread that waits for a reply first returns its slot, and then raises an error. ``free`` and ``exclusive`` are the
    pool's queue of free slots and its lock for a retry without other processes. ``pid`` is the process that started the
    pool.
    """
    if pid != os.getpid():  # a forked process did not start these processes
        return
    closed.set()
    for slot in slots:
        slot.kill()
    with exclusive, suppress(Empty):
        for _ in slots:
            free.get(timeout=_CLOSE_SECONDS)
    for slot in slots:
        slot.end()
        free.put(slot)  # a thread that still waits for a slot gets it, and an error
