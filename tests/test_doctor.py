"""The doctor on the real stack: well, and with one thing broken at a time."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable
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
from tests.conftest import as_role, run_braintumor
from tests.faulty_s3 import faulty_s3
from tests.models import add_model, promote
from tests.sql import change

SECRET_NAME = "DOE^JANE"


def found(installation: Installation) -> list[CheckResult]:
    return list(run_checks(installation))


def wrong(findings: list[CheckResult]) -> dict[str, str]:
    return {finding.check: finding.words for finding in findings if finding.state is State.WRONG}


def state(findings: list[CheckResult], check: str) -> State:
    (one,) = [finding.state for finding in findings if finding.check == check]
    return one


def no_secret(settings: Settings, said: str) -> bool:
    password = settings.require("database_url").split("@")[0].rpartition(":")[2]
    secrets = [password, settings.s3_access_key, settings.s3_secret_key, settings.pseudonym_key, SECRET_NAME]
    return not any(secret and secret in said for secret in secrets)


@pytest.mark.parametrize("role", [None, *TASK_ROLES])
def test_all_is_well_on_a_stack_that_works_and_nothing_is_left_behind(
    stack: Stack, settings: Settings, put: Callable[[str, bytes], None], role: str | None
) -> None:
    put(f"{SECRET_NAME}.png", b"a scan")
    made = as_role(stack, settings, Role(role)) if role else settings
    store = ObjectStore.connect(settings)
    before = [entry.key for entry in store.list(S3Uri.parse(settings.require("models_uri")))]
    findings = found(Installation(settings=made, role=Role(role) if role else None))
    assert wrong(findings) == {}
    assert state(findings, "champion") is state(findings, "migrations") is State.OK
    assert no_secret(made, str(findings))
    if role != "reviewer":
        assert state(findings, "S3 write") is state(findings, "S3 read") is state(findings, "S3 delete") is State.OK
    if role in {None, "scorer", "reviewer"}:
        assert state(findings, "S3 read a scan") is State.OK
    if role is not None:
        assert state(findings, "Postgres login") is state(findings, "Postgres rights") is State.OK
    assert [entry.key for entry in store.list(S3Uri.parse(settings.require("models_uri")))] == before


def test_the_command_prints_a_line_a_check_and_its_exit_code_says_whether_all_is_well(
    stack: Stack, settings: Settings
) -> None:
    scorer = as_role(stack, settings, Role.SCORER)
    done = run_braintumor(scorer, "doctor", "--role", "scorer")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok", "note"}
    broken = replace(scorer, s3_secret_key="not-the-key-of-this-server")
    done = run_braintumor(broken, "doctor", "--role", "scorer", "--json", check=False)
    findings = json.loads(done.stdout)
    assert done.returncode == 1
    assert [f["state"] for f in findings if f["check"] == "Postgres rights"] == ["ok"]
    assert {f["check"] for f in findings if f["state"] == "wrong"} >= {"S3 list", "S3 write", "champion"}
    assert no_secret(broken, done.stdout + done.stderr)


def test_a_wrong_password_is_one_line_and_stops_nothing_else(settings: Settings) -> None:
    url = settings.require("database_url")
    password = url.split("@")[0].rpartition(":")[2]
    findings = found(Installation(settings=replace(settings, database_url=url.replace(password, "hunter2hunter2"))))
    assert set(wrong(findings)) == {"Postgres"} and "password authentication failed" in wrong(findings)["Postgres"]
    assert "hunter2" not in str(findings)
    assert state(findings, "champion") is State.NOTE and state(findings, "S3 delete") is State.OK


def test_a_server_that_does_not_answer_is_asked_once(settings: Settings) -> None:
    findings = found(Installation(settings=replace(settings, s3_endpoint="http://u:hunter2hunter2@127.0.0.1:9")))
    assert set(wrong(findings)) == {"S3 list"} and "No usable answer" in wrong(findings)["S3 list"]
    assert "hunter2" not in str(findings)
    assert state(findings, "migrations") is State.OK
    nothing = found(Installation(settings=Settings(s3_endpoint="http://127.0.0.1:9")))
    assert "BRAINTUMOR_PSEUDONYM_KEY is not set" in wrong(nothing)["pseudonym key"]
    assert "BRAINTUMOR_DATABASE_URL is not set" in wrong(nothing)["migrations"]


def test_a_trainer_may_lack_the_pseudonym_key_and_a_scorer_may_not() -> None:
    """A worker that only trains is not given it."""
    (finding,) = machine.pseudonym_key(Installation(settings=Settings(), role=Role.TRAINER))
    assert finding.state is State.NOTE and "training does not need it" in finding.words
    for role, key in ((Role.SCORER, None), (Role.TRAINER, "short"), (None, None)):
        with pytest.raises(ConfigurationError, match="BRAINTUMOR_PSEUDONYM_KEY"):
            list(machine.pseudonym_key(Installation(settings=Settings(pseudonym_key=key), role=role)))


def test_a_missing_bucket_is_named(settings: Settings) -> None:
    findings = found(Installation(settings=replace(settings, scans_uri="s3://no-such-bucket/scans/")))
    assert set(wrong(findings)) == {"S3 list", "S3 read a scan"}
    assert "'no-such-bucket' does not exist" in wrong(findings)["S3 list"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("scans_uri", "s3://braintumor/"),
        ("scans_uri", "s3://elsewhere/,s3://braintumor/models/runs/"),
        ("dataset_uri", "s3://braintumor/"),
        ("weights_uri", "s3://braintumor/scans-to-come/weights/"),
    ],
)
def test_a_scans_prefix_that_overlaps_another_prefix_is_wrong(settings: Settings, setting: str, value: str) -> None:
    made = replace(settings, **{"scans_uri": "s3://braintumor/scans-to-come/", setting: value})
    words = wrong(found(Installation(settings=made)))["S3 prefixes"]
    assert "overlaps BRAINTUMOR_" in words and "Give one of them a prefix or bucket of its own" in words


def test_a_migration_that_is_not_applied_is_named(settings: Settings) -> None:
    change(settings, "delete from migration where migration_name = '0001_main_job'")
    findings = found(Installation(settings=settings))
    assert wrong(findings) == {"migrations": "Not applied: 0001_main_job. Run `braintumor migrate`."}


def test_a_login_of_another_role_or_of_too_many_is_told(stack: Stack, settings: Settings) -> None:
    reviewer = as_role(stack, settings, Role.REVIEWER)
    findings = wrong(found(Installation(settings=reviewer, role=Role.SCORER)))
    assert set(findings) == {"Postgres login", "Postgres rights"}
    assert 'grant braintumor_scorer to "reviewer"' in findings["Postgres login"]
    assert "execute on" not in findings["Postgres rights"] and "insert on prediction" in findings["Postgres rights"]
    owner = found(Installation(settings=settings, role=Role.SCORER))
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
def test_a_right_that_is_gone_is_named(stack: Stack, settings: Settings, statement: str, missing: str) -> None:
    change(settings, statement)
    findings = found(Installation(settings=as_role(stack, settings, Role.SCORER), role=Role.SCORER))
    assert set(wrong(findings)) == {"Postgres rights"} and f": {missing}. " in wrong(findings)["Postgres rights"]


def test_what_is_needed_of_a_role_is_what_the_grants_say() -> None:
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


def test_credentials_that_only_read_are_told(settings: Settings, put: Callable[[str, bytes], None]) -> None:
    put(f"{SECRET_NAME}.png", b"a scan")
    with faulty_s3(settings.require("s3_endpoint")) as door:
        door.is_read_only = True
        findings = found(Installation(settings=replace(settings, s3_endpoint=door.url)))
        assert set(wrong(findings)) == {"S3 write"} and "403 AccessDenied" in wrong(findings)["S3 write"]
        assert state(findings, "S3 delete") is State.NOTE
        door.faults[".png"] = (403, "AccessDenied")
        findings = found(Installation(settings=replace(settings, s3_endpoint=door.url)))
        assert set(wrong(findings)) == {"S3 write", "S3 read a scan"}
        assert no_secret(settings, str(findings))


class SameForEver(ObjectStore):
    """A server whose objects keep their etag whatever is written, and stay when they are deleted."""

    def read(self, uri: S3Uri, *, etag: str | None = None, max_bytes: int | None = None) -> bytes:
        return super().read(uri, max_bytes=max_bytes)

    def delete(self, uris: Iterable[S3Uri]) -> int:
        return len(list(uris))


class Garbled(ObjectStore):
    """A server that gives other bytes than it was given."""

    def read(self, uri: S3Uri, *, etag: str | None = None, max_bytes: int | None = None) -> bytes:
        return super().read(uri, etag=etag, max_bytes=max_bytes).upper()


def test_a_server_that_does_not_do_what_it_says_is_told(settings: Settings) -> None:
    settings = replace(settings, models_uri=f"s3://braintumor/models-{uuid.uuid4().hex}/")
    for kind, checks in ((SameForEver, {"S3 conditional get", "S3 delete"}), (Garbled, {"S3 read"})):
        installation = Installation(settings=settings)
        installation.store = kind.connect(settings)
        findings = wrong(found(installation))
        assert checks == set(findings) - {"champion"}
        assert installation.own is not None and installation.own.key not in str(findings)


def test_whether_the_server_itself_refuses_an_old_version_is_said(settings: Settings) -> None:
    assert state(found(Installation(settings=settings)), "S3 conditional get") is State.NOTE  # rclone ignores If-Match
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        theirs = replace(settings, s3_endpoint=address, s3_access_key="k", s3_secret_key="s")
        ObjectStore.connect(theirs).ensure_bucket("braintumor")
        assert state(found(Installation(settings=theirs)), "S3 conditional get") is State.OK
    finally:
        server.stop()


def test_a_damaged_file_of_the_champion_is_found_in_s3_whatever_the_cache_holds(settings: Settings) -> None:
    model = add_model(settings, "damaged", own_files=True)
    promote(settings, "damaged")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model_versions.fetch_model(store, settings, model)
    engine.dispose()
    assert state(found(Installation(settings=settings)), "champion") is State.OK
    store.write(S3Uri.parse(model.artifact_uri) / "model.xml", b"<net/>")
    findings = wrong(found(Installation(settings=settings)))
    assert set(findings) == {"champion"} and "`braintumor model rollback" in findings["champion"]


def test_without_a_champion_scoring_is_not_well_and_training_is(empty_settings: Settings, stack: Stack) -> None:
    scorer = as_role(stack, empty_settings, Role.SCORER)
    assert "There is no champion yet" in wrong(found(Installation(settings=scorer, role=Role.SCORER)))["champion"]
    trainer = as_role(stack, empty_settings, Role.TRAINER)
    assert wrong(found(Installation(settings=trainer, role=Role.TRAINER))) == {}


def test_a_skewed_clock_is_told_against_both_servers(settings: Settings) -> None:
    def late(seconds: int) -> Installation:
        return Installation(settings=settings, clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds))

    findings = found(late(-600))
    assert set(wrong(findings)) == {"clock, S3", "clock, Postgres"} and "NTP" in wrong(findings)["clock, S3"]
    findings = found(late(20))
    assert wrong(findings) == {} and state(findings, "clock, S3") is state(findings, "clock, Postgres") is State.NOTE


def test_the_clock_of_s3_is_read_from_a_refusal_too(settings: Settings) -> None:
    store = ObjectStore.connect(replace(settings, s3_secret_key="wrong"))
    assert abs(store.date("braintumor") - datetime.now(UTC)) < timedelta(seconds=60)


def test_a_full_disk_and_a_folder_that_is_none_are_told(settings: Settings, tmp_path: Path) -> None:
    def disk(free: int, folder: Path) -> CheckResult:
        installation = Installation(
            settings=replace(settings, cache_folder=str(folder)), free_bytes=lambda _place: free
        )
        (finding,) = machine.disk(installation)
        return finding

    assert disk(machine.LEAST_FREE - 1, tmp_path).state is State.WRONG
    assert disk(machine.LITTLE_FREE - 1, tmp_path).state is State.NOTE
    assert disk(machine.LITTLE_FREE, tmp_path / "not" / "yet").state is State.OK
    assert not (tmp_path / "not").exists()
    file = tmp_path / "file"
    file.write_text("")
    assert "cannot be written" in disk(machine.LITTLE_FREE, file / "cache").words


def test_gpus_are_named_by_their_driver_and_only_noted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (none,) = machine.gpu(Installation(settings=replace(settings, backend="tensorflow-xla")))
    assert none.state is State.NOTE and "tensorflow-xla is meant for one" in none.words
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA Imaginary 1\n")
    program.chmod(0o755)
    (one,) = machine.gpu(Installation(settings=settings))
    assert (one.state, one.words) == (State.NOTE, "NVIDIA Imaginary 1")


def test_settings_come_from_connections_in_the_environment_and_misspelled_ones_are_noted(
    stack: Stack, settings: Settings
) -> None:
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
    findings = found(Installation.of_environment(Role.SCORER, environment))
    assert wrong(findings) == {} and state(findings, "settings") is State.NOTE
    broken = found(Installation.of_environment(None, {**environment, "AIRFLOW_CONN_BRAINTUMOR_S3": "{hunter2"}))
    assert "neither a URI nor the JSON" in wrong(broken)["settings"] and "hunter2" not in str(broken)


def test_a_fault_of_a_check_stops_no_other_and_says_nothing_of_its_text(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_folder: Path) -> int:
        raise OSError(SECRET_NAME)

    findings = found(Installation(settings=settings, free_bytes=fails))
    assert wrong(findings) == {"disk": "A fault of this program (OSError). Report it."}
    assert findings[-1].check == "GPU"


def test_rights_are_asked_of_what_is_there(settings: Settings) -> None:
    engine = database.connect(settings)
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    engine.dispose()
    findings = wrong(found(Installation(settings=settings, role=Role.SCORER)))
    assert set(findings) == {"migrations", "champion"}
