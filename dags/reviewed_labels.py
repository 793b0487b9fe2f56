"""
### Reviewed labels

Counts the new reviewed labels once a day. These are labels from reviewers' decisions that no snapshot has considered.
If there are enough (`retrain_after` in the label rules), the task updates the asset `braintumor/reviewed-labels`. This
starts `weekly_retrain` in addition to its schedule. Otherwise the task is skipped.

Each label requests at most one retrain, also if that retrain fails. The next weekly retrain uses all labels. You can
clear the task. `braintumor dataset show-reviewed-labels` shows the count, and which reviews make no label and why.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

import lineage
import notifications
from braintumor.config.variables import REVIEWED_SCHEDULE
from common import DEFAULT_ARGS, REVIEWED_LABELS, schedule

_log = logging.getLogger(__name__)


@task(outlets=[REVIEWED_LABELS])
def request_retrain() -> int:
    """Request a retrain if there are enough new labels, and return the number of new labels."""
    from braintumor.dataset.review_labels import labels
    from common import settings_for

    settings = settings_for("trainer")
    count = labels.request_retrain(settings, request_key=get_current_context()["run_id"])
    lineage.emit_lineage(settings, reads=["review"], writes=["requested_label"])
    if not count:
        raise AirflowSkipException("Too few new labels: `braintumor dataset show-reviewed-labels` shows the count.")
    _log.info("%d new labels request a retrain", count)
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
    """Add the only task. Its success updates the asset."""
    request_retrain()


reviewed_labels()
