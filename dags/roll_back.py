"""
### Roll back

Makes an earlier champion the champion again, if the current one predicts badly. It can also withdraw the current
champion. The notifiers in `BRAINTUMOR_NOTIFIERS` receive a message. Start this DAG by hand.

The task downloads and loads the earlier champion first. Then it changes everything in one commit. Each run rolls back
once, so clearing the task changes nothing. `braintumor model rollback` does the same without notifications.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

import lineage
import notifications
from common import CHAMPION, DEFAULT_ARGS

_log = logging.getLogger(__name__)

_FORM = {
    "to": Param(
        None,
        type=["null", "string"],
        minLength=1,
        title="Roll back to",
        description="Name of a former champion, from the page Brain-tumor models. Empty: the champion before this one.",
        section="Models",
    ),
    "withdraw": Param(
        False,
        type="boolean",
        title="Withdraw the current champion",
        description="Its predictions that reviewers have not settled move up on the worklist. Only an override can "
        "promote it again.",
        section="Models",
    ),
    "reason": Param(
        type="string",
        minLength=5,
        pattern=r"\S.*\S",
        title="Reason",
        description="Recorded in the promotion history. Notifications do not contain it. Do not name a patient.",
        section="On record",
    ),
}


@task(outlets=[CHAMPION])
def change_champion() -> str:
    """Roll back, with or without a withdrawal, and return the name of the new champion.

    Raises:
        PromotionError: the model was champion already, or cannot become champion.
    """
    from braintumor.errors import PromotionError
    from braintumor.promotion.promote import refresh, roll_back
    from braintumor.registry.promotions import PromotionRequest
    from common import settings_for

    context, settings = get_current_context(), settings_for("promoter")
    params = context["params"]
    done = roll_back(
        settings,
        PromotionRequest(
            request_key=f"roll_back {context['run_id']}", actor=notifications.actor_of(context), reason=params["reason"]
        ),
        to=params["to"],
        with_withdrawal=params["withdraw"],
    )
    if done.replaced is None and not done.is_recorded:
        raise PromotionError(
            f"{done.champion.model_name} is the champion already, so nothing was changed or withdrawn. Trigger the DAG "
            "again with another model, or leave the field empty for the champion before this one."
        )
    lineage.emit_lineage(settings, reads=["promotion"], writes=["promotion"])
    notifications.rolled_back(context, done, with_withdrawal=params["withdraw"])
    replaced = done.replaced.model_name if done.replaced else "no model, because an earlier try rolled back"
    _log.info("%s is the champion. It replaced %s.", done.champion.model_name, replaced)
    refresh(settings, [done.champion, done.replaced], warn=_log.warning)
    return done.champion.model_name


@dag(
    dag_id="roll_back",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,  # it has no schedule, and a rollback is urgent
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(minutes=30)},
    tags=["braintumor", "models"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    params=_FORM,
)
def roll_back() -> None:
    """Add the only task."""
    change_champion()


roll_back()
