"""Test the helpers of the DAG files with Airflow, outside a DAG run."""

from __future__ import annotations

from tests.airflow_process import AirflowProcess
from tests.dags import common_functions


def test_missing_connection_is_named_and_retried(in_airflow: AirflowProcess) -> None:
    is_ours, message = in_airflow.call(common_functions.missing_connection)
    assert "Airflow has no connection 'braintumor_db_scorer', or its API is not reachable" in message
    assert not is_ours, "the retry policy would not retry"


def test_retry_policy_retries_only_temporary_errors(in_airflow: AirflowProcess) -> None:
    assert in_airflow.call(common_functions.retry_decisions) == [
        ("ObjectStoreUnreachableError", "retry"),
        ("DatabaseUnreachableError", "retry"),
        ("DecoderPoolError", "retry"),
        ("UploadUnfinishedError", "retry"),
        ("DatasetError", "fail"),
        ("DatabaseError", "fail"),
        ("ConfigurationError", "fail"),
        ("MemoryError", "default"),
    ]


def test_connections_complete_an_empty_environment(in_airflow: AirflowProcess) -> None:
    settings = in_airflow.call(
        common_functions.trainer_settings,
        AIRFLOW_CONN_BRAINTUMOR_DB_TRAINER="postgres://u:p@db:5432/braintumor",
        AIRFLOW_CONN_BRAINTUMOR_S3='{"conn_type": "aws", "login": "key", "extra": {"endpoint_url": "http://s3"}}',
    )
    assert settings.database_url == "postgresql://u:p@db:5432/braintumor"
    assert (settings.s3_endpoint, settings.s3_access_key) == ("http://s3", "key")


def test_form_overrides_reach_the_command_unchanged(in_airflow: AirflowProcess) -> None:
    others = {"batch_size": 64, "dropout": 0.9, "augmentation": {"zoom": 1e-05}, "fine_tuning": None}
    params = {"epochs": 3, "dropout": 0.25, "learning_rate": None, "overrides": others}
    assert in_airflow.call(common_functions.overrides_of_command, params) == {
        "batch_size": 64, "dropout": 0.25, "augmentation": {"zoom": 1e-05}, "fine_tuning": False, "epochs": 3
    }  # fmt: skip


def test_timed_out_task_ends_its_training_process(in_airflow: AirflowProcess) -> None:
    assert in_airflow.call(common_functions.children_after_timeout) == []
