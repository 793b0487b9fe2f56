"""
### Reviewed labels

Once a day, counts the labels that people's answers have made and that no snapshot has considered yet. When they are
enough (`retrain_after` of the label rules), it says so by the asset `braintumor/reviewed-labels`, which starts
`weekly_retrain` beside its weekly schedule. With fewer the task is skipped, and nothing starts.

Labels that asked once never ask again, whatever becomes of that retrain: the next weekly one takes them all the same.
Clearing the task is safe. `braintumor dataset show-reviewed-labels` shows the count, and what makes no label and why.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

import lineage
import notifications
from braintumor.config.variables import REVIEWED_SCHEDULE
from common import DEFAULT_ARGS, REVIEWED_LABELS, schedule


@task(outlets=[REVIEWED_LABELS])
def ask() -> int:
    """Ask for a retrain where enough labels are new."""
    from braintumor.dataset.review_labels.labels import request_retrain
    from common import settings

    found = settings("trainer")
    count = request_retrain(found, request_key=get_current_context()["run_id"])
    lineage.emit_lineage(found, reads=["review"], writes=["requested_label"])
    if not count:
        raise AirflowSkipException("Too few new labels: `braintumor dataset show-reviewed-labels` shows how many.")
    print(f"{count} new labels ask for a retrain")
    return count


@dag(
    dag_id="reviewed_labels",
    schedule=schedule(REVIEWED_SCHEDULE),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(minutes=30)},
    tags=["braintumor", "training"],
    doc_md=__doc__,
    on_failure_callback=notifications.failed,
)
def reviewed_labels() -> None:
    """Wire the one task, whose success is the asset's event."""
    ask()


reviewed_labels()
