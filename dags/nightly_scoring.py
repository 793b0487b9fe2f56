"""
### Nightly scoring

Classifies every MRI file that is new under the scans prefix with the champion, and writes predictions and rejections to
Postgres. For review, not for diagnosis.

`discover` lists the prefix and enters what is new into the ledger; `plan` divides it into chunks; `score` runs once per
chunk; `reconcile` proves that every object seen is scored, already known, rejected, ignored, deferred or superseded,
and fails the run otherwise.

Clearing any task is safe: a scan is settled exactly once. Whom `BRAINTUMOR_NOTIFIERS` names is told of a red night.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

import notifying
from wiring import DEFAULT_ARGS, schedule


@dag(
    dag_id="nightly_scoring",
    schedule=schedule("BRAINTUMOR_NIGHTLY_SCHEDULE", default="0 1 * * *"),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=6)},
    tags=["braintumor", "scoring"],
    doc_md=__doc__,
    on_failure_callback=notifying.failed,
    params={
        "scans_uri": Param(
            None,
            type=["null", "string"],
            pattern="^s3://.+",
            title="S3 prefix",
            description="Where to look for new scans. Empty: the setting BRAINTUMOR_SCANS_URI.",
        ),
        "chunk_size": Param(
            200, type="integer", minimum=1, maximum=5000, title="Chunk size", description="Scans a task scores."
        ),
    },
)
def nightly_scoring() -> None:
    """Wire discover -> plan -> score (mapped) -> reconcile."""

    @task
    def discover() -> int:
        """Pin the champion, list the prefix, enter what is new into the ledger."""
        from braintumor.scoring.night import Night
        from wiring import settings

        context = get_current_context()
        run, discovery = Night.open(settings()).begin(
            run_key=f"nightly_scoring {context['run_id']}", scans_uri=context["params"]["scans_uri"]
        )
        print(f"{discovery.count_seen} objects seen, {discovery.count_new} new; champion {run.model.model_name}")
        return run.scoring_run_id

    @task
    def plan(scoring_run_id: int) -> list[int]:
        """Divide the pending scans into chunks."""
        from braintumor.scoring.night import Night
        from wiring import settings

        chunk_size = get_current_context()["params"]["chunk_size"]
        return Night.open(settings()).plan(scoring_run_id, chunk_size=chunk_size)

    @task(pool="score", retries=5, map_index_template="chunk {{ chunk_number }}")  # five find a scan that kills workers
    def score(scoring_run_id: int, chunk_number: int) -> dict[str, int]:
        """Read, decode, infer and settle one chunk."""
        from braintumor.scoring.night import Night
        from wiring import settings

        get_current_context()["chunk_number"] = chunk_number
        return Night.open(settings()).score(scoring_run_id, chunk_number)

    @task(trigger_rule="all_done")
    def reconcile(scoring_run_id: int | None) -> str:
        """Prove that the night balances."""
        from braintumor.errors import ScoringRunError
        from braintumor.scoring.night import Night
        from wiring import settings

        if scoring_run_id is None:
            raise ScoringRunError("Discovery failed, so there is no run to balance. See the log of `discover`.")
        balance = Night.open(settings()).reconcile(scoring_run_id)
        print(balance)
        return str(balance)

    run_id = discover()
    score.partial(scoring_run_id=run_id).expand(chunk_number=plan(run_id)) >> reconcile(run_id)


nightly_scoring()
