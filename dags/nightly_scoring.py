"""
### Nightly scoring

Classifies each new MRI file under the scan prefixes with the champion. Writes predictions and rejections to Postgres.
For review, not for diagnosis.

- `discover` lists the prefixes and adds new scans to the scan table.
- `plan` divides the pending scans into chunks.
- `score` runs once per chunk.
- `reconcile` checks that each listed object is scored, already known, rejected, ignored, deferred or superseded. It
  writes the run report. A red run status fails the run.

You can clear any task, because each scan is committed exactly once. The notifiers in `BRAINTUMOR_NOTIFIERS` receive a
message about a failed run.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.observability import stats

import lineage
import notifications
from braintumor.config.variables import NIGHT_DEADLINE_HOURS, NIGHTLY_SCHEDULE
from common import DEFAULT_ARGS, PREDICTIONS, chunk_size_param, label_mapped_task, schedule

if TYPE_CHECKING:
    from braintumor.scoring.run_report.metrics import Metric

_log = logging.getLogger(__name__)

_FORM = {
    "scans_uri": Param(
        None,
        type=["null", "string"],
        pattern="^s3://.+",
        title="S3 prefixes",
        description="Prefixes with new scans: s3://bucket/prefix/, separated by commas. "
        "Empty: the setting BRAINTUMOR_SCANS_URI.",
    ),
    "second_model": Param(
        None,
        type=["null", "string"],
        title="Second model",
        description="Name of a model that also predicts each scan, from the page Brain-tumor models. If it disagrees "
        "with the champion, the scan is put on the worklist. Empty: the setting BRAINTUMOR_SECOND_MODEL.",
    ),
    "chunk_size": chunk_size_param(),
}


@task
def discover() -> int:
    """Pin the champion, list the prefixes, add new scans to the scan table, and return the run's ID."""
    from braintumor.scoring.job import ScoringJob
    from common import settings_for

    context, settings = get_current_context(), settings_for("scorer")
    run, discovery = ScoringJob.open(settings).begin(
        run_key=f"nightly_scoring {context['run_id']}",
        scans_uri=context["params"]["scans_uri"],
        second_model=context["params"]["second_model"],
    )
    lineage.emit_lineage(settings, reads=[str(run.scans)], writes=["scan", "scan_location"])
    _log.info("%s; champion %s", discovery, run.model.model_name)
    return run.scoring_run_id


@task
def plan(scoring_run_id: int) -> list[int]:
    """Divide the pending scans into chunks, and return the chunk numbers."""
    from braintumor.scoring.job import ScoringJob
    from common import settings_for

    chunk_size = get_current_context()["params"]["chunk_size"]
    return ScoringJob.open(settings_for("scorer")).plan(scoring_run_id, chunk_size=chunk_size)


@task(pool="score", retries=5, map_index_template="chunk {{ chunk_number }}")  # five isolate a scan that kills workers
def score(scoring_run_id: int, chunk_number: int) -> dict[str, int]:
    """Read, decode, predict and commit one chunk, and return the number of scans per outcome."""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.scoring.job import ScoringJob
    from common import settings_for

    label_mapped_task(chunk_number=chunk_number)
    settings = settings_for("scorer")
    with decoders_closed_at_end():
        counts = ScoringJob.open(settings).score(scoring_run_id, chunk_number)
    scans = get_current_context()["params"]["scans_uri"] or settings.scans_uri
    lineage.emit_lineage(settings, reads=["scan", scans, settings.models_uri], writes=["prediction", "rejection"])
    return counts


@task(trigger_rule="all_done", outlets=[PREDICTIONS])
def reconcile(scoring_run_id: int | None) -> str:
    """Check that the run balances, write the run report, and return the balance as text."""
    from braintumor.errors import ScoringRunError
    from braintumor.scoring.job import ScoringJob
    from common import reports_url, settings_for

    if scoring_run_id is None:
        raise ScoringRunError("Discovery failed, so there is no run to balance. See the log of `discover`.")
    settings = settings_for("scorer")
    job = ScoringJob.open(settings)
    balance = job.reconcile(scoring_run_id, progress=_log.info, on_metric=_send_metric, reports_url=reports_url())
    reads, writes = ["scan", "prediction", "rejection", "review"], ["scoring_run_summary", "live_accuracy_figure"]
    lineage.emit_lineage(settings, reads=reads, writes=writes)
    _log.info("%s", balance)
    return str(balance)


def _send_metric(metric: Metric) -> None:
    """Send a metric as a gauge, if Airflow's metrics are on. An unreachable metrics server fails no run."""
    stats.gauge(metric.name, metric.value, tags=dict(metric.tags))


@dag(
    dag_id="nightly_scoring",
    schedule=schedule(NIGHTLY_SCHEDULE),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=6)},
    tags=["braintumor", "scoring"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    deadline=notifications.run_deadline(NIGHT_DEADLINE_HOURS),
    params=_FORM,
)
def nightly_scoring() -> None:
    """Wire discover -> plan -> score (mapped) -> reconcile."""
    run_id: Any = discover()  # Any, because an XComArg stands for the value
    score.partial(scoring_run_id=run_id).expand(chunk_number=plan(run_id)) >> reconcile(run_id)


nightly_scoring()
