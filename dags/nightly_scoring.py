"""
### Nightly scoring

Classifies every MRI file that is new under the scans prefixes with the champion, and writes predictions and rejections
to Postgres. For review, not for diagnosis.

`discover` lists the prefixes and enters what is new into the ledger; `plan` divides it into chunks; `score` runs once
per chunk; `reconcile` proves that every object seen is scored, already known, rejected, ignored, deferred or
superseded, and writes the morning sheet; a red night fails the run.

Clearing any task is safe: a scan is settled exactly once. Whom `BRAINTUMOR_NOTIFIERS` names is told of a red night.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

import lineage
import metrics
import notifications
from braintumor.config.variables import NIGHTLY_SCHEDULE
from common import DEFAULT_ARGS, PREDICTIONS, schedule

_FORM = {
    "scans_uri": Param(
        None,
        type=["null", "string"],
        pattern="^s3://.+",
        title="S3 prefixes",
        description="Where to look for new scans: s3://bucket/prefix/, several with commas between them. "
        "Empty: the setting BRAINTUMOR_SCANS_URI.",
    ),
    "second_model": Param(
        None,
        type=["null", "string"],
        title="Second model",
        description="Its name: asked beside the champion, and where the two disagree a person should look. Empty: "
        "the setting BRAINTUMOR_SECOND_MODEL.",
    ),
    "chunk_size": Param(
        200, type="integer", minimum=1, maximum=5000, title="Chunk size", description="Scans a task scores."
    ),
}


@task
def discover() -> int:
    """Pin the champion, list the prefixes, enter what is new into the ledger."""
    from braintumor.scoring.job import ScoringJob
    from common import settings

    context, found = get_current_context(), settings("scorer")
    run, discovery = ScoringJob.open(found).begin(
        run_key=f"nightly_scoring {context['run_id']}",
        scans_uri=context["params"]["scans_uri"],
        second_model=context["params"]["second_model"],
    )
    print(f"{discovery}; champion {run.model.model_name}")
    lineage.emit_lineage(found, reads=[str(run.scans)], writes=["scan", "scan_location"])
    return run.scoring_run_id


@task
def plan(scoring_run_id: int) -> list[int]:
    """Divide the pending scans into chunks."""
    from braintumor.scoring.job import ScoringJob
    from common import settings

    chunk_size = get_current_context()["params"]["chunk_size"]
    return ScoringJob.open(settings("scorer")).plan(scoring_run_id, chunk_size=chunk_size)


@task(pool="score", retries=5, map_index_template="chunk {{ chunk_number }}")  # five find a scan that kills workers
def score(scoring_run_id: int, chunk_number: int) -> dict[str, int]:
    """Read, decode, infer and settle one chunk."""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.scoring.job import ScoringJob
    from common import settings

    context, found = get_current_context(), settings("scorer")
    context["chunk_number"] = chunk_number
    with decoders_closed_at_end():
        counts = ScoringJob.open(found).score(scoring_run_id, chunk_number)
    scans = context["params"]["scans_uri"] or found.scans_uri
    lineage.emit_lineage(found, reads=["scan", scans, found.models_uri], writes=["prediction", "rejection"])
    return counts


@task(trigger_rule="all_done", outlets=[PREDICTIONS])
def reconcile(scoring_run_id: int | None) -> str:
    """Prove that the night balances, and write the morning sheet."""
    from braintumor.errors import ScoringRunError
    from braintumor.scoring.job import ScoringJob
    from common import reports_url, settings

    if scoring_run_id is None:
        raise ScoringRunError("Discovery failed, so there is no run to balance. See the log of `discover`.")
    found = settings("scorer")
    night = ScoringJob.open(found)
    balance = night.reconcile(scoring_run_id, progress=print, on_metric=metrics.send, reports_url=reports_url())
    print(balance)
    lineage.emit_lineage(found, reads=["scan", "prediction", "rejection"], writes=["scoring_run_summary"])
    return str(balance)


@dag(
    dag_id="nightly_scoring",
    schedule=schedule(NIGHTLY_SCHEDULE),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=6)},
    tags=["braintumor", "scoring"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    deadline=notifications.night_deadline(),
    params=_FORM,
)
def nightly_scoring() -> None:
    """Wire discover -> plan -> score (mapped) -> reconcile."""
    run_id = discover()
    score.partial(scoring_run_id=run_id).expand(chunk_number=plan(run_id)) >> reconcile(run_id)


nightly_scoring()
