"""
### Weekly retrain

Runs every week, and also when `reviewed_labels` finds enough new labels of people.

Snapshots the labeled images and the frames that people labeled, trains the chosen recipes on the queue and pool
`gpu`, evaluates every model on the held-out test split, and puts the one that validation picks before the gate.

What passes is previewed: it scores the newest scans of production in the shadow, and a page shows which answers would
change. Then it is promoted according to the policy: `ask` waits for a person's approval, `auto` promotes, `never` only
records. A preview that fails fails the run: nothing is promoted then, and nobody is asked. A model that the gate
refuses is never promoted here. Reports lie beside the models in S3.

A recipe that fails leaves the others alone: they are judged, the gate's words name it, and the run ends red.

People are told of a refusal, a question, a rejection, a promotion, a red run, and of a run that comes neither to its
end nor to its question within the deadline: `BRAINTUMOR_NOTIFIERS` names who.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, Param, chain, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

import lineage
import notifications
from approval import RecordedApprovalOperator
from braintumor.config.variables import RECIPES, WEEKLY_SCHEDULE
from braintumor.training.recipe import recipe_names
from common import CHAMPION, DEFAULT_ARGS, REVIEWED_LABELS, schedule

_POLICY = "ask"
_RECIPES = [name.strip() for name in RECIPES.text().split(",")]

_FORM = {
    "recipes": Param(
        _RECIPES,
        type="array",
        items={"type": "string", "enum": recipe_names()},
        examples=recipe_names(),
        minItems=1,
        uniqueItems=True,
        title="Recipes",
        description="One model is trained for each.",
        section="Training",
    ),
    "dataset_uri": Param(
        None,
        type=["null", "string"],
        pattern="^s3://.+",
        title="S3 prefix of the labeled images",
        description="Empty: the setting BRAINTUMOR_DATASET_URI.",
        section="Training",
    ),
    "epochs": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=1000,
        title="Epochs",
        description="At most so many in the frozen stage. Empty: each recipe's own number.",
        section="Set by hand, for every recipe",
    ),
    "dropout": Param(
        None,
        type=["null", "number"],
        minimum=0,
        exclusiveMaximum=1,
        title="Dropout",
        description="Rate on the pooled features. Empty: each recipe's own.",
        section="Set by hand, for every recipe",
    ),
    "learning_rate": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        exclusiveMaximum=1,
        title="Learning rate",
        description="Of Adam in the frozen stage. Empty: each recipe's own.",
        section="Set by hand, for every recipe",
    ),
    "overrides": Param(
        {},
        type="object",
        title="Other values",
        description='Any other value of a recipe, as JSON: {"batch_size": 64, "augmentation": {"zoom": 0.2}}; '
        '{"augmentation": false} leaves augmentation out. Checked before anything is trained. What is set by hand '
        "is on record with the model.",
        section="Set by hand, for every recipe",
    ),
    "policy": Param(
        _POLICY,
        type="string",
        enum=["ask", "auto", "never"],
        title="Promotion policy",
        description="What happens to a model that passes the gate: ask a person, promote it, or only record it.",
        section="Promotion",
    ),
    "preview_scans": Param(
        500,
        type="integer",
        minimum=0,
        maximum=5000,
        title="Scans of the flip preview",
        description="So many of the newest scans that the champion answered are scored by the candidate too, to "
        "show which answers would change. 0: none.",
        section="Promotion",
    ),
}


@task
def snapshot() -> str:
    """Record the labeled images with their splits."""
    from braintumor.dataset.snapshot import snapshot_of
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from common import settings

    found, prefix = settings("trainer"), get_current_context()["params"]["dataset_uri"]
    with decoders_closed_at_end():
        taken = snapshot_of(found, prefix)
    lineage.emit_lineage(found, reads=[prefix or found.dataset_uri, "reviewed_frame"], writes=["snapshot"])
    print(f"snapshot {taken.snapshot_id}: {taken.counts()}; {taken.count_copy} copies folded")
    for reason, count in taken.excluded_by_reason().items():  # addresses can name patients: they stay in Postgres
        print(f"left out: {count} images: {reason}")
    if taken.excluded:
        print(f"which: select left_out from braintumor.snapshot where snapshot_id = '{taken.snapshot_id}'")
    return taken.snapshot_id


@task
def recipes() -> list[str]:
    """The recipes of this run, checked before hours are spent."""
    from braintumor.training.recipe import Recipe
    from training_process import set_by_hand

    params = get_current_context()["params"]
    return [Recipe.load(name).override(**set_by_hand(params)).name for name in params["recipes"]]


@task(queue="gpu", pool="gpu", map_index_template="{{ recipe }}")
def train(recipe: str, snapshot_id: str) -> str:
    """Train one recipe in an interpreter of its own; returns the model's name."""
    from common import settings
    from training_process import set_by_hand, train_in_subprocess

    context = get_current_context()
    context["recipe"] = recipe
    found, overrides = settings("trainer"), set_by_hand(context["params"])
    run_key = context["run_id"]
    name = train_in_subprocess(found, recipe, snapshot_id=snapshot_id, run_key=run_key, overrides=overrides)
    lineage.emit_lineage(found, reads=["snapshot"], writes=["model_version", found.models_uri])
    return name


