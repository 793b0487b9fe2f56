"""
### Rescore history

Scores old scans with another model beside the old rows, and shows which standing answers changed. By hand only: after a
model was withdrawn, its answers are on the worklist; the champion can answer those scans instead. For review, not for
diagnosis.

`ask` pins the model, records who asks and why, and takes up the scans; `chunks` lists their chunks; `score` runs once
per chunk; `report` writes the page of what changed, worst first; `reconcile` proves that every scan that was asked for
is rescored, was answered by the model already, or could not be, with a reason, and fails the run otherwise.

A model that is not the champion answers only where the form says that it may. Clearing any task is safe: a scan is
settled exactly once.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

import lineage
import notifications
from common import DEFAULT_ARGS

_FORM = {
    "of": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "minLength": 1},
        title="Answered by",
        description="Names of models: scans whose standing answer is theirs. Empty: any withdrawn model.",
        section="Which scans",
    ),
    "since": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Answered since",
        description="Only answers that were scored from this time on.",
        section="Which scans",
    ),
    "until": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Answered until",
        description="Only answers that were scored before this time.",
        section="Which scans",
    ),
    "limit": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="At most so many scans",
        description="Those answered last first; the others wait for another rescore. Empty: all of them.",
        section="Which scans",
    ),
    "reason": Param(
        type="string",
        minLength=1,
        pattern=r"\S",
        title="Reason",
        description="Why people are to be told another answer. It stays on record with your name.",
        section="Who answers",
    ),
    "model": Param(
        None,
        type=["null", "string"],
        minLength=1,
        title="Model",
        description="Name of the model that answers. Empty: the champion.",
        section="Who answers",
    ),
    "approve": Param(
        False,
        type="boolean",
        title="Also if it is not the champion",
        description="Approve that this model's answers stand: one that was champion, or that the gate passed.",
        section="Who answers",
    ),
    "chunk_size": Param(
        200,
        type="integer",
        minimum=1,
        maximum=5000,
        title="Chunk size",
        description="Scans a task scores.",
        section="Work",
    ),
}


@task
def ask() -> int:
    """Pin the model, record who asks and why, take up the scans."""
    from braintumor.rescoring.job import Rescore
    from braintumor.rescoring.request import RescoreRequest
    from common import settings

    context = get_current_context()
    params = context["params"]
    request = RescoreRequest.of_form(params, actor=notifications.actor_of(context))
    run_key = f"rescore_history {context['run_id']}"
    run = Rescore.open(settings("scorer")).open_run(
        request, run_key=run_key, chunk_size=params["chunk_size"], progress=print
    )
    return run.scoring_run_id


@task
def chunks(scoring_run_id: int) -> list[int]:
    """The chunks that the scans were divided into."""
    from braintumor.rescoring.job import Rescore
    from common import settings

    return Rescore.open(settings("scorer")).chunks(scoring_run_id)


@task(pool="score", retries=5, map_index_template="chunk {{ chunk_number }}")  # five find a scan that kills workers
def score(scoring_run_id: int, chunk_number: int) -> dict[str, int]:
    """Read, infer and settle one chunk."""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.rescoring.job import Rescore
    from common import settings

    get_current_context()["chunk_number"] = chunk_number
    found = settings("scorer")
    with decoders_closed_at_end():
        counts = Rescore.open(found).score(scoring_run_id, chunk_number)
    lineage.emit_lineage(found, reads=["scan", found.models_uri], writes=["prediction"])
    return counts


@task(pool="score", trigger_rule="all_done")  # where a chunk failed, what the others changed is shown all the same
def report(scoring_run_id: int | None) -> dict[str, int]:
    """Write the page of which standing answers changed."""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.rescoring.job import Rescore
    from common import reports_url, settings

    with decoders_closed_at_end():
        made = Rescore.open(settings("scorer")).report(scoring_run_id, reports_url=reports_url())
    print(made["markdown"])
    return {"count_compared": made["count_compared"], "count_flip": made["count_flip"]}


@task(trigger_rule="all_done")
def reconcile(scoring_run_id: int | None) -> str:
    """Prove that the rescore balances."""
    from braintumor.rescoring.job import Rescore
    from common import settings

    balance = Rescore.open(settings("scorer")).reconcile(scoring_run_id)
    print(balance)
    return str(balance)


@dag(
    dag_id="rescore_history",
    schedule=None,
    is_paused_upon_creation=False,  # nothing starts by itself, and a run that somebody triggers is not left waiting
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=6)},
    tags=["braintumor", "scoring"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    params=_FORM,
)
def rescore_history() -> None:
    """Wire ask -> chunks -> score (mapped) -> report and reconcile."""
    run_id = ask()
    score.partial(scoring_run_id=run_id).expand(chunk_number=chunks(run_id)) >> [report(run_id), reconcile(run_id)]


rescore_history()
