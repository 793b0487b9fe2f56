"""Write log lines that have the run, chunk and scan as fields.

The library logs with the standard library's ``logging`` and installs no handler. The context manager ``bound`` sets
fields. Every line that is logged in its ``with`` block has these fields, also lines of boto3 and SQLAlchemy. Airflow's
structlog adds the fields to the task log. The command ``braintumor`` adds the fields with
``BRAINTUMOR_LOG_FORMAT=json``.

>>> import logging, sys
>>> to_stream(sys.stdout, timestamps=False)
>>> with bound(scan_id=1203):
...     logging.getLogger("braintumor.example").warning("rejected: %s", "not_mri")
{"event": "rejected: not_mri", "scan_id": 1203, "level": "warning", "logger": "braintumor.example"}

A line contains the id of a scan and never its key, because a key can name a patient.
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

__all__ = ["bound", "configure", "to_stream"]


def configure(stream: TextIO) -> None:
    """Send the log of this process to ``stream`` in the format that the variable ``BRAINTUMOR_LOG_FORMAT`` names.

    If the variable is not set, the function sends nothing.

    Raises:
        ConfigurationError: the format is unknown.
    """
    log_format = LOG_FORMAT.read()
    if log_format == "json":
        to_stream(stream)
    elif log_format is not None:
        raise ConfigurationError(
            f"{LOG_FORMAT.name} must be json, or unset: no log. Received: {log_format!r}. Correct it."
        )


def to_stream(stream: TextIO, *, timestamps: bool = True) -> None:
    """Send this library's log and other libraries' warnings to ``stream`` as lines of JSON.

    Args:
        stream: destination of the lines.
        timestamps: whether each line has its time in UTC.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    if timestamps:
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    last: list[Processor] = [
        ProcessorFormatter.remove_processors_meta,
        # without local variables, because they contain S3 keys
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("braintumor").setLevel(logging.INFO)
