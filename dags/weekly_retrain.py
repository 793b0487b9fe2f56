"""
### Weekly retrain

Runs every week, and also when `reviewed_labels` finds enough new labels.

1. `snapshot` records the labeled images and the reviewed frames.
2. `train` trains each chosen recipe, on the queue and pool `gpu`. `evaluate` measures each model on the test split.
3. `gate` applies the gate's rules to the candidate, which is the best model on the validation split.
4. `preview` scores the newest production scans with the candidate. A page shows which predictions would change. These
   shadow predictions are stored and never shown to reviewers.
5. The policy decides the promotion: `ask` waits for an approval, `auto` promotes, `never` only records the result.

A candidate that the gate refuses is never promoted. A failed preview fails the run, without approval and promotion. If
one recipe fails, the gate judges the others and names the failed recipe, and the run fails. Reports are next to the
models in S3.

The notifiers in `BRAINTUMOR_NOTIFIERS` receive a message about a refusal, a request for approval, a rejection, a
promotion, and a failed run. They also receive one if a run neither ends nor requests approval before its deadline.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, Param, chain, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

import lineage
import notifications
from approval import RecordedApprovalOperator
from braintumor.config.variables import RECIPES, RETRAIN_DEADLINE_HOURS, WEEKLY_SCHEDULE
from braintumor.training.recipe import recipe_name, recipe_names
from common import CHAMPION, DEFAULT_ARGS, REVIEWED_LABELS, label_mapped_task, schedule

_log = logging.getLogger(__name__)
_POLICY = "ask"
_RECIPES = [name.strip() for name in RECIPES.text().split(",")]
_CHOICES = [*recipe_names(), *(path for path in _RECIPES if path.endswith(".toml"))]

_FORM = {
    "recipes": Param(
        _RECIPES,
        type="array",
        items={"type": "string", "enum": _CHOICES},
        examples=_CHOICES,
        minItems=1,
        uniqueItems=True,
        title="Recipes",
        description="One model is trained per recipe. To list a recipe of your own, add its path to "
        "BRAINTUMOR_RECIPES.",
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
        description="Largest number of epochs in the frozen stage. Empty: the value of each recipe.",
        section="Overrides, for every recipe",
    ),
    "dropout": Param(
        None,
        type=["null", "number"],
        minimum=0,
        exclusiveMaximum=1,
        title="Dropout",
        description="Rate on the pooled features. Empty: the value of each recipe.",
        section="Overrides, for every recipe",
    ),
    "learning_rate": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        exclusiveMaximum=1,
        title="Learning rate",
        description="Learning rate of Adam in the frozen stage. Empty: the value of each recipe.",
        section="Overrides, for every recipe",
    ),
    "overrides": Param(
        {},
        type="object",
        title="Other values",
        description='Other values of a recipe as JSON: {"batch_size": 64, "augmentation": {"zoom": 0.2}}. '
        '{"augmentation": false} removes augmentation. The values are checked before training and recorded with the '
        "model.",
        section="Overrides, for every recipe",
    ),
    "policy": Param(
        _POLICY,
        type="string",
        enum=["ask", "auto", "never"],
        title="Promotion policy",
        description="What happens to a model that passes the gate: request approval, promote it, or only record it.",
        section="Promotion",
    ),
    "preview_scans": Param(
        500,
        type="integer",
        minimum=0,
        maximum=5000,
        title="Scans of the flip preview",
        description="Number of the newest scored scans that the candidate scores too, to show which predictions would "
        "change. 0: no preview.",
        section="Promotion",
    ),
}


@task
def snapshot() -> str:
    """Record the labeled images with their splits, and return the snapshot's ID."""
    from braintumor.dataset.images.patient_ids import claim_of_patients
    from braintumor.dataset.take_snapshot import snapshot_of
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from common import settings_for

    settings, prefix = settings_for("trainer"), get_current_context()["params"]["dataset_uri"]
    with decoders_closed_at_end():
        taken = snapshot_of(settings, prefix)
    lineage.emit_lineage(settings, reads=[prefix or settings.dataset_uri, "reviewed_frame"], writes=["snapshot"])
    _log.info("%s", claim_of_patients(taken.identified))
    for reason, count in taken.excluded_by_reason().items():  # URIs can contain patient names, so they stay in Postgres
        _log.info("excluded: %d images: %s", count, reason)
    if taken.excluded:
        query = f"select left_out from braintumor.snapshot where snapshot_id = '{taken.snapshot_id}'"
        _log.info("List them with: %s", query)
    _log.info("snapshot %s: %s; %d duplicates removed", taken.snapshot_id, taken.counts(), taken.count_copy)
    return taken.snapshot_id


