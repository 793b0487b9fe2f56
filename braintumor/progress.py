"""Show the progress and the remaining time of a long step.

A terminal shows a bar on standard error. Without a terminal, the logger of this module receives a line every 30
seconds. So a task logs nothing about a step of less than 30 seconds.

>>> with progress("Reading images", 3) as advance:
...     for _ in range(3):
...         advance(1)
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from io import StringIO
from shutil import get_terminal_size
from threading import Event, Thread
from typing import Any, TextIO

from braintumor.config.variables import LOG_FORMAT

_log = logging.getLogger(__name__)
BYTES = "bytes"
"""Unit of a step that counts bytes."""
BAR_INTERVAL_S = 1.0
LINE_INTERVAL_S = 30.0
_WIDEST = 100
"""Largest width of a bar in characters."""
_is_shown: ContextVar[bool] = ContextVar("is_shown", default=False)


@contextmanager
def progress(label: str, total: int | None = None, *, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show the progress of the ``with`` block.

    The context manager yields a function. Call the function with the size of each completed part. Inside the block of
    another ``progress``, this context manager shows nothing.

    Args:
        label: name of the step, for people.
        total: sum of the sizes of all parts. ``None`` shows the elapsed time only.
        unit: plural of the counted thing, or ``BYTES``.
    """
    if _is_shown.get():
        yield lambda _: None
        return
    step, token = _Step(label=label, total=total, unit=unit), _is_shown.set(True)
    # a copy of the context, so that the lines have the caller's log fields
    thread = Thread(target=copy_context().run, args=(step.show,), name="progress", daemon=True)
    thread.start()
    try:
        yield step.advance
        step.is_complete = True
    finally:
        step.ended.set()
        thread.join()
        _is_shown.reset(token)


def show_lines(stream: TextIO, *loggers: str) -> None:
    """Send the log of the named ``loggers`` to ``stream`` as plain lines, unless ``BRAINTUMOR_LOG_FORMAT`` is set."""
    if LOG_FORMAT.read() is None:
        for name in loggers:
            logger = logging.getLogger(name)
            logger.handlers = [_AboveBar(stream)]
            logger.propagate = False  # TensorFlow and OpenVINO can give the root logger a handler later
            logger.setLevel(logging.INFO)


class _AboveBar(logging.StreamHandler[TextIO]):
    """Write each line above the bar, if a bar is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


@dataclass(kw_only=True, eq=False)
class _Step:
    """Count the completed parts of one step, and show the count from a thread."""

    label: str
    total: int | None
    unit: str
    done: int = 0
    is_complete: bool = False
    ended: Event = field(default_factory=Event)

    def advance(self, size: int) -> None:
        self.done += size

    def show(self) -> None:
        """Show the count at regular intervals until the step has ended.

        If the step ends in the first interval, show nothing.
        """
        started = time.time()
        is_bar = sys.stderr.isatty() and LOG_FORMAT.read() is None
        interval = BAR_INTERVAL_S if is_bar else LINE_INTERVAL_S
        if self.ended.wait(interval):
            return
        with self._bar(is_bar=is_bar) as bar:
            bar.start_t = bar.last_print_t = started
            while True:
                bar.n = self.done
                bar.update(0)
                if self.ended.wait(interval):
                    break
            bar.n = self.done
            if self.is_complete and self.total is not None:
                bar.total = bar.n  # training can stop early

    def _bar(self, *, is_bar: bool) -> Any:
        from tqdm import tqdm

        columns, lines = get_terminal_size()
        counts = "{n_fmt} of {total_fmt} {unit} in {elapsed}, about {remaining} left"
        text = "{elapsed}" if self.total is None else f"{{percentage:3.0f}}% |{{bar}}| {counts}" if is_bar else counts
        return tqdm(
            desc=self.label,
            total=self.total,
            unit=self.unit,
            unit_scale=self.unit == BYTES,
            bar_format=f"{{desc}}: {text}",
            file=sys.stderr if is_bar else _LogStream(),
            ncols=min(columns, _WIDEST) if is_bar else None,
            nrows=lines,
            miniters=0,
            mininterval=0,
            delay=1e-9,  # because tqdm otherwise shows a first bar before ``start_t`` is set
        )


class _LogStream(StringIO):
    """Log each text that tqdm writes."""

    def write(self, text: str) -> int:
        if line := text.strip():
            _log.info("%s", line)
        return len(text)
