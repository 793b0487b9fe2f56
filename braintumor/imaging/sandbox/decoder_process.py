"""Start one decoder process, and exchange files and results with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from socket import socketpair

from braintumor.errors import DecoderPoolError
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.sandbox import decoder_worker
from braintumor.imaging.sandbox.reply import ReplyError, is_ready, read_reply

_ENVIRONMENT = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""Environment variables that a decoder process inherits. They hold no secret, because a hostile file may read them."""
_DECODER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 1024**2),
}
"""Environment variables that limit a decoder process to one thread. glibc may keep up to 16 MiB for the next file.

By default glibc maps new memory for each large array, which costs 244 page faults per JPEG.
"""
_LARGEST_KEPT_FILE = 1024**2
"""Largest size in bytes that the shared file keeps after a request. A larger file is emptied, to free its memory."""
_START_SECONDS = 60.0
_INVALID_REPLY = "an invalid reply"


class DecoderProcess:
    """A running decoder process. File bytes pass through a shared file in memory, short messages through a socket.

    ``memory`` and ``decode`` are the arguments of ``DecoderPool``.
    """

    def __init__(self, *, memory: int, decode: str) -> None:
        self._is_ready = False
        self._fault = ""
        self._file = os.memfd_create("decoder")
        self._connection, worker_end = socketpair()
        watched, self._lifeline = os.pipe()
        passed = (worker_end.fileno(), watched, self._file)
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
            worker_end.close()
            os.close(watched)

    def is_ready(self) -> bool:
        """Wait until the process has imported its modules, and return whether it runs."""
        if not self._is_ready:
            message = self._received(_START_SECONDS)
            if message is RejectionReason.DECODER_TIMEOUT:
                self._fault = f"no answer within {_START_SECONDS:g} s"
            with suppress(ReplyError):
                self._is_ready = isinstance(message, bytes) and is_ready(message)
        return self._is_ready and self._popen.poll() is None

    def decode(
        self, data: bytes, request: decoder_worker.Request, seconds: float
    ) -> decoder_worker.DecodeResult | RejectionReason:
        """Send a file to the process, and return its result or the reason of a failure.

        Args:
            data: bytes of the file.
            request: the request to decode the file.
            seconds: time limit.
        """
        os.pwrite(self._file, data, 0)
        with suppress(OSError):  # the process has ended, which _received reports
            decoder_worker.send(self._connection, request.to_json())
        message = self._received(seconds)
        if isinstance(message, RejectionReason):
            return message
        try:
            result = read_reply(message, self._file, request)
        except ReplyError:
            self._fault = _INVALID_REPLY
            return RejectionReason.DECODER_CRASHED
        if os.fstat(self._file).st_size > _LARGEST_KEPT_FILE:
            os.ftruncate(self._file, 0)
        return result

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
        """Kill the process. The thread that uses the process must still call ``end``, which closes the shared file."""
        self._popen.kill()

    def end(self) -> str:
        """Kill the process if it still runs, and return why it ended.

        The reason is a slow start, an invalid reply, a signal or an exit code.
        """
        self._popen.kill()
        code = self._popen.wait()
        self._close()
        return self._fault or (signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def _close(self) -> None:
        self._connection.close()
        os.close(self._lifeline)
        os.close(self._file)


def _environment() -> dict[str, str]:
    """Return the environment of a decoder process: variables that a program needs to start, and the module path."""
    inherited = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return inherited | _DECODER_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)}
