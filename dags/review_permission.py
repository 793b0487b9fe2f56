"""
### Permissions of the review page

This DAG has no schedule and does nothing. Airflow grants the permissions of the review page (`/braintumor/review/`) by
this DAG. A user who can see this DAG can read the page. A user who can edit this DAG can save decisions there. So a
role can be limited to reviews: it cannot start a scoring run, a retrain or a rollback.

With the FAB auth manager, grant `can_read` and `can_edit` on `DAG:braintumor_review`. The simple auth manager of the
demo has no permissions for single DAGs. There each `user`, `op` and `admin` can save decisions.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag

import notifications
from common import DEFAULT_ARGS


@dag(
    dag_id="braintumor_review",
    dag_display_name="braintumor_review (permissions of the review page, never runs)",
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
    """Add one empty task, because a DAG must have a task."""
    EmptyOperator(task_id="nothing")


braintumor_review()
