"""Measures to Airflow's own metrics: StatsD or OpenTelemetry, whichever its section `[metrics]` turns on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from braintumor.scoring.run_report.metrics import Metric


def send(measure: Metric) -> None:
    """Set a gauge. Without metrics this does nothing; a metrics server that is away stops no night."""
    stats.gauge(measure.name, measure.value, tags=dict(measure.tags))
