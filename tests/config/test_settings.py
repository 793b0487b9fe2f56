"""Settings and environment variables."""

from __future__ import annotations

import os
from typing import Any

import pytest

from braintumor.config.settings import Settings, setting_variables
from braintumor.config.variables import FORMER_NAMES, NO_SKIPS, Kind, Variable, _warn_of_former_name
from braintumor.errors import ConfigurationError
from tests.conftest import forget_settings


def test_settings_round_trip_through_an_environment() -> None:
    made = Settings(database_url="postgresql://x", s3_secret_key="s", scans_uri="s3://a/b/")
    assert Settings.from_environment(made.to_environment()) == made


def test_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"BRAINTUMOR_SCANS_URI": ""}).scans_uri == "s3://braintumor/scans/"


def test_repr_shows_no_secret() -> None:
    shown = repr(Settings(database_url="postgresql://u:hunter2@h/d", s3_secret_key="hunter2", pseudonym_key="hunter2"))
    assert "hunter2" not in shown


def test_missing_setting_is_named_with_its_meaning() -> None:
    with pytest.raises(ConfigurationError, match=r"BRAINTUMOR_DATABASE_URL is not set \(Postgres"):
        Settings().require("database_url")


def test_every_setting_has_a_description() -> None:
    assert all(each.doc and each.name.startswith("BRAINTUMOR_") for each in setting_variables().values())


class _Connection:
    login: str | None = "key"
    password: str | None = "secret"
    extra_dejson: dict[str, Any] = {"endpoint_url": "http://s3"}  # noqa: RUF012

    def get_uri(self) -> str:
        return "postgres://u:p@host:5432/db"


def test_connections_complete_the_environment() -> None:
    made = Settings(s3_region="eu-west-1").completed(lambda _name: _Connection())
    assert made.database_url == "postgresql://u:p@host:5432/db"
    assert (made.s3_access_key, made.s3_endpoint, made.s3_region) == ("key", "http://s3", "eu-west-1")


def test_own_keys_are_used_at_endpoint_of_connection() -> None:
    made = Settings(s3_access_key="mine", s3_secret_key="own").with_store(lambda _name: _Connection())
    assert (made.s3_access_key, made.s3_secret_key, made.s3_endpoint) == ("mine", "own", "http://s3")
    whole = Settings(s3_access_key="mine", s3_secret_key="own", s3_endpoint="http://other")
    assert whole.with_store(lambda _name: _Connection()) == whole
    half = Settings(s3_access_key="mine").with_store(lambda _name: _Connection())
    assert half.s3_secret_key is None, "the settings mix the keys of two sources"


def test_empty_fields_of_connection_count_as_unset() -> None:
    connection = _Connection()
    connection.extra_dejson = {"endpoint_url": "", "region_name": ""}
    made = Settings(s3_region="eu-west-1").with_store(lambda _name: connection)
    assert (made.s3_endpoint, made.s3_region) == (None, "eu-west-1")


def test_only_needed_connections_are_requested_and_must_exist() -> None:
    def missing(name: str) -> _Connection:
        raise LookupError(name)

    complete = Settings(database_url="postgresql://x", s3_endpoint="http://s3")
    assert complete.completed(missing) == complete
    with pytest.raises(LookupError, match="braintumor_s3"):
        Settings(database_url="postgresql://x").completed(missing)
    with pytest.raises(LookupError, match="braintumor_db"):
        Settings(s3_access_key="key").completed(missing)


def test_role_has_its_own_url_and_connection() -> None:
    given = {"BRAINTUMOR_DATABASE_URL": "postgresql://all", "BRAINTUMOR_DATABASE_URL_SCORER": "postgresql://scorer"}
    assert Settings.from_environment(given, role="scorer").database_url == "postgresql://scorer"
    assert Settings.from_environment(given, role="trainer").database_url == "postgresql://all"
    requested = []
    Settings(s3_endpoint="http://s3").completed(lambda name: requested.append(name) or _Connection(), role="scorer")
    assert requested == ["braintumor_db_scorer"]
    made = Settings.from_environment(given, role="scorer").to_environment(given)
    assert {name: url for name, url in made.items() if "DATABASE" in name} == {
        "BRAINTUMOR_DATABASE_URL": "postgresql://scorer"
    }


def test_leftover_variable_does_not_reach_a_subprocess() -> None:
    base = {"PATH": "/bin", "BRAINTUMOR_S3_ENDPOINT": "http://left-over", "BRAINTUMOR_RECIPES": "vgg16"}
    made = Settings(database_url="postgresql://x").to_environment(base)
    assert Settings.from_environment(made) == Settings(database_url="postgresql://x")
    assert (made["PATH"], made["BRAINTUMOR_RECIPES"]) == ("/bin", "vgg16")


@pytest.mark.parametrize(("name", "former"), FORMER_NAMES.items())
def test_former_variable_is_read_with_one_warning(name: str, former: str, capsys: pytest.CaptureFixture[str]) -> None:
    _warn_of_former_name.cache_clear()
    variable = Variable(name=name, kind=Kind.TEXT, doc="x", default="default")
    assert variable.read({former: "old"}) == variable.read({former: "old"}) == "old"
    assert capsys.readouterr().err.splitlines() == [
        f"braintumor: {former!r} is now {name!r}. The next release does not read {former!r}."
    ]
    assert variable.read({former: "old", name: "new"}) == "new"
    assert variable.read({former: ""}) == "default"
    assert capsys.readouterr().err == ""


def test_former_name_does_not_reach_a_subprocess() -> None:
    base = {"BRAINTUMOR_MORNING_RULES": "left-over.toml", "BRAINTUMOR_ENGINE": "tensorflow-xla"}
    assert Settings.from_environment(base).backend == "tensorflow-xla"
    assert Settings.from_environment(base).run_report_rules == "left-over.toml"
    made = Settings(run_report_rules=None).to_environment(base)
    assert Settings.from_environment(made) == Settings()


def test_tests_forget_the_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRAINTUMOR_DATABASE_URL", "AIRFLOW_CONN_BRAINTUMOR_DB_SCORER", NO_SKIPS.name, "BRAINTUMOR_DATASET"):
        monkeypatch.setenv(name, "of the shell")
    forget_settings()
    kept = {name for name, value in os.environ.items() if value == "of the shell"}
    assert kept == {NO_SKIPS.name, "BRAINTUMOR_DATASET"}


def test_probability_is_a_number_from_0_to_1_or_unset() -> None:
    assert Settings().probability("reading_threshold") is None
    assert Settings(reading_threshold="0.2").probability("reading_threshold") == 0.2


@pytest.mark.parametrize("text", ["20%", "1.5", "-0.1", "nan"])
def test_probability_outside_0_to_1_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"BRAINTUMOR_READING_THRESHOLD must be a number from 0 to 1"):
        Settings(reading_threshold=text).probability("reading_threshold")