@task
def recipes() -> list[str]:
    """Check the recipes of this run before training, and return their names or paths."""
    from braintumor.errors import RecipeError
    from braintumor.training.recipe import Recipe
    from training_process import form_overrides

    params = get_current_context()["params"]
    chosen: list[str] = params["recipes"]
    names = [Recipe.load(recipe).override(**form_overrides(params)).name for recipe in chosen]
    if len(set(names)) < len(names):
        raise RecipeError(f"Each recipe of a run needs its own name. Received: {', '.join(names)}. Rename a file.")
    return chosen


@task(queue="gpu", pool="gpu", map_index_template="{{ recipe }}")
def train(recipe: str, snapshot_id: str) -> str:
    """Train one recipe in a subprocess, and return the model's name."""
    from common import settings_for
    from training_process import form_overrides, train_in_subprocess

    label_mapped_task(recipe=recipe)
    context = get_current_context()
    settings, overrides = settings_for("trainer"), form_overrides(context["params"])
    run_key = context["run_id"]
    name = train_in_subprocess(settings, recipe, snapshot_id=snapshot_id, run_key=run_key, overrides=overrides)
    lineage.emit_lineage(settings, reads=["snapshot"], writes=["model_version", settings.models_uri])
    return name


@task(map_index_template="{{ model_name }}")
def evaluate(model_name: str) -> str:
    """Evaluate one model on the validation and test splits, with the inference backend of production."""
    from braintumor.evaluation.evaluate_model import evaluate_model
    from common import settings_for

    label_mapped_task(model_name=model_name)
    settings = settings_for("trainer")
    evaluated = evaluate_model(settings, model_name, access_key=get_current_context()["run_id"], progress=_log.info)
    lineage.emit_lineage(settings, reads=["model_version", "snapshot"], writes=["evaluation"])
    return evaluated


@task_group
def candidate(recipe: str, snapshot_id: str) -> None:
    """Train and evaluate one recipe. A failure does not stop the other recipes."""
    model_name: Any = train(recipe, snapshot_id)  # Any, because an XComArg stands for the value
    evaluate(model_name)


@task(trigger_rule="all_done", queue="gpu")  # its workers have TensorFlow; the GPU is not used
def gate(recipes: list[str] | None) -> dict[str, Any]:
    """Select the candidate on validation, and apply the gate's rules to the candidate's test results and files."""
    from braintumor.evaluation.judge_run import judge_run
    from common import settings_for

    context = get_current_context()
    settings = settings_for("trainer")
    verdict = judge_run(settings, context["run_id"], list(map(recipe_name, recipes or [])))
    _log.info("%s. %s", verdict["model_name"], verdict["summary"])
    for reason in verdict["reasons"]:
        _log.info("failed: %s", reason)
    if verdict["note"]:
        _log.warning("%s", verdict["note"])
    lineage.emit_lineage(settings, reads=["evaluation"], writes=["gate_verdict"])
    notifications.refused(context, verdict)
    return verdict


@task(pool="score")
def preview(verdict: dict[str, Any]) -> dict[str, Any]:
    """Score the newest production scans with the candidate, and report the changed predictions."""
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.preview.job import preview_candidate
    from common import reports_url, settings_for

    if not verdict["is_passed"]:
        raise AirflowSkipException("The gate refused the candidate, so there is no approval and no promotion.")
    settings, scans = settings_for("scorer"), get_current_context()["params"]["preview_scans"]
    with decoders_closed_at_end():
        summary = preview_candidate(settings, verdict["gate_verdict_id"], scans=scans, reports_url=reports_url())
    _log.info("%s The page: %s", summary["summary"], summary["page_uri"])
    lineage.emit_lineage(
        settings, reads=["prediction", settings.scans_uri, settings.models_uri], writes=["shadow_prediction"]
    )
    return summary


