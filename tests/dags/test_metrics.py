"""Test the metrics of a nightly run, which Airflow sends by OpenTelemetry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import airflow.sdk
import pytest
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from braintumor.config.settings import Settings
from braintumor.scoring.run_report.metrics import NAMES
from tests.airflow_process import PROJECT
from tests.conftest import Put
from tests.dags.conftest import DagRunner
from tests.images import png
from tests.webhook import receiver

MONITORING = PROJECT / "monitoring"
Received = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def collector() -> Iterator[tuple[str, Received]]:
    """Run a server for an OpenTelemetry exporter. Provides its URL, and each gauge's last value."""
    received: Received = {}

    def take(body: bytes) -> None:
        request = ExportMetricsServiceRequest()
        request.ParseFromString(body)
        for metric in (m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics):
            for point in metric.gauge.data_points:
                tags = sorted((tag.key, tag.value.string_value) for tag in point.attributes)
                received[metric.name, tuple(tags)] = point.as_double or float(point.as_int)

    with receiver(take) as url:
        yield url, received


def with_metrics(runner: DagRunner, url: str) -> DagRunner:
    """Return a runner with Airflow's metrics on, sent to ``url``."""
    settings = {
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/v1/metrics",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    return replace(runner, environment={**runner.environment, **settings})


@pytest.mark.soak
def test_nightly_run_sends_metrics_without_object_keys(dag_runner: DagRunner, settings: Settings, put: Put) -> None:
    put("Jane_Doe.png", png())
    put("words.jpg", b"words")
    with collector() as (url, received):
        assert with_metrics(dag_runner, url).run("nightly_scoring", settings) == "success"
    ours = {key: value for key, value in received.items() if key[0].startswith("airflow.braintumor.")}
    objects = {dict(tags)["outcome"]: value for (name, tags), value in ours.items() if name.endswith("night.objects")}
    assert (objects["seen"], objects["scored"], objects["rejected"], objects["unaccounted"]) == (2, 1, 1, 0)
    sent = {name.removeprefix("airflow.") for name, _ in ours}
    assert sent == set(NAMES) - {"braintumor.night.drift"}  # one frame is too few for drift
    assert "Doe" not in str(received)


@pytest.mark.soak
def test_unreachable_metrics_server_fails_no_run(dag_runner: DagRunner, settings: Settings, put: Put) -> None:
    put("a.png", png())
    assert with_metrics(dag_runner, "http://127.0.0.1:1").run("nightly_scoring", settings) == "success"


def test_rules_and_dashboard_use_existing_metrics() -> None:
    template = Path(airflow.sdk.__file__).parent / "_shared/observability/metrics/metrics_template.yaml"
    of_airflow = {
        metric["name"] + "_total" * (metric["type"] == "counter")  # the name that the Prometheus exporter gives it
        for metric in yaml.safe_load(template.read_text())["metrics"]
    }
    known = {f"airflow_{name.replace('.', '_')}" for name in (*NAMES, *of_airflow)}
    rules = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    of_rules = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    of_panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert of_rules and of_panels
    used = {name for expression in of_rules + of_panels for name in re.findall(r"airflow_\w+", expression)}
    assert used - known == set()
    ours = {f"airflow_{name.replace('.', '_')}" for name in NAMES}
    assert ours - used == set(), "sent but never shown"
    for expression in of_rules + of_panels:
        without = re.sub(r"(last|absent)_over_time\(airflow_braintumor_\w+(\{[^}]*\})?\[26h\]\)", "", expression)
        assert "airflow_braintumor" not in without, "a restart of the collector would end or raise the alert"


@pytest.mark.parametrize("group", yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"])
def test_each_alert_rule_links_its_runbook_section(group: dict[str, list[dict[str, dict[str, str]]]]) -> None:
    headings = re.findall(r"^#+ (\S+)$", (PROJECT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    for rule in group["rules"]:
        section = rule["annotations"]["runbook"].partition("#")[2]
        assert section in headings, rule