@task(map_index_template="{{ model_name }}")
def evaluate(model_name: str) -> str:
    """Judge one model on the validation and test splits, with the engine that will serve it."""
    from braintumor.evaluation.evaluate_model import evaluate_model
    from common import settings

    context = get_current_context()
    context["model_name"] = model_name
    found = settings("trainer")
    evaluated = evaluate_model(found, model_name, access_key=context["run_id"], progress=print)
    lineage.emit_lineage(found, reads=["model_version", "snapshot"], writes=["evaluation"])
    return evaluated


@task_group
def candidate(recipe: str, snapshot_id: str) -> None:
    """One recipe by itself: its failure leaves the others alone."""
    evaluate(train(recipe, snapshot_id))


@task(trigger_rule="all_done", queue="gpu")  # its workers have TensorFlow; the GPU itself is not used
def gate(recipes: list[str] | None) -> dict[str, Any]:
    """Validation picks the candidate; the gate's rules pass or refuse it on test, and ask whether it is whole."""
    from braintumor.evaluation.judge_run import judge_run
    from common import settings

    context = get_current_context()
    found = settings("trainer")
    verdict = judge_run(found, context["run_id"], recipes or [])
    print(verdict["markdown"])
    lineage.emit_lineage(found, reads=["evaluation"], writes=["gate_verdict"])
    notifications.refused(context, verdict)
    return verdict


@task(pool="score")
def preview(verdict: dict[str, Any]) -> dict[str, Any]:
    """What would the candidate have said of production's newest scans?"""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.preview.job import preview_candidate
    from common import reports_url, settings

    if not verdict["is_passed"]:
        raise AirflowSkipException("The gate refused the candidate: there is nothing to ask or to promote.")
    found, scans = settings("scorer"), get_current_context()["params"]["preview_scans"]
    with decoders_closed_at_end():
        made = preview_candidate(found, verdict["gate_verdict_id"], scans=scans, reports_url=reports_url())
    print(made["markdown"])
    lineage.emit_lineage(found, reads=["prediction", found.scans_uri, found.models_uri], writes=["shadow_prediction"])
    return made


@task.branch(trigger_rule="none_failed")  # a refused candidate has no preview
def route(verdict: dict[str, Any]) -> str | None:
    """Where the verdict leads under this run's policy."""
    if not verdict["is_passed"]:
        return None
    return {"ask": "approve", "auto": "promote", "never": None}[get_current_context()["params"]["policy"]]


@task(trigger_rule="none_failed_min_one_success", outlets=[CHAMPION])
def promote(verdict: dict[str, Any]) -> bool:
    """Make the candidate the champion; a retry changes nothing."""
    from braintumor.promotion.promote import promote_candidate
    from common import settings

    context, found = get_current_context(), settings("promoter")
    is_new = promote_candidate(
        found,
        verdict["gate_verdict_id"],
        approval=context["ti"].xcom_pull(task_ids="approve"),
        must_be_approved=context["params"]["policy"] == "ask",
        warn=print,
    )
    lineage.emit_lineage(found, reads=["gate_verdict", "approval_decision"], writes=["promotion"])
    notifications.promoted(context, verdict, is_new=is_new)
    return is_new


@task
def keep_answer(verdict: dict[str, Any]) -> str:
    """Put on record who approved or rejected."""
    from braintumor.promotion.approval import record_decision
    from common import settings

    context = get_current_context()
    approval = context["ti"].xcom_pull(task_ids="approve")
    if approval is None:
        raise AirflowSkipException("Nobody was asked.")
    found = settings("promoter")
    answer = record_decision(found, verdict["gate_verdict_id"], approval)
    lineage.emit_lineage(found, reads=["gate_verdict"], writes=["approval_decision"])
    notifications.rejected(context, verdict, answer)
    return str(answer)


@task
def reconcile(recipes: list[str]) -> str:
    """Prove that every recipe came to an evaluated model."""
    from braintumor.evaluation.judge_run import require_every_model
    from common import settings

    count = require_every_model(settings("trainer"), get_current_context()["run_id"], recipes)
    return f"{count} of {count} recipes came to an evaluated model"


@dag(
    dag_id="weekly_retrain",
    schedule=AssetOrTimeSchedule(timetable=schedule(WEEKLY_SCHEDULE), assets=[REVIEWED_LABELS]),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=12)},
    tags=["braintumor", "training"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    deadline=notifications.retrain_deadline(policy=_POLICY),
    params=_FORM,
)
def weekly_retrain() -> None:
    """Wire snapshot -> train, evaluate (mapped) -> gate -> preview -> approve or not -> promote; and reconcile."""
    approve = RecordedApprovalOperator(
        task_id="approve",
        subject="Promote {{ ti.xcom_pull(task_ids='gate')['model_name'] }}?",
        body="{{ ti.xcom_pull(task_ids='gate')['markdown'] }}\n\n{{ ti.xcom_pull(task_ids='preview')['markdown'] }}",
        defaults="Reject",
        response_timeout=timedelta(days=3),
        notifiers=[notifications.Waiting()],
        fail_on_reject=False,
    )

    wanted = recipes()
    candidates = candidate.partial(snapshot_id=snapshot()).expand(recipe=wanted)
    verdict = gate(wanted)
    promoted = promote(verdict)
    chain(candidates, verdict, preview(verdict), route(verdict), [approve, promoted])
    approve >> promoted
    # A teardown, because a rejection skips every other task below it. Its failure is the run's all the same.
    approve >> keep_answer(verdict).as_teardown(on_failure_fail_dagrun=True)
    candidates >> reconcile(wanted)


weekly_retrain()
