"""Check Postgres and the object server of the development stack."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import psutil
import psycopg2
import pytest
from botocore.exceptions import ClientError

import devstack.__main__
from braintumor.errors import ObjectStoreUnreachableError
from devstack import Stack, postgres
from devstack.errors import BinaryMissingError, ServiceFailedError
from devstack.objectserver import Endpoint, ObjectServer, external_endpoint, rclone
from devstack.state import State


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_rows_and_objects_survive_restart_on_same_ports(folder: Path) -> None:
    with Stack(folder, airflow=False) as stack:
        before = stack.library_env()
        query(stack.postgres.url(), "create table kept as select 42 as answer")
        with closing(stack.objects.endpoint.client()) as s3:
            s3.put_object(Bucket="braintumor", Key="scans/a.dcm", Body=b"scan")
    assert [service.pid for service in stack.status()] == [None] * 2
    with Stack(folder, airflow=False) as stack:
        assert stack.library_env() == before
        assert query(stack.postgres.url(), "select answer from kept") == [(42,)]
        with closing(stack.objects.endpoint.client()) as s3:
            assert s3.get_object(Bucket="braintumor", Key="scans/a.dcm")["Body"].read() == b"scan"


def test_rows_survive_killed_postgres(folder: Path) -> None:
    with Stack(folder, airflow=False) as stack:
        query(stack.postgres.url(), "create table kept as select 42 as answer")
        process = stack.postgres.service.process()
        assert process is not None
        process.kill()
        process.wait(10)
        assert (folder / "postgres" / "postmaster.pid").exists()
        stack.up()
        assert query(stack.postgres.url(), "select answer from kept") == [(42,)]


def test_postgres_starts_despite_lock_with_reused_pid(folder: Path) -> None:
    with Stack(folder, airflow=False) as stack:
        process = stack.postgres.service.process()
        assert process is not None
        process.kill()
        process.wait(10)
        lock = folder / "postgres" / "postmaster.pid"
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        stack.up()
        assert query(stack.postgres.url(), "select 1") == [(1,)]


def test_two_concurrent_ups_start_one_stack(folder: Path) -> None:
    stack, other = Stack(folder, airflow=False), Stack(folder, airflow=False)
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Stack.up, (stack, other)))
        pids = [service.pid for service in stack.status()]
        assert None not in pids and [service.pid for service in other.status()] == pids
        assert query(other.postgres.url(), "select 1") == query(stack.postgres.url(), "select 1") == [(1,)]
        with Stack(folder, airflow=False) as again:
            assert [service.pid for service in again.status()] == pids
        assert [service.pid for service in stack.status()] == pids, "leaving another must not stop the first's"
    finally:
        stack.down()
        other.down()


def test_secrets_are_readable_by_owner_only(stores: Stack) -> None:
    for name in ("secrets.json", "ports.json", "run/postgres.json"):
        assert stat.S_IMODE((stores.state.folder / name).stat().st_mode) == 0o600
    arguments = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    secret = stores.state.secrets
    assert not any(secret.s3_secret_key in line or secret.postgres_password in line for line in arguments)


def test_wrong_password_is_refused(stores: Stack) -> None:
    url = stores.postgres.url().replace(stores.state.secrets.library_database_password, "wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        query(url, "select 1")
    good = stores.objects.endpoint
    wrong = Endpoint(url=good.url, access_key=good.access_key, secret_key="wrong")
    with closing(wrong.client()) as s3, pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3.list_buckets()


def test_databases_can_be_created_and_dropped(stores: Stack) -> None:
    url = stores.postgres.create_database("another")
    assert stores.postgres.create_database("another") == url
    query(url, "create table mine (a int)")
    assert query(url, "select current_user, current_database()") == [("braintumor", "another")]
    stores.postgres.drop_database("another")
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        query(url, "select 1")


def test_overwritten_object_is_visible_at_once(stores: Stack) -> None:
    with closing(stores.objects.endpoint.client()) as s3:
        for number in range(30):
            body = f"version {number:03}".encode()  # of the same size each time
            s3.put_object(Bucket="braintumor", Key="scans/same.dcm", Body=body)
            etag = hashlib.md5(body).hexdigest()
            listed = s3.list_objects_v2(Bucket="braintumor", Prefix="scans/same.dcm")["Contents"]
            read = s3.get_object(Bucket="braintumor", Key="scans/same.dcm")
            assert (read["Body"].read(), read["ETag"].strip('"')) == (body, etag)
            assert [item["ETag"].strip('"') for item in listed] == [etag]


def test_listing_of_several_pages_is_complete_and_ordered(stores: Stack) -> None:
    keys = [f"many/{number % 7}/{number:05}.dcm" for number in range(110)]
    with closing(stores.objects.endpoint.client()) as s3, ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda key: s3.put_object(Bucket="braintumor", Key=key, Body=b"x"), keys))
    with closing(stores.objects.endpoint.client()) as s3:
        listing = s3.get_paginator("list_objects_v2").paginate(
            Bucket="braintumor", Prefix="many/", PaginationConfig={"PageSize": 100}
        )
        pages = list(listing)
    assert len(pages) == 2
    assert [item["Key"] for page in pages for item in page["Contents"]] == sorted(keys)


def test_failed_start_raises_with_log_name_and_tail(folder: Path) -> None:
    stack = Stack(folder, airflow=False)
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(ServiceFailedError) as caught, stack:
        pass
    assert str(folder / "logs" / "postgres.log") in str(caught.value)
    assert "could not access the server configuration file" in str(caught.value)
    assert all(service.pid is None for service in stack.status()), "what did start must not be left behind"


def test_two_first_starts_as_root_create_the_user_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, largest = [], []

    def create(name: str) -> None:
        inside.append(name)
        time.sleep(0.2)
        largest.append(len(inside))
        inside.remove(name)

    monkeypatch.setattr(postgres, "_wheel", lambda: SimpleNamespace(ensure_user_exists=create))
    with ThreadPoolExecutor() as pool:
        list(pool.map(postgres._ensure_user, ["pgserver"] * 2))
    assert largest == [1, 1]


def test_a_refused_system_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = subprocess.CalledProcessError(9, "useradd", stderr="cannot lock /etc/passwd\n")
    monkeypatch.setattr(postgres, "_wheel", lambda: SimpleNamespace(ensure_user_exists=Mock(side_effect=refusal)))
    with pytest.raises(ServiceFailedError, match=r"user pgserver.*cannot be made.*cannot lock"):
        postgres._ensure_user("pgserver")


def test_external_object_server_is_used(stores: Stack) -> None:
    named = {"BRAINTUMOR_S3_ENDPOINT": "http://10.0.0.1:9000", "BRAINTUMOR_S3_ACCESS_KEY": "theirs"}
    found = external_endpoint(named, stores.state)
    assert found is not None
    assert found.url == "http://10.0.0.1:9000"
    assert external_endpoint({}, stores.state) is None
    assert external_endpoint(stores.library_env(), stores.state) is None, "the stack's own, as after `devstack env`"


def test_external_object_server_is_printed_at_the_start(stores: Stack, folder: Path) -> None:
    lines: list[str] = []
    with Stack(folder, airflow=False, external_s3=stores.objects.endpoint, progress=lines.append):
        pass
    assert lines[0] == f"Uses the S3 server of BRAINTUMOR_S3_ENDPOINT: {stores.objects.endpoint.url}"


def test_unreachable_external_server_is_named_without_password(folder: Path) -> None:
    missing = Endpoint(url="http://ann:hunter2@127.0.0.1:9", access_key="key", secret_key="secret")
    with pytest.raises(ObjectStoreUnreachableError, match=r"http://\*\*\*@127\.0\.0\.1:9"):
        ObjectServer(State(folder), external=missing).wait()


def test_empty_recipes_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    made = Mock()
    monkeypatch.setattr(devstack.__main__, "Stack", made)
    monkeypatch.setenv("BRAINTUMOR_RECIPES", "")
    assert devstack.__main__.main(["--state-dir", str(folder), "down"]) == 0
    assert made.call_args.kwargs["extra_env"] == {"BRAINTUMOR_RECIPES": "resnet50_small,vgg16_small"}


def test_missing_object_server_raises_with_remedy(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("devstack.objectserver.DEFAULT_FOLDER", folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(BinaryMissingError, match="BRAINTUMOR_S3_ENDPOINT"):
        rclone()


@pytest.mark.soak
def test_command_starts_shows_and_stops_services(folder: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "devstack", "--state-dir", str(folder), "--no-airflow", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    try:
        assert run("up").returncode == 0
        assert run("up").returncode == 0
        assert "export BRAINTUMOR_DATABASE_URL=postgresql://braintumor:" in run("env").stdout
        assert run("psql", "-Atc", "select current_database()").stdout == "braintumor\n"
        shown = run("status")
    finally:
        down = run("down")
    assert shown.returncode == 0
    assert "postgres" in shown.stdout
    assert down.returncode == 0
    assert run("status").returncode == 1


def test_env_line_prepares_shell_for_guides(stores: Stack, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.dcm").write_bytes(b"scan")
    devstack = f"-m devstack --state-dir {stores.state.folder}"
    script = f"""eval "$({sys.executable} {devstack} env)"
pg_dump --version
braintumor --version
python {devstack} put {tmp_path / "scans"}"""
    plain = {**os.environ, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-euc", script], env=plain, capture_output=True, text=True, check=True)
    server = query(stores.postgres.url(), "show server_version")[0][0]
    with closing(stores.objects.endpoint.client()) as s3:
        assert s3.get_object(Bucket="braintumor", Key="scans/a.dcm")["Body"].read() == b"scan"
    dump, version, put = done.stdout.splitlines()
    assert dump.endswith(server)
    assert version.startswith("braintumor")
    assert put.startswith("1 files in s3://braintumor/scans/.")
