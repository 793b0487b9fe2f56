"""
### Rescore history

Scores old scans with another model, keeps the old predictions, and shows which current predictions changed. Start it by
hand, for example after a model was withdrawn. Then the champion can score the scans of that model again. For review,
not for diagnosis.

- `open_rescore_run` pins the model, records the actor and the reason, and selects the scans.
- `chunks` lists the chunks of scans.
- `score` runs once per chunk.
- `report` writes the report of the changed predictions, the most serious first.
- `reconcile` checks that each selected scan is rescored, already scored by this model, or failed with a reason.
  Otherwise it fails the run.

A model that is not the champion is used only if the trigger form allows it. You can clear any task, because each scan
is committed exactly once.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

import lineage
import notifications
from common import DEFAULT_ARGS, chunk_size_param, label_mapped_task

_log = logging.getLogger(__name__)

_FORM = {
    "of": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "minLength": 1},
        title="Models whose predictions are replaced",
        description="Their names, one per line. The page Brain-tumor models lists the names. Empty: every withdrawn "
        "model.",
        section="Which scans",
    ),
    "since": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Only predictions made at or after",
        description="Empty: no limit.",
        section="Which scans",
    ),
    "until": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Only predictions made before",
        description="Empty: no limit.",
        section="Which scans",
    ),
    "limit": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="At most this many scans",
        description="Those with the newest predictions come first. Empty: all scans.",
        section="Which scans",
    ),
    "reason": Param(
        type="string",
        minLength=1,
        pattern=r"\S",
        title="Reason",
        description="Reason for changing predictions. It is recorded with your name.",
        section="Model",
    ),
    "model": Param(
        None,
        type=["null", "string"],
        minLength=1,
        title="Model that predicts again",
        description="Its name. The page Brain-tumor models lists the names. Empty: the champion.",
        section="Model",
    ),
    "approve": Param(
        False,
        type="boolean",
        title="Allow a model that is not the champion",
        description="Allow a former champion, or a model that passed the gate. Its predictions become current.",
        section="Model",
    ),
    "chunk_size": chunk_size_param(section="Work"),
}


@task
def open_rescore_run() -> int:
    """Pin the model, record the actor and the reason, select the scans, and return the run's ID."""
    from braintumor.rescoring.job import Rescore
    from braintumor.rescoring.request import RescoreRequest
    from common import settings_for

    context = get_current_context()
    params = context["params"]
    request = RescoreRequest.of_form(params, actor=notifications.actor_of(context))
    run_key = f"rescore_history {context['run_id']}"
    run = Rescore.open(settings_for("scorer")).open_run(
        request, run_key=run_key, chunk_size=params["chunk_size"], progress=_log.info
    )
    return run.scoring_run_id


@task
def chunks(scoring_run_id: int) -> list[int]:
    """Return the chunk numbers of the selected scans."""
    from braintumor.rescoring.job import Rescore
    from common import settings_for

    return Rescore.open(settings_for("scorer")).chunks(scoring_run_id)


@task(pool="score", retries=5, map_index_template="chunk {{ chunk_number }}")  # five isolate a scan that kills workers
def score(scoring_run_id: int, chunk_number: int) -> dict[str, int]:
    """Read, predict and commit one chunk, and return the number of scans per state."""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.rescoring.job import Rescore
    from common import settings_for

    label_mapped_task(chunk_number=chunk_number)
    settings = settings_for("scorer")
    with decoders_closed_at_end():
        counts = Rescore.open(settings).score(scoring_run_id, chunk_number)
    lineage.emit_lineage(settings, reads=["scan", settings.models_uri], writes=["prediction"])
    return counts


@task(pool="score", trigger_rule="all_done")  # after a failed chunk, report the others
def report(scoring_run_id: int | None) -> dict[str, int]:
    """Write the report of the changed current predictions, and return the numbers of compared and changed ones."""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.rescoring.job import Rescore
    from common import reports_url, settings_for

    with decoders_closed_at_end():
        summary = Rescore.open(settings_for("scorer")).report(scoring_run_id, reports_url=reports_url())
    _log.info("%s", summary["text"])
    return {"count_compared": summary["count_compared"], "count_flip": summary["count_flip"]}


@task(trigger_rule="all_done")
def reconcile(scoring_run_id: int | None) -> str:
    """Check that the rescore balances, and return the balance as text."""
    from braintumor.rescoring.job import Rescore
    from common import settings_for

    balance = Rescore.open(settings_for("scorer")).reconcile(scoring_run_id)
    _log.info("%s", balance)
    return str(balance)


@dag(
    dag_id="rescore_history",
    schedule=None,
    is_paused_upon_creation=False,  # it has no schedule, and a triggered run must start
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=6)},
    tags=["braintumor", "scoring"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    params=_FORM,
)
def rescore_history() -> None:
    """Wire open_rescore_run -> chunks -> score (mapped) -> report and reconcile."""
    run_id: Any = open_rescore_run()  # Any, because an XComArg stands for the value
    score.partial(scoring_run_id=run_id).expand(chunk_number=chunks(run_id)) >> [report(run_id), reconcile(run_id)]


rescore_history()
