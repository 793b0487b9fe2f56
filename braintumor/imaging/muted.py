"""Silence around the decoders: what they warn about, they quote, and a quoted tag can name a patient.

::

    with MUTED:
        pydicom.dcmread(...)

``warnings.catch_warnings`` alone is not enough: it swaps the process's filters, and threads that enter and leave it in
turn leave the wrong ones behind. Here the first thread in mutes and the last one out restores.
"""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import ExitStack
from types import TracebackType

_SOURCES = r"(pydicom|PIL|pylibjpeg|openjpeg|rle|numpy|braintumor\.imaging)(\.|$)"
"""Modules that a decoder's warning is attributed to: only theirs are muted, other threads' are not."""
_LOGGERS = ("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils", "pylibjpeg.utils", "openjpeg.utils")


def _drop(_record: logging.LogRecord) -> bool:
    return False


class _Muted:
    """Reentrant, and shared by threads: use the one instance, ``MUTED``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._undo = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._mute()

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo.close()

    def _mute(self) -> None:
        self._undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=_SOURCES)
        for logger in map(logging.getLogger, _LOGGERS):
            logger.addFilter(_drop)
            self._undo.callback(logger.removeFilter, _drop)


MUTED = _Muted()
