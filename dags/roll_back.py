"""
### Roll back

The way back from a model that answers badly: makes an earlier champion the champion again, on request also withdraws
the one that goes, and tells whom `BRAINTUMOR_NOTIFIERS` names. Started by hand only.

The earlier champion's files are fetched and loaded before anything changes, and everything changes in one commit.
Clearing the task changes nothing more: a run rolls back once. `braintumor model rollback` does the same and tells
nobody.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

import lineage
import notifications
from common import CHAMPION, DEFAULT_ARGS

_FORM = {
    "to": Param(
        None,
        type=["null", "string"],
        minLength=1,
        title="Back to",
        description="Name or number of a former champion. Empty: the one before today's.",
        section="Models",
    ),
    "withdraw": Param(
        False,
        type="boolean",
        title="Withdraw today's champion",
        description="Its standing answers return to the worklist, and only an override promotes it again.",
        section="Models",
    ),
    "reason": Param(
        type="string",
        minLength=5,
        pattern=r"\S.*\S",
        title="Reason",
        description="Why, for the ledger, where it stays. The people who are told do not get it. Name no patient.",
        section="On record",
    ),
}


@task(outlets=[CHAMPION])
def change_champion() -> str:
    """Roll back, with or without a withdrawal; returns the champion's name."""
    from braintumor.promotion.promote import roll_back
    from braintumor.registry.promotions import PromotionRequest
    from common import settings

    context, found = get_current_context(), settings("promoter")
    params = context["params"]
    done = roll_back(
        found,
        PromotionRequest(
            request_key=f"roll_back {context['run_id']}",
            actor=notifications.actor_of(context),
            reason=params["reason"],
        ),
        to=params["to"],
        with_withdrawal=params["withdraw"],
        warn=print,
    )
    print(f"replaced: {done.replaced.model_name if done.replaced else 'nobody, nothing was changed'}")
    lineage.emit_lineage(found, reads=["promotion"], writes=["promotion"])
    notifications.rolled_back(context, done, with_withdrawal=params["withdraw"])
    return done.champion.model_name


@dag(
    dag_id="roll_back",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,  # there is no schedule to hold back, and this is asked for in a hurry
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(minutes=30)},
    tags=["braintumor", "models"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
    params=_FORM,
)
def roll_back() -> None:
    """Wire the one task."""
    change_champion()


roll_back()
