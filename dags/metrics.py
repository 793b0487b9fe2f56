"""Send metrics through Airflow. Airflow's section `[metrics]` configures StatsD or OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from braintumor.scoring.run_report.metrics import Metric


def send(metric: Metric) -> None:
    """Send a metric as a gauge, if Airflow's metrics are on. An unreachable metrics server fails no run."""
    stats.gauge(metric.name, metric.value, tags=dict(metric.tags))
