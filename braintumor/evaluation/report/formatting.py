"""Format numbers for reports, cards and tables, and load the templates of the reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment

from braintumor.evaluation.metrics.classification import wilson_interval
from braintumor.reports.jinja import page_environment
from braintumor.reports.paths import (
    FLIP_PREVIEW,
    RESCORE_REPORT,
    RUN_COMPARISON,
    RUN_STATUS,
    is_dag_run,
    run_path,
    snapshot_path,
)


def figure(value: float | None, digits: int = 3) -> str:
    """Format a share or a loss: ``figure(0.91528) == "0.915"``. ``None`` becomes ``"not defined"``."""
    return "not defined" if value is None else f"{value:.{digits}f}"


def interval(value: float, low: float, high: float) -> str:
    """Format a share with its interval: ``interval(0.915, 0.868, 0.946) == "0.915 (0.868 to 0.946)"``."""
    return f"{figure(value)} ({figure(low)} to {figure(high)})"


def share(hits: int, count: int) -> str:
    """Format the share ``hits / count``, ``count`` >= 1, with its 95% Wilson interval."""
    return interval(hits / count, *wilson_interval(hits, count))


def duration(seconds: float) -> str:
    """Format a wall time in seconds: ``duration(3725) == "1 h 2 min"``. 0 becomes ``"not trained"``."""
    if seconds <= 0:
        return "not trained"
    minutes = round(seconds / 60)
    if minutes < 2:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def size(count: int) -> str:
    """Format a number of bytes in powers of ten: ``size(58_900_000) == "58.9 MB"``. 0 becomes ``"not recorded"``."""
    if count <= 0:
        return "not recorded"
    number, units = float(count), ["B", "kB", "MB", "GB"]
    while number >= 999.95 and len(units) > 1:  # noqa: PLR2004  # 999.95 is rounded to 1000.0
        number /= 1000
        units.pop(0)
    return f"{number:.0f} B" if units[0] == "B" else f"{number:.1f} {units[0]}"


def recipe(name: str, override: Mapping[str, Any]) -> str:
    """Format a recipe with its overrides: ``"vgg16"``, or ``"vgg16, set by hand: dropout = 0.3"``."""
    values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in override.items())
    return f"{name}, set by hand: {values}" if values else name


@cache
def report_templates() -> Environment:
    """Return the Jinja environment of the model pages and of the index page."""
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters |= {"figure": figure, "duration": duration, "size": size}
    environment.filters |= {"time": "{:%Y-%m-%d %H:%M}".format, "quoted": partial(quote, safe="")}
    environment.filters |= {
        "comparison": partial(run_path, page=RUN_COMPARISON),
        "flip_preview": partial(run_path, page=FLIP_PREVIEW),
        "rescore_report": partial(run_path, page=RESCORE_REPORT),
        "run_report": partial(run_path, page=RUN_STATUS),
    }
    environment.globals |= {"recipe": recipe, "snapshot_path": snapshot_path, "is_dag_run": is_dag_run}
    return environment
