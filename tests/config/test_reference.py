"""Test that the settings page lists every setting once, and that shown values contain no secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from braintumor.config import reference
from braintumor.config.airflow_connections import EnvironmentConnection, settings_of
from braintumor.config.redaction import MASK, masked, secrets_of, without_secrets
from braintumor.config.reference import SettingValue, page, sections, show, unknown
from braintumor.config.roles import Role
from braintumor.config.settings import Settings, setting_variables
from braintumor.config.variables import NIGHTLY_SCHEDULE, OF_DAGS, TASK_ROLES, Kind, Variable
from braintumor.errors import ConfigurationError
from tests.airflow_process import AirflowProcess
from tests.config.connection_functions import as_airflow_reads
from tests.conftest import run_braintumor

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "configuration.md"
SOURCES = [
    *(path for folder in ("braintumor", "dags", "plugins", "devstack", "benchmarks", "tests")
      for path in (PROJECT / folder).rglob("*") if path.suffix in {".py", ".toml", ".html", ".sql"}),
    *(PROJECT / name for name in ("docker-compose.yaml", "Dockerfile", "Makefile", "README.md", ".ci/run")),
    *(path for path in (PROJECT / "docs").rglob("*.md") if path != PAGE),
]  # fmt: skip
NOT_VARIABLES = {
    "BRAINTUMOR_DATABASE_URL_": "prefix of each role's own",
    "BRAINTUMOR_S3_": "prefix of several",
    "BRAINTUMOR_DB_": "prefix of AIRFLOW_CONN_BRAINTUMOR_DB_<ROLE>",
    "BRAINTUMOR_COMPLETE": "of click, after an underscore",
}
"""Texts in the sources that look like variables."""
MISSPELLED = {"BRAINTUMOR_SCAN_URI", "BRAINTUMOR_LIKE_NOTHING", "BRAINTUMOR_DB", "BRAINTUMOR_WEBHOOK", "BRAINTUMOR_X"}
"""In this file and in the tests of the doctor."""


def now(environment: dict[str, str], name: str) -> SettingValue:
    (setting,) = [item for item in show(environment) if item.name == name]
    return setting


def test_page_is_current() -> None:
    assert page() == PAGE.read_text(), "generate it: braintumor config show --markdown > docs/configuration.md"


def test_every_variable_in_the_sources_is_on_the_page() -> None:
    listed = set(re.findall(r"`(?:AIRFLOW_CONN_)?(BRAINTUMOR_[A-Z0-9_]+)`", PAGE.read_text()))
    missing = {
        name: str(path.relative_to(PROJECT))
        for path in SOURCES
        for name in set(re.findall(r"BRAINTUMOR_[A-Z0-9_]+", path.read_text()))
        - NOT_VARIABLES.keys()
        - MISSPELLED
        - listed
    }
    assert len(SOURCES) > 300 and missing == {}, "declare it in braintumor/config/"


def test_each_variable_is_listed_once_with_a_description() -> None:
    every = [variable for section in sections() for variable in section.variables]
    assert len({variable.name for variable in every}) == len(every) > len(setting_variables()) + len(OF_DAGS)
    assert all(variable.doc and "|" not in variable.doc for variable in every)


def test_dags_and_plugins_read_only_declared_variables() -> None:
    for path in [*(PROJECT / "dags").glob("*.py"), *(PROJECT / "plugins").glob("*.py")]:
        assert not re.search(r"environ\.get|environ\[|getenv", path.read_text()), path


def test_connections_and_pools_of_the_dags_are_on_the_page() -> None:
    sources = "\n".join(path.read_text() for path in [*(PROJECT / "dags").glob("*.py"), *PROJECT.glob("plugins/*.py")])
    assert set(re.findall(r'pool="(\w+)"', sources)) == set(reference.POOLS)
    assert set(re.findall(r'role="(\w+)"|settings\("(\w+)"\)', sources)) <= {
        pair for role in TASK_ROLES for pair in ((role, ""), ("", role))
    }
    assert set(TASK_ROLES) <= {role.value for role in Role}
    for name in ("braintumor_s3", *(f"braintumor_db_{role}" for role in TASK_ROLES), *reference.POOLS):
        assert f"`{name}`" in PAGE.read_text()


def test_value_is_from_the_environment_or_the_default() -> None:
    name = NIGHTLY_SCHEDULE.name
    assert (now({name: "5 2 * * *"}, name).value, now({name: "5 2 * * *"}, name).source) == ("5 2 * * *", "environment")
    assert (now({name: ""}, name).value, now({name: ""}, name).source) == ("0 1 * * *", "default")
    assert (now({}, "BRAINTUMOR_S3_ENDPOINT").value, now({}, "BRAINTUMOR_S3_ENDPOINT").source) == (None, "unset")
    assert NIGHTLY_SCHEDULE.text({name: ""}) == "0 1 * * *"


DATABASE = Variable(name="X", kind=Kind.URL, doc="x", is_secret=True)
PLAIN = Variable(name="X", kind=Kind.URL, doc="x")
CONNECTION = Variable(name="X", kind=Kind.CONNECTION, doc="x", is_secret=True)


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        (DATABASE, "postgresql://ann:hunter2@db:5432/b", "postgresql://ann:***@db:5432/b"),
        (DATABASE, "postgresql://ann:hunt@er2@db/b", "postgresql://ann:***@db/b"),
        (DATABASE, "postgresql://ann:hunt/er2@[::1]:5432/b", "postgresql://ann:***@[::1]:5432/b"),
        (DATABASE, "postgresql://db/b?user=ann&password=hunter2", "postgresql://db/b?user=***&password=***"),
        (DATABASE, "postgresql:///b?host=/run/postgresql&passfile=hunter2", "postgresql:///b?host=***&passfile=***"),
        (DATABASE, "postgresql://ann:hunter2", MASK),
        (DATABASE, "postgresql://hunter2#@db", "postgresql://***@db"),
        (DATABASE, "host=db password=hunter2", MASK),
        (CONNECTION, '{"conn_type": "aws", "password": "hunter2"}', MASK),
        (CONNECTION, "aws://hunter2:hunter2@/?region_name=hunter2", "aws://hunter2:***@/?region_name=***"),
        (PLAIN, "https://hunter2@viewer/?study={study}&token=hunter2", "https://***@viewer/?study={study}&token=***"),
        (PLAIN, "https://s3.example:9000", "https://s3.example:9000"),
        (PLAIN, "s3://ward/scans/,s3://archive/", "s3://ward/scans/,s3://archive/"),
    ],
)
def test_url_is_shown_without_password_and_token(variable: Variable, value: str, shown: str) -> None:
    assert masked(variable, value) == shown


def test_no_form_of_a_secret_url_shows_its_password() -> None:
    for user in ("ann", "", "a%40b"):
        for password in ("hunter2", "@hunter2", "hunter2/", "x?hunter2", "x#hunter2", "x:hunter2", "hunter2@x"):
            for rest in ("db/b", "db:5432/b?sslmode=require", "", "/", "db/b@c", "db?x=hunter2@y"):
                assert "hunter2" not in masked(DATABASE, f"postgresql://{user}:{password}@{rest}")


def test_config_show_masks_secrets_and_lists_unknown_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {name: f"hunter2{name}" for name, variable in setting_variables().items() if variable.is_secret}
    made = Settings(**{**secret, "database_url": "postgresql://ann:hunter2@db/b", "s3_endpoint": "http://hunter2@s3"})
    monkeypatch.setenv("BRAINTUMOR_SCAN_URI", "hunter2")
    monkeypatch.setenv("AIRFLOW_CONN_BRAINTUMOR_DB_SCORER", "postgres://ann:hunter2@db/b")
    for option in ([], ["--json"]):
        done = run_braintumor(made, "config", "show", *option)
        assert "hunter2" not in done.stdout + done.stderr
        assert "postgresql://ann:***@db/b" in done.stdout and "BRAINTUMOR_SCANS_URI" in done.stdout
        assert "BRAINTUMOR_SCAN_URI" in (done.stdout if option else done.stderr)
    assert "ann" not in run_braintumor(made, "config", "show", "--markdown").stdout


def test_unknown_variable_is_named_with_the_nearest_known_one() -> None:
    given = {
        "BRAINTUMOR_SCAN_URI": "x",
        "BRAINTUMOUR_BACKEND": "x",
        "AIRFLOW_CONN_BRAINTUMOR_DB": "x",
        "AIRFLOW_CONN_BRAINTUMOR_WEBHOOK": "of a notifier",
        "BRAINTUMOR_LIKE_NOTHING": "x",
        "_BRAINTUMOR_COMPLETE": "x",
        "BRAINTUMOR_DATABASE_URL_SCORER": "x",
        "BRAINTUMOR_DATABASE_URL_ANALYST": "x",
        "AIRFLOW_CONN_BRAINTUMOR_DB_ANALYST": "x",
        "AIRFLOW_CONN_BRAINTUMOR_DB_ERASER": "x",
    }
    assert unknown({**given, "BRAINTUMOR_ENGINE": "a former name"}) == {
        "AIRFLOW_CONN_BRAINTUMOR_DB": "AIRFLOW_CONN_BRAINTUMOR_DB_SCORER",
        "BRAINTUMOR_LIKE_NOTHING": None,
        "BRAINTUMOR_SCAN_URI": "BRAINTUMOR_SCANS_URI",
        "BRAINTUMOUR_BACKEND": "BRAINTUMOR_BACKEND",
    }


def test_secrets_in_a_message_are_replaced() -> None:
    made = Settings(
        database_url="postgresql://ann:hun%40ter2@db/b",
        s3_secret_key="s3cr3t",
        s3_endpoint="http://key:open-sesame@s3/?token=whisper",
        pseudonym_key="abc",
    )
    message = without_secrets("hun@ter2 hun%40ter2 s3cr3t open-sesame whisper of ann at db, abc", made)
    assert message == f"{MASK} {MASK} {MASK} {MASK} {MASK} of ann at db, abc"
    assert "abc" not in secrets_of(made)


STORES = [
    "aws://key:se%2Fcret@/?endpoint_url=http%3A%2F%2Fs3&region_name=eu-west-1",
    "aws://key:se%2Fcret@/?__extra__=%7B%22endpoint_url%22%3A%20%22http%3A//s3%22%2C%20"
    "%22region_name%22%3A%20%22eu-west-1%22%7D",
    '{"conn_type": "aws", "login": "key", "password": "se/cret", '
    '"extra": {"endpoint_url": "http://s3", "region_name": "eu-west-1"}}',
    '{"conn_type": "aws", "login": "key", "password": "se/cret", '
    '"extra": "{\\"endpoint_url\\": \\"http://s3\\", \\"region_name\\": \\"eu-west-1\\"}"}',
]
DATABASES = [
    '{"conn_type": "postgres", "login": "ann", "password": "a@b", "host": "db", "port": 5432, "schema": "braintumor"}',
    "postgres://ann:a%40b@db:5432/braintumor",
]
UNUSUAL = [
    '{"conn_type": "postgres", "login": "ann", "password": "b", "host": "db", "schema": "brain tumor", '
    '"extra": {"sslmode": "verify-full"}}',
    '{"conn_type": "postgres", "password": "b", "host": "db", "schema": "b"}',
    '{"conn_type": "postgres", "login": "ann", "host": "/run/postgresql", "schema": "b"}',
]


def test_connection_is_read_as_airflow_reads_it(in_airflow: AirflowProcess) -> None:
    def find(text: str) -> EnvironmentConnection:
        return EnvironmentConnection.find("braintumor_x", {"AIRFLOW_CONN_BRAINTUMOR_X": text})

    for store in STORES:
        made = Settings().with_store(lambda _name, store=store: find(store))  # type: ignore[misc]
        assert (made.s3_access_key, made.s3_secret_key) == ("key", "se/cret")
        assert (made.s3_endpoint, made.s3_region) == ("http://s3", "eu-west-1")
    for database in DATABASES:
        made = Settings().with_database(lambda _name, text=database: find(text), role="scorer")  # type: ignore[misc]
        assert made.database_url == "postgresql://ann:a%40b@db:5432/braintumor"
    texts = [*STORES, *DATABASES, *UNUSUAL]
    for text, expected in zip(texts, in_airflow.call(as_airflow_reads, texts), strict=True):
        login, password, extra, uri = expected
        ours = find(text)
        assert (ours.login, ours.password, ours.extra_dejson) == (login, password, extra)
        uris = [each.replace("postgres://", "postgresql://") for each in (ours.get_uri(), uri)]
        assert text in STORES or uris[0] == uris[1]


def test_command_uses_the_connections_of_the_tasks() -> None:
    environment = {"AIRFLOW_CONN_BRAINTUMOR_DB_PROMOTER": DATABASES[1], "AIRFLOW_CONN_BRAINTUMOR_S3": STORES[0]}
    settings = settings_of("promoter", environment)
    assert settings.database_url == "postgresql://ann:a%40b@db:5432/braintumor"
    assert (settings.s3_endpoint, settings.s3_access_key) == ("http://s3", "key")
    assert settings_of("trainer", environment).database_url is None
    own = {"BRAINTUMOR_DATABASE_URL": "postgresql://own/db", "BRAINTUMOR_S3_ENDPOINT": "http://own"}
    settings = settings_of("promoter", environment | own)
    assert (settings.database_url, settings.s3_endpoint, settings.s3_access_key) == (*own.values(), None)


def test_missing_or_invalid_connection_is_named_without_its_text() -> None:
    with pytest.raises(ConfigurationError, match="has no connection braintumor_s3"):
        EnvironmentConnection.find("braintumor_s3", {})
    with pytest.raises(ConfigurationError, match="neither a URI nor the JSON") as caught:
        EnvironmentConnection.find("braintumor_s3", {"AIRFLOW_CONN_BRAINTUMOR_S3": '{"password": "hunter2'})
    assert "hunter2" not in str(caught.value) and caught.value.__suppress_context__


def test_every_kind_is_used() -> None:
    assert {variable.kind for section in sections() for variable in section.variables} == set(Kind)
