"""Format numbers for reports, cards and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from braintumor.evaluation.metrics.classification import wilson_interval


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
