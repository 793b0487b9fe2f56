"""The log of a run: which run, chunk and scan each line is of.

The library writes with the standard library's ``logging`` and, like any library, shows nothing by itself. What is bound
here stands in every line written meanwhile, in fields of their own, also in lines of boto3 or SQLAlchemy: under Airflow
in the task's log, whose structlog merges it in; in the command's with ``BRAINTUMOR_LOG_FORMAT=json``.

>>> import logging, sys
>>> to_stream(sys.stdout, timestamps=False)
>>> with bound(scan_id=1203):
...     logging.getLogger("braintumor.example").warning("rejected: %s", "not_mri")
{"event": "rejected: not_mri", "scan_id": 1203, "level": "warning", "logger": "braintumor.example"}

A line names a scan by its id and never by its key, which can hold a patient's name.
"""

from __future__ import annotations

import logging
from typing import TextIO

import structlog
from structlog.contextvars import bound_contextvars as bound
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.types import Processor

from braintumor.config.variables import LOG_FORMAT
from braintumor.errors import ConfigurationError

__all__ = ["bound", "configure", "show_training", "to_stream"]


def configure(stream: TextIO) -> None:
    """Show the log of this process as the environment asks: not at all, or as lines of JSON.

    Raises:
        ConfigurationError: the environment asks for another format.
    """
    asked = LOG_FORMAT.read()
    if asked == "json":
        to_stream(stream)
    elif asked is not None:
        raise ConfigurationError(f"{LOG_FORMAT.name} must be json, or unset: no log. Received: {asked!r}. Correct it.")


def show_training(stream: TextIO) -> None:
    """Write the progress that ``braintumor.training`` logs as plain lines, unless the environment asks for a log."""
    if LOG_FORMAT.read() is None:
        logger = logging.getLogger("braintumor.training")
        logger.addHandler(logging.StreamHandler(stream))
        logger.setLevel(logging.INFO)


def to_stream(stream: TextIO, *, timestamps: bool = True) -> None:
    """Write what this library logs, and warnings of all others, as a line of JSON each; times are UTC."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    if timestamps:
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    last: list[Processor] = [
        ProcessorFormatter.remove_processors_meta,
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),  # locals hold keys
        structlog.processors.JSONRenderer(),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("braintumor").setLevel(logging.INFO)
