"""docker-compose.yaml as far as it can be tried without a Docker engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).parent.parent
COMPOSE = PROJECT / "docker-compose.yaml"


def test_the_command_of_its_first_line_gives_every_secret_that_it_asks_for() -> None:
    command = [sys.executable, "-m", "embedded", "secrets"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    given = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text())) == set(given)
    assert len(set(given.values())) == len(given) and all(len(value) >= 32 for value in given.values())


def test_every_service_signs_with_the_same_keys_and_may_write_its_logs() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    of_airflow = [one for one in services.values() if str(one["image"]).startswith("braintumor-")]
    for name in ("CORE__FERNET_KEY", "API_AUTH__JWT_SECRET", "API__SECRET_KEY"):
        assert len({one["environment"][f"AIRFLOW__{name}"] for one in of_airflow}) == 1
    (folder,) = {one["volumes"][0].split(":")[1] for one in of_airflow}
    as_root, _, _ = (PROJECT / "Dockerfile").read_text().partition("USER airflow")
    assert re.search(rf"install -d -o airflow .*{folder}", as_root)


def test_set_up_makes_the_tables_pools_login_and_buckets_that_the_dags_need() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    script = services["init"]["command"][-1]
    for step in ("airflow db migrate", "pools set gpu", "pools set score", "users create", "braintumor migrate",
                 "braintumor bucket create"):  # fmt: skip
        assert step in script
    assert services["apiserver"]["depends_on"]["init"] == {"condition": "service_completed_successfully"}