@task.branch(trigger_rule="none_failed")  # a refused candidate has no preview
def route(verdict: dict[str, Any]) -> str | None:
    """Return the ID of the next task for the verdict and this run's policy, or ``None`` if the run ends."""
    if not verdict["is_passed"]:
        return None
    return {"ask": "approve", "auto": "promote", "never": None}[get_current_context()["params"]["policy"]]


@task(trigger_rule="none_failed_min_one_success", outlets=[CHAMPION])
def promote(verdict: dict[str, Any]) -> bool:
    """Make the candidate the champion, and return whether this try changed the champion. A retry changes nothing."""
    from braintumor.promotion.promote import promote_candidate
    from common import settings_for

    context, settings = get_current_context(), settings_for("promoter")
    is_new = promote_candidate(
        settings,
        verdict["gate_verdict_id"],
        approval=context["ti"].xcom_pull(task_ids="approve"),
        must_be_approved=context["params"]["policy"] == "ask",
        warn=_log.warning,
    )
    lineage.emit_lineage(settings, reads=["gate_verdict", "approval_decision"], writes=["promotion"])
    notifications.promoted(context, verdict, is_new=is_new)
    return is_new


@task
def record_approval(verdict: dict[str, Any]) -> str:
    """Record the approval decision and the person who decided."""
    from braintumor.promotion.approval import record_decision
    from common import settings_for

    context = get_current_context()
    approval = context["ti"].xcom_pull(task_ids="approve")
    if approval is None:
        raise AirflowSkipException("No approval was requested.")
    settings = settings_for("promoter")
    decision = record_decision(settings, verdict["gate_verdict_id"], approval)
    lineage.emit_lineage(settings, reads=["gate_verdict"], writes=["approval_decision"])
    notifications.rejected(context, verdict, decision)
    return str(decision)


@task
def reconcile(recipes: list[str]) -> str:
    """Check that every recipe has an evaluated model."""
    from braintumor.evaluation.judge_run import require_every_model
    from common import settings_for

    names = list(map(recipe_name, recipes))
    count = require_every_model(settings_for("trainer"), get_current_context()["run_id"], names)
    _log.info("%d of %d recipes have an evaluated model", count, count)
    return f"{count} of {count} recipes have an evaluated model"


@dag(
    dag_id="weekly_retrain",
    schedule=AssetOrTimeSchedule(timetable=schedule(WEEKLY_SCHEDULE), assets=[REVIEWED_LABELS]),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=12)},
    tags=["braintumor", "training"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    deadline=notifications.run_deadline(RETRAIN_DEADLINE_HOURS, policy=_POLICY),
    params=_FORM,
)
def weekly_retrain() -> None:
    """Wire snapshot -> train and evaluate (mapped) -> gate -> preview -> approve -> promote, and reconcile."""
    approve = RecordedApprovalOperator(
        task_id="approve",
        subject="Promote {{ ti.xcom_pull(task_ids='gate')['model_name'] }}?",
        body="{{ ti.xcom_pull(task_ids='preview')['markdown'] }}\n\n{{ ti.xcom_pull(task_ids='gate')['markdown'] }}",
        defaults="Reject",
        response_timeout=timedelta(days=3),
        notifiers=[notifications.ApprovalRequested()],
        fail_on_reject=False,
    )

    wanted: Any = recipes()
    taken: Any = snapshot()
    wanted >> taken  # a wrong value of the form fails before all labeled images are read
    candidates = candidate.partial(snapshot_id=taken).expand(recipe=wanted)
    verdict: Any = gate(wanted)
    promoted = promote(verdict)
    chain(candidates, verdict, preview(verdict), route(verdict), [approve, promoted])
    approve >> promoted
    # A teardown, because a rejection skips all other downstream tasks. Its failure still fails the run.
    approve >> record_approval(verdict).as_teardown(on_failure_fail_dagrun=True)
    candidates >> reconcile(wanted)


weekly_retrain()
