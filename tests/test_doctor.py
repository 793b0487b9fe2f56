"""Test the checks of ``braintumor doctor`` on the real stack, without a fault and with one fault at a time."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import text

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.config.variables import TASK_ROLES
from braintumor.db import database
from braintumor.doctor import machine
from braintumor.doctor.check_result import CheckResult, State
from braintumor.doctor.installation import Installation
from braintumor.doctor.rights import granted, granted_functions
from braintumor.doctor.run_checks import run_checks
from braintumor.errors import ConfigurationError
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from devstack.stack import Stack
from tests.conftest import Put, as_role, run_braintumor
from tests.faulty_s3 import faulty_s3
from tests.models import add_model, promote
from tests.sql import change

SECRET_NAME = "DOE^JANE"


def check(installation: Installation) -> list[CheckResult]:
    return list(run_checks(installation))


def wrong(results: list[CheckResult]) -> dict[str, str]:
    return {result.check: result.message for result in results if result.state is State.WRONG}


def state(results: list[CheckResult], name: str) -> State:
    (one,) = [result.state for result in results if result.check == name]
    return one


def no_secret(settings: Settings, output: str) -> bool:
    password = settings.require("database_url").split("@")[0].rpartition(":")[2]
    secrets = [password, settings.s3_access_key, settings.s3_secret_key, settings.pseudonym_key, SECRET_NAME]
    return not any(secret and secret in output for secret in secrets)


@pytest.mark.parametrize("role", [None, *TASK_ROLES])
def test_intact_stack_passes_and_nothing_remains(stack: Stack, settings: Settings, put: Put, role: str | None) -> None:
    put(f"{SECRET_NAME}.png", b"a scan")
    made = as_role(stack, settings, Role(role)) if role else settings
    store = ObjectStore.connect(settings)
    before = [entry.key for entry in store.list(S3Uri.parse(settings.require("models_uri")))]
    results = check(Installation(settings=made, role=Role(role) if role else None))
    assert wrong(results) == {}
    assert state(results, "champion") is state(results, "migrations") is State.OK
    assert no_secret(made, str(results))
    if role != "reviewer":
        assert state(results, "S3 write") is state(results, "S3 read") is state(results, "S3 delete") is State.OK
    if role in {None, "scorer", "reviewer"}:
        assert state(results, "S3 read a scan") is State.OK
    if role is not None:
        assert state(results, "Postgres login") is state(results, "Postgres rights") is State.OK
    assert [entry.key for entry in store.list(S3Uri.parse(settings.require("models_uri")))] == before


def test_command_prints_a_line_per_check_and_exits_1_on_a_fault(stack: Stack, settings: Settings) -> None:
    scorer = as_role(stack, settings, Role.SCORER)
    done = run_braintumor(scorer, "doctor", "--role", "scorer")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok", "note"}
    broken = replace(scorer, s3_secret_key="not-the-key-of-this-server")
    done = run_braintumor(broken, "doctor", "--role", "scorer", "--json", check=False)
    results = json.loads(done.stdout)
    assert done.returncode == 1
    assert [f["state"] for f in results if f["check"] == "Postgres rights"] == ["ok"]
    assert {f["check"] for f in results if f["state"] == "wrong"} >= {"S3 list", "S3 write", "champion"}
    assert no_secret(broken, done.stdout + done.stderr)


def test_wrong_password_is_one_fault_and_stops_no_other_check(settings: Settings) -> None:
    url = settings.require("database_url")
    password = url.split("@")[0].rpartition(":")[2]
    results = check(Installation(settings=replace(settings, database_url=url.replace(password, "hunter2hunter2"))))
    assert set(wrong(results)) == {"Postgres"} and "password authentication failed" in wrong(results)["Postgres"]
    assert "hunter2" not in str(results)
    assert state(results, "champion") is State.NOTE and state(results, "S3 delete") is State.OK


def test_unreachable_server_is_tried_once(settings: Settings) -> None:
    results = check(Installation(settings=replace(settings, s3_endpoint="http://u:hunter2hunter2@127.0.0.1:9")))
    assert set(wrong(results)) == {"S3 list"} and "No usable answer" in wrong(results)["S3 list"]
    assert "hunter2" not in str(results)
    assert state(results, "migrations") is State.OK
    nothing = check(Installation(settings=Settings(s3_endpoint="http://127.0.0.1:9")))
    assert "BRAINTUMOR_PSEUDONYM_KEY is not set" in wrong(nothing)["pseudonym key"]
    assert "BRAINTUMOR_DATABASE_URL is not set" in wrong(nothing)["migrations"]


def test_trainer_does_not_need_the_pseudonym_key() -> None:
    (result,) = machine.pseudonym_key(Installation(settings=Settings(), role=Role.TRAINER))
    assert result.state is State.NOTE and "training does not need it" in result.message
    for role, key in ((Role.SCORER, None), (Role.TRAINER, "short"), (None, None)):
        with pytest.raises(ConfigurationError, match="BRAINTUMOR_PSEUDONYM_KEY"):
            list(machine.pseudonym_key(Installation(settings=Settings(pseudonym_key=key), role=role)))


def test_missing_bucket_is_named(settings: Settings) -> None:
    results = check(Installation(settings=replace(settings, scans_uri="s3://no-such-bucket/scans/")))
    assert set(wrong(results)) == {"S3 list", "S3 read a scan"}
    assert "'no-such-bucket' does not exist" in wrong(results)["S3 list"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("scans_uri", "s3://braintumor/"),
        ("scans_uri", "s3://elsewhere/,s3://braintumor/models/runs/"),
        ("dataset_uri", "s3://braintumor/"),
        ("weights_uri", "s3://braintumor/scans-to-come/weights/"),
    ],
)
def test_overlapping_scans_prefix_is_wrong(settings: Settings, setting: str, value: str) -> None:
    made = replace(settings, **{"scans_uri": "s3://braintumor/scans-to-come/", setting: value})
    message = wrong(check(Installation(settings=made)))["S3 prefixes"]
    assert "overlaps BRAINTUMOR_" in message and "Give one of them its own prefix or bucket" in message


def test_pending_migration_is_named(settings: Settings) -> None:
    change(settings, "delete from migration where migration_name = '0001_baseline'")
    results = check(Installation(settings=settings))
    assert wrong(results) == {"migrations": "Not applied: 0001_baseline. Run `braintumor migrate`."}


def test_login_of_another_role_is_wrong_and_of_many_is_noted(stack: Stack, settings: Settings) -> None:
    reviewer = as_role(stack, settings, Role.REVIEWER)
    results = wrong(check(Installation(settings=reviewer, role=Role.SCORER)))
    assert set(results) == {"Postgres login", "Postgres rights"}
    assert 'grant braintumor_scorer to "reviewer"' in results["Postgres login"]
    assert "execute on" not in results["Postgres rights"] and "insert on prediction" in results["Postgres rights"]
    owner = check(Installation(settings=settings, role=Role.SCORER))
    assert wrong(owner) == {} and state(owner, "Postgres login") is State.NOTE


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("revoke insert on prediction from braintumor_scorer", "insert on prediction"),
        ("revoke select on scoring_chunk from braintumor_scorer", "select on scoring_chunk"),
        ("revoke usage on sequence scan_scan_id_seq from braintumor_scorer", "usage on scan_scan_id_seq"),
        ("revoke select on current_prediction from braintumor_scorer", "select on current_prediction"),
        ("revoke execute on function champion_at from braintumor_scorer", "execute on champion_at"),
    ],
)
def test_missing_right_is_named(stack: Stack, settings: Settings, statement: str, missing: str) -> None:
    change(settings, statement)
    results = check(Installation(settings=as_role(stack, settings, Role.SCORER), role=Role.SCORER))
    assert set(wrong(results)) == {"Postgres rights"} and f": {missing}. " in wrong(results)["Postgres rights"]


def test_views_of_others_need_no_right(stack: Stack, settings: Settings) -> None:
    change(settings, "create view of_a_department as select 1 as one")
    assert wrong(check(Installation(settings=as_role(stack, settings, Role.SCORER), role=Role.SCORER))) == {}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("timezone", "BRAINTUMOR_TIMEZONE must be a name of the tz database"),
        ("run_report_rules", "run report"),
        ("gate_rules", "gate"),
        ("label_rules", "label"),
        ("quality_rules", "quality"),
        ("scan_attributes", "BRAINTUMOR_SCAN_ATTRIBUTES must be yes or no"),
        ("unidentified_in_test", "BRAINTUMOR_UNIDENTIFIED_IN_TEST must be yes or no"),
        ("reading_threshold", "BRAINTUMOR_READING_THRESHOLD must be a number from 0 to 1"),
        ("label_exclusions", "The exclusion list"),
        ("backend", "BRAINTUMOR_BACKEND is"),
    ],
)
def test_setting_with_which_a_run_fails_is_wrong(tmp_path: Path, setting: str, words: str) -> None:
    made = replace(Settings(), **{setting: str(tmp_path / "no"), "reading_threshold": "2"})
    results = list(machine.settings(Installation(settings=made)))
    assert [result.state for result in results] == [State.WRONG] * (1 if setting == "reading_threshold" else 2)
    assert any(words in result.message for result in results)


def test_rights_of_a_role_are_those_of_the_grants_file() -> None:
    assert {("scan_location", "insert"), ("scan_location", "select"), ("scan_scan_id_seq", "usage")} <= granted(
        Role.SCORER
    )
    assert ("snapshot_image", "select") in granted(Role.PROMOTER)
    assert ("snapshot_image", "select") not in granted(Role.SCORER)
    assert granted(Role.ANALYST) == set()
    assert "mark_cross_patient_duplicates" in granted_functions(Role.SCORER)
    assert {"wilson_low", "worklist_page"} <= set(granted_functions(Role.ANALYST))
    assert {"mark_cross_patient_duplicates", "reviewed_location"}.isdisjoint(granted_functions(Role.ANALYST))
    assert granted_functions(Role.ERASER) == ["erase_subject"]
    for role in (Role.SCORER, Role.TRAINER, Role.PROMOTER, Role.REVIEWER):  # of statements over several lines
        assert {("scan", "select"), ("prediction", "select"), ("model_version", "select")} <= granted(role)


def test_read_only_credentials_are_wrong(settings: Settings, put: Put) -> None:
    put(f"{SECRET_NAME}.png", b"a scan")
    with faulty_s3(settings.require("s3_endpoint")) as proxy:
        proxy.is_read_only = True
        results = check(Installation(settings=replace(settings, s3_endpoint=proxy.url)))
        assert set(wrong(results)) == {"S3 write"} and "403 AccessDenied" in wrong(results)["S3 write"]
        assert state(results, "S3 delete") is State.NOTE
        proxy.faults[".png"] = (403, "AccessDenied")
        results = check(Installation(settings=replace(settings, s3_endpoint=proxy.url)))
        assert set(wrong(results)) == {"S3 write", "S3 read a scan"}
        assert no_secret(settings, str(results))


class Unchanging(ObjectStore):
    """Keep the etag of an object on a write, and keep the object after a deletion."""

    def read(self, uri: S3Uri, *, etag: str | None = None, max_bytes: int | None = None) -> bytes:
        return super().read(uri, max_bytes=max_bytes)

    def delete(self, uris: Iterable[S3Uri]) -> int:
        return len(list(uris))


class Garbled(ObjectStore):
    """Return other bytes than were written."""

    def read(self, uri: S3Uri, *, etag: str | None = None, max_bytes: int | None = None) -> bytes:
        return super().read(uri, etag=etag, max_bytes=max_bytes).upper()


def test_faulty_s3_server_is_wrong(settings: Settings) -> None:
    settings = replace(settings, models_uri=f"s3://braintumor/models-{uuid.uuid4().hex}/")
    for kind, checks in ((Unchanging, {"S3 conditional get", "S3 delete"}), (Garbled, {"S3 read"})):
        installation = Installation(settings=settings)
        installation.store = kind.connect(settings)
        results = wrong(check(installation))
        assert checks == set(results) - {"champion"}
        assert installation.own is not None and installation.own.key not in str(results)


def test_server_support_of_if_match_is_reported(settings: Settings) -> None:
    assert state(check(Installation(settings=settings)), "S3 conditional get") is State.NOTE  # rclone ignores If-Match
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        theirs = replace(settings, s3_endpoint=address, s3_access_key="k", s3_secret_key="s")
        ObjectStore.connect(theirs).ensure_bucket("braintumor")
        assert state(check(Installation(settings=theirs)), "S3 conditional get") is State.OK
    finally:
        server.stop()


def test_damaged_champion_in_s3_is_wrong_despite_the_cache(settings: Settings) -> None:
    model = add_model(settings, "damaged", own_files=True)
    promote(settings, "damaged")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model_versions.fetch_model(store, settings, model)
    engine.dispose()
    assert state(check(Installation(settings=settings)), "champion") is State.OK
    store.write(S3Uri.parse(model.artifact_uri) / "model.xml", b"<net/>")
    results = wrong(check(Installation(settings=settings)))
    assert set(results) == {"champion"} and "`braintumor model rollback" in results["champion"]


def test_missing_champion_is_wrong_for_scoring_only(empty_settings: Settings, stack: Stack) -> None:
    scorer = as_role(stack, empty_settings, Role.SCORER)
    assert "There is no champion yet" in wrong(check(Installation(settings=scorer, role=Role.SCORER)))["champion"]
    trainer = as_role(stack, empty_settings, Role.TRAINER)
    assert wrong(check(Installation(settings=trainer, role=Role.TRAINER))) == {}


def test_skewed_clock_is_reported_for_both_servers(settings: Settings) -> None:
    def late(seconds: int) -> Installation:
        return Installation(settings=settings, clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds))

    results = check(late(-600))
    assert set(wrong(results)) == {"clock, S3", "clock, Postgres"} and "NTP" in wrong(results)["clock, S3"]
    results = check(late(20))
    assert wrong(results) == {} and state(results, "clock, S3") is state(results, "clock, Postgres") is State.NOTE


def test_s3_clock_is_read_from_a_refusal(settings: Settings) -> None:
    store = ObjectStore.connect(replace(settings, s3_secret_key="wrong"))
    assert abs(store.date("braintumor") - datetime.now(UTC)) < timedelta(seconds=60)


def test_full_disk_and_unusable_folder_are_reported(settings: Settings, tmp_path: Path) -> None:
    def disk(free: int, folder: Path) -> CheckResult:
        installation = Installation(
            settings=replace(settings, cache_folder=str(folder)), free_bytes=lambda _place: free
        )
        (result,) = machine.disk(installation)
        return result

    assert disk(machine.LEAST_FREE - 1, tmp_path).state is State.WRONG
    assert disk(machine.LITTLE_FREE - 1, tmp_path).state is State.NOTE
    assert disk(machine.LITTLE_FREE, tmp_path / "not" / "yet").state is State.OK
    assert not (tmp_path / "not").exists()
    file = tmp_path / "file"
    file.write_text("")
    assert "cannot be written" in disk(machine.LITTLE_FREE, file / "cache").message


def test_gpus_are_named_by_their_driver_as_a_note(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (none,) = machine.gpu(Installation(settings=replace(settings, backend="tensorflow-xla")))
    assert none.state is State.NOTE and "tensorflow-xla needs one" in none.message
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA Imaginary 1\n")
    program.chmod(0o755)
    (one,) = machine.gpu(Installation(settings=settings))
    assert (one.state, one.message) == (State.NOTE, "NVIDIA Imaginary 1")


def test_connections_are_read_and_misspelled_names_noted(stack: Stack, settings: Settings) -> None:
    made = as_role(stack, settings, Role.SCORER)
    store = {"login": made.s3_access_key, "password": made.s3_secret_key, "extra": {"endpoint_url": made.s3_endpoint}}
    environment = {
        name: value
        for name, value in made.to_environment().items()
        if not name.startswith(("BRAINTUMOR_S3_", "BRAINTUMOR_DATABASE_URL"))
    } | {
        "AIRFLOW_CONN_BRAINTUMOR_DB_SCORER": made.require("database_url"),
        "AIRFLOW_CONN_BRAINTUMOR_S3": json.dumps({"conn_type": "aws", **store}),
        "BRAINTUMOR_SCAN_URI": "x",
        "PATH": os.environ["PATH"],
    }
    results = check(Installation.of_environment(Role.SCORER, environment))
    assert wrong(results) == {} and state(results, "settings") is State.NOTE
    broken = check(Installation.of_environment(None, {**environment, "AIRFLOW_CONN_BRAINTUMOR_S3": "{hunter2"}))
    assert "neither a URI nor the JSON" in wrong(broken)["settings"] and "hunter2" not in str(broken)


def test_crash_of_a_check_stops_no_other_and_hides_its_text(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_folder: Path) -> int:
        raise OSError(SECRET_NAME)

    results = check(Installation(settings=settings, free_bytes=fails))
    assert wrong(results) == {"disk": "A fault of this program (OSError). Report it."}
    assert results[-1].check == "GPU"


def test_rights_are_checked_on_existing_objects_only(settings: Settings) -> None:
    engine = database.connect(settings)
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    engine.dispose()
    results = wrong(check(Installation(settings=settings, role=Role.SCORER)))
    assert set(results) == {"migrations", "champion"}
