"""Silence around the decoders: what they warn about and log, they quote, and a quoted tag can name a patient.

::

    with MUTED:
        pydicom.dcmread(...)

``warnings.catch_warnings`` is not for threads: it swaps the process's list of filters, so threads that leave it in
another order than they entered put the wrong list back, and whatever others set meanwhile is lost. Setting filters on
import would be a side effect. Here one filter, for the decoders' modules alone, is added by whoever enters and removed
by the last one out; the list itself is never swapped. pydicom's own switch (``reading_validation_mode``) is no way
round: it is the process's as well, and silences validation only, not what is said of encodings and character sets.

What remains: a thread that leaves a ``catch_warnings`` of its own during a decoding takes the filter away until the
next decoding. Nothing on the scoring path has one.
"""

from __future__ import annotations

import logging
import threading
import warnings
from types import TracebackType
from typing import Any, cast

_SOURCES = r"(pydicom|PIL|pylibjpeg|openjpeg|jpeg_ls|rle|nibabel|numpy|tifffile|braintumor\.imaging)(\.|$)"
"""Modules that a decoder's warning is attributed to: only theirs are muted, other threads' are not."""
_LOGGERS = (
    "PIL.ImageFile",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",  # every tag with its value
    "nibabel.global",
    "openjpeg",
    "openjpeg.utils",
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "pylibjpeg",
    "pylibjpeg.utils",
    "tifffile",
)
"""Each by name: a logger's filter does not hold for its children."""


def _drop(_record: logging.LogRecord) -> bool:
    return False


class _WarningFilter:
    """Reentrant, and shared by threads: use the one instance, ``WARNING_FILTER``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            warnings.filterwarnings("ignore", module=_SOURCES)  # moved to the front where it is there already
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(_drop)

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._unmute()

    def _unmute(self) -> None:
        filters = cast(list[tuple[Any, ...]], warnings.filters)
        for own in [each for each in filters if getattr(each[3], "pattern", None) == _SOURCES]:
            filters.remove(own)
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(_drop)


WARNING_FILTER = _WarningFilter()
