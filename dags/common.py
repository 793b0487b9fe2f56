"""Define what the DAG files share: settings from Airflow's connections, URLs, schedules, assets, the retry policy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from airflow.sdk import (
    Asset,
    Connection,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    get_current_context,
)

from braintumor.config.variables import TIMEZONE, Variable

if TYPE_CHECKING:
    from braintumor.config.settings import Settings

_RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[
                "braintumor.errors.ObjectStoreUnreachableError",
                "braintumor.errors.DatabaseUnreachableError",
                "braintumor.errors.DecoderPoolError",
                "braintumor.errors.UploadUnfinishedError",
            ],
            action=RetryAction.RETRY,
            retry_delay=timedelta(minutes=10),  # so that a restart of S3 or Postgres does not end the night
            reason="S3, Postgres, memory or a complete upload was not available, and can be available later",
        ),
        RetryRule(
            exception="braintumor.errors.BrainTumorError",
            action=RetryAction.FAIL,
            reason="the same input fails in the same way",
        ),
    ]
)


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "braintumor",
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_policy": _RETRY_POLICY,
}


def chunk_size_param(**options: Any) -> Param:
    """Return the form field ``chunk_size``.

    The default is that of ``braintumor.scoring.chunks.CHUNK_SIZE``, which a DAG file cannot import without SQLAlchemy.
    ``options`` are further options of the field, such as its section.
    """
    return Param(
        1000,
        type="integer",
        minimum=1,
        maximum=10_000,
        title="Scans per task",
        description="Number of scans that one task scores. A smaller number gives more tasks.",
        **options,
    )


REVIEWED_LABELS = Asset("braintumor/reviewed-labels")
"""Asset that is updated when there are enough new reviewed labels for a retrain."""
PREDICTIONS = Asset("braintumor/predictions")
"""Asset that is updated when the predictions of a nightly run are committed and the run balances.

Schedule DAGs that read predictions on this asset.
"""
CHAMPION = Asset("braintumor/champion")
"""Asset that is updated when the champion may have changed. A retry that changes nothing updates it too."""


def schedule(variable: Variable) -> CronTriggerTimetable:
    """Return the cron schedule of a variable, in the timezone BRAINTUMOR_TIMEZONE.

    Each date has one run, also when clocks change. If the change skips the run's time, the run starts later by the size
    of the change. If the time occurs twice, it has one run.

    The DAGs have no start date, and no run starts immediately. Otherwise a DAG that is unpaused would start the run of
    a past time.
    """
    return CronTriggerTimetable(variable.text(), timezone=TIMEZONE.text(), run_immediately=timedelta(0))


def label_mapped_task(**values: object) -> None:
    """Add values to the context of the current task. Its ``map_index_template`` shows them as the task's label."""
    cast("dict[str, object]", get_current_context()).update(values)


def base_url() -> str:
    """Return Airflow's URL without a slash at the end, or an empty string if the URL is not configured."""
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


def reports_url() -> str:
    """Return the URL of the reports plugin. Without a configured Airflow URL, the returned URL has no host."""
    return f"{base_url()}/braintumor/reports"


def settings_for(role: Literal["scorer", "trainer", "promoter"]) -> Settings:
    """Return the environment's settings, completed with Airflow's connections for Postgres and S3.

    ``role`` is the task's role in Postgres, so that the task has only the rights that it needs.
    """
    from braintumor.config.settings import Settings

    return Settings.from_environment(role=role).completed(_connection, role=role)


def _connection(name: str) -> Connection:
    """Return the Airflow connection with this name. An error fails the task, and Airflow retries the task."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection: Connection = Connection.get(name)
    except AirflowNotFoundException as error:
        raise AirflowNotFoundException(
            f"Airflow has no connection {name!r}, or its API is not reachable. Define it, or set "
            "BRAINTUMOR_DATABASE_URL and BRAINTUMOR_S3_ENDPOINT. For AWS, define a connection of type aws without an "
            "endpoint_url."
        ) from error
    return connection
