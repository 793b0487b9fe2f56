"""What the DAG files share: settings from Airflow's connections, addresses, schedules, and the rules for retries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import Asset, Connection, CronTriggerTimetable, ExceptionRetryPolicy, RetryAction, RetryRule

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
            ],
            action=RetryAction.RETRY,
            reason="S3, Postgres or this machine's memory was not there; they may be again",
        ),
        RetryRule(
            exception="braintumor.errors.BrainTumorError",
            action=RetryAction.FAIL,
            reason="the same input would fail in the same way",
        ),
    ]
)


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "braintumor",
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_policy": _RETRY_POLICY,
}


REVIEWED_LABELS = Asset("braintumor/reviewed-labels")
"""Its event: enough labels of people are new for a retrain."""
PREDICTIONS = Asset("braintumor/predictions")
"""Its event: a night's rows are there and balance. What reads the answers can be scheduled on it."""
CHAMPION = Asset("braintumor/champion")
"""Its event: the champion may be another one; a retry that changed nothing says so again."""


def schedule(variable: Variable) -> CronTriggerTimetable:
    """The cron schedule of a variable, in the timezone BRAINTUMOR_TIMEZONE.

    Each date has one run, also where clocks change: a time that is skipped comes later by as much, and one that comes
    twice counts once.

    The DAGs have no start date, and nothing runs at once: otherwise unpausing one would start the run of a time that
    has passed already.
    """
    return CronTriggerTimetable(
        variable.text(),
        timezone=TIMEZONE.text(),
        run_immediately=timedelta(0),
    )


def base_url() -> str:
    """Airflow's own address, without a slash at its end; empty where this machine does not know it."""
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


def reports_url() -> str:
    """Where the plugin serves its reports: with Airflow's own address before it where this machine knows that."""
    return f"{base_url()}/braintumor/reports"


def settings(role: Literal["scorer", "trainer", "promoter"]) -> Settings:
    """The environment's settings, with Postgres and S3 from Airflow's connections where it names neither.

    Each task names the role that it connects to Postgres as: it can do what its work needs, and no more.
    """
    from braintumor.config.settings import Settings

    return Settings.from_environment(role=role).completed(_connection, role=role)


def _connection(name: str) -> Connection:
    """Find a connection. Airflow says "not defined" too when it could not be asked: no BrainTumorError, so retried."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(name)
    except AirflowNotFoundException as error:
        raise AirflowNotFoundException(
            f"Airflow knows no connection {name!r}, or could not be asked. Define it, or set BRAINTUMOR_DATABASE_URL "
            "and BRAINTUMOR_S3_ENDPOINT (for AWS itself: a connection of type aws without an endpoint_url)."
        ) from error
