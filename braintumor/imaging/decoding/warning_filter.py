"""Suppress warnings and logs of the decoders, because these texts quote tags, and a tag can name a patient.

Snapshots and training decode in threads of the worker. ``warnings.catch_warnings`` is not thread-safe, because it saves
and restores one global list. So this module adds one filter, for the decoders' modules only, and never replaces the
list. The last thread to leave removes the filter. A thread that leaves its own ``catch_warnings`` during a decoding
removes the filter until the next decoding. pydicom's setting ``reading_validation_mode`` would not be enough, because
it covers only validation.
"""

from __future__ import annotations

import logging
import threading
import warnings
from types import TracebackType
from typing import Any, cast

_SOURCES = r"(pydicom|PIL|pylibjpeg|openjpeg|jpeg_ls|rle|nibabel|numpy|tifffile|braintumor\.imaging)(\.|$)"
"""Modules of the decoders. Warnings of other modules in other threads stay visible."""
_LOGGERS = (
    "PIL.ImageFile",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",  # logs every tag with its value
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
"""All loggers of the decoders, each by its name, because a logger's filter does not apply to its descendants."""


def _drop(_record: logging.LogRecord) -> bool:
    return False


class _WarningFilter:
    """A reentrant context manager that all threads share through the one instance ``WARNING_FILTER``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            warnings.filterwarnings("ignore", module=_SOURCES)  # moves an existing filter to the front
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(_drop)

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered:
                return
            filters = cast(list[tuple[Any, ...]], warnings.filters)
            for own in [each for each in filters if getattr(each[3], "pattern", None) == _SOURCES]:
                filters.remove(own)
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(_drop)


WARNING_FILTER = _WarningFilter()
