"""Test the helpers of the DAG files in a subprocess with Airflow, outside a DAG run."""

from __future__ import annotations

from tests.dags.conftest import in_airflow


def test_missing_connection_is_named_and_retried(airflow_env: dict[str, str]) -> None:
    done = in_airflow(
        airflow_env,
        """
        from braintumor.errors import BrainTumorError
        from common import settings_for
        try:
            settings_for("scorer")
        except BrainTumorError:
            raise SystemExit("the retry policy would not retry")
        """,
    )
    assert "Airflow has no connection 'braintumor_db_scorer', or its API is not reachable" in done.stderr


def test_retry_policy_retries_only_temporary_errors(airflow_env: dict[str, str]) -> None:
    done = in_airflow(
        airflow_env,
        """
        from braintumor import errors
        from common import DEFAULT_ARGS
        for error in (errors.ObjectStoreUnreachableError, errors.DatabaseUnreachableError, errors.DecoderPoolError,
                      errors.DatabaseError, errors.ConfigurationError, MemoryError):
            decision = DEFAULT_ARGS["retry_policy"].evaluate(error("x"), 1, 5, None)
            print(error.__name__, decision.action.value)
        """,
    )
    assert done.stdout.splitlines()[-6:] == [
        "ObjectStoreUnreachableError retry",
        "DatabaseUnreachableError retry",
        "DecoderPoolError retry",
        "DatabaseError fail",
        "ConfigurationError fail",
        "MemoryError default",
    ], done.stderr


def test_connections_complete_an_empty_environment(airflow_env: dict[str, str]) -> None:
    done = in_airflow(
        airflow_env,
        """
        from common import settings_for
        settings = settings_for("trainer")
        print(settings.database_url, settings.s3_endpoint, settings.s3_access_key)
        """,
        AIRFLOW_CONN_BRAINTUMOR_DB_TRAINER="postgres://u:p@db:5432/braintumor",
        AIRFLOW_CONN_BRAINTUMOR_S3='{"conn_type": "aws", "login": "key", "extra": {"endpoint_url": "http://s3"}}',
    )
    assert done.stdout.splitlines()[-1] == "postgresql://u:p@db:5432/braintumor http://s3 key", done.stderr


def test_form_overrides_reach_the_command_unchanged(airflow_env: dict[str, str]) -> None:
    done = in_airflow(
        airflow_env,
        """
        import tomllib
        from training_process import _as_toml, form_overrides
        others = {"batch_size": 64, "dropout": 0.9, "augmentation": {"zoom": 1e-05}, "fine_tuning": None}
        overrides = form_overrides({"epochs": 3, "dropout": 0.25, "learning_rate": None, "overrides": others})
        print(tomllib.loads("\\n".join(_as_toml(overrides))))
        """,
    )
    assert done.stdout.splitlines()[-1] == str(
        {"batch_size": 64, "dropout": 0.25, "augmentation": {"zoom": 1e-05}, "fine_tuning": False, "epochs": 3}
    ), done.stderr


def test_timed_out_task_ends_its_training_process(airflow_env: dict[str, str]) -> None:
    done = in_airflow(
        airflow_env,
        """
        import os, signal, sys
        import psutil
        from training_process import run_command

        class TimedOut(BaseException): ...
        def ring(*_):
            raise TimedOut
        signal.signal(signal.SIGALRM, ring)
        child = "import os, signal, time; os.kill(os.getppid(), signal.SIGALRM); time.sleep(600)"
        try:
            run_command([sys.executable, "-c", child], dict(os.environ))
        except TimedOut:
            print("timed out, children:", psutil.Process().children())
        """,
    )
    assert done.stdout.splitlines()[-1] == "timed out, children: []", done.stderr
