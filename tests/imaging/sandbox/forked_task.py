"""Fork a task that uses the decoder pool, and end it without finalizers, as Airflow does.

The argument selects the end of the task: ``return``, ``error`` or ``timeout``.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
import time
import weakref
from contextlib import suppress

from braintumor.imaging.sandbox import decoder_pool
from braintumor.imaging.sandbox.decoder_pool import DecoderPool, decoders_closed_at_end, default_pool

_PR_SET_CHILD_SUBREAPER = 36


class Timeout(BaseException):
    """Stand for Airflow's timeout, which is not an ``Exception``."""


def raise_timeout(*_: object) -> None:
    raise Timeout


def run_task(end: str) -> None:
    with decoders_closed_at_end():
        decoder_pool._shared.append(DecoderPool(processes=2, decode="tests.imaging.bad_decoders:by_last_word"))
        default_pool().read(b"", size=64)
        print("decoders run", flush=True)
        if end == "error":
            raise ValueError
        if end == "timeout":
            signal.signal(signal.SIGALRM, raise_timeout)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            threading.Thread(target=lambda: default_pool().read(b"a spin", size=64), daemon=True).start()
            time.sleep(60)


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # adopts processes that the task leaves
    weakref.finalize(Timeout, print)  # registers weakref's exit function before the fork, as Airflow's supervisor does
    task = os.fork()
    if task == 0:
        atexit._clear()
        with suppress(ValueError, Timeout):
            run_task(sys.argv[1])
        atexit._run_exitfuncs()
        os._exit(0)
    os.waitpid(task, 0)
    print("task ended", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
