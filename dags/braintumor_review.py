"""
### Who may use the review page

This DAG does nothing and never runs. It is a name for Airflow's permissions: who may see it reads the review page
(`/braintumor/review/`), who may edit it answers there. So a role can be allowed to review and nothing else: it can
start no night, retrain nothing, and roll nothing back.

With the FAB auth manager: `can_read` and `can_edit` on `DAG:braintumor_review`. The simple auth manager of the demo
knows no DAG by name; there every `user`, `op` and `admin` may answer.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag

import notifications
from common import DEFAULT_ARGS


@dag(
    dag_id="braintumor_review",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    tags=["braintumor", "review"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
)
def braintumor_review() -> None:
    """Wire the one task, which a DAG must have."""
    EmptyOperator(task_id="nothing")


braintumor_review()
