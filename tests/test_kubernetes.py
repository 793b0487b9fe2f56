"""The values for Airflow's Helm chart as far as they can be tried with neither chart nor cluster."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from braintumor.configuration import POOLS, unknown
from braintumor.variables import OF_DEMO, OF_TOOLS, TASK_ROLES

PROJECT = Path(__file__).parent.parent
FOLDER = PROJECT / "kubernetes"
PAGE = (PROJECT / "docs" / "kubernetes.md").read_text()
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text())
SETUP: dict[str, Any] = yaml.safe_load((FOLDER / "setup.yaml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())
CELERY: dict[str, Any] = VALUES["workers"]["celery"]
POD: dict[str, Any] = SETUP["spec"]["template"]["spec"]
JOB: dict[str, Any] = POD["containers"][0]
DAGS = "\n".join(path.read_text() for path in (PROJECT / "dags").glob("*.py"))
OF_CHART: list[dict[str, Any]] = [*VALUES["env"], *yaml.safe_load(VALUES["extraEnv"])]
ENVIRONMENTS = {"values": OF_CHART, "setup": JOB["env"]}


def settings_file() -> dict[str, str]:
    lines = (FOLDER / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def secret_names() -> set[str]:
    """Names of the .env that `python -m embedded secrets` makes: tests/test_compose.py holds the two together."""
    return {*re.findall(r"(?<!\$)\$\{(\w+)", (PROJECT / "docker-compose.yaml").read_text())}


def by_name(environment: list[dict[str, Any]]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in environment}


def scalars(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with the names that lead to it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from scalars(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from scalars(inner, path)
    else:
        yield path, value


def workers() -> list[dict[str, Any]]:
    return [*([CELERY] if CELERY["enableDefault"] else []), *CELERY["sets"]]


def option(worker: dict[str, Any], name: str) -> str:
    (found,) = re.findall(rf" {name} (\S+)", worker["args"][-1])
    return str(found)


@pytest.mark.parametrize("place", ENVIRONMENTS)
def test_each_variable_is_set_once_and_is_one_that_something_reads(place: str) -> None:
    own = [item["name"] for item in ENVIRONMENTS[place]]
    names = own + [name for name in settings_file() if name not in {"POSTGRES_HOST", "S3_ENDPOINT"}]
    assert len(names) == len({*names}) > 10
    assert unknown(dict.fromkeys(names, "x")) == {}, "see docs/configuration.md"
    assert not {variable.name for variable in (*OF_TOOLS, *OF_DEMO)} & {*names}


def test_every_role_of_tasks_has_its_connection() -> None:
    given = by_name(OF_CHART)
    assert {f"AIRFLOW_CONN_BRAINTUMOR_DB_{role.upper()}" for role in TASK_ROLES} <= given.keys()
    for role in TASK_ROLES:
        assert f"://{role}:$({role.upper()}_DB_PASSWORD)@" in given[f"AIRFLOW_CONN_BRAINTUMOR_DB_{role.upper()}"]


@pytest.mark.parametrize("place", ENVIRONMENTS)
def test_what_is_put_in_stands_above_and_comes_from_the_secret_or_the_settings(place: str) -> None:
    above: set[str] = set()
    for item in ENVIRONMENTS[place]:
        source = item.get("valueFrom", {})
        if "secretKeyRef" in source:
            assert source["secretKeyRef"]["name"] == "braintumor" and source["secretKeyRef"]["key"] in secret_names(), (
                item
            )
        elif "configMapKeyRef" in source:
            assert source["configMapKeyRef"] == {"name": "braintumor", "key": item["name"].removeprefix("BRAINTUMOR_")}
            assert source["configMapKeyRef"]["key"] in settings_file() or item["name"].endswith("S3_ENDPOINT")
        else:
            assert {*re.findall(r"\$\((\w+)\)", item["value"])} <= above, item
        above.add(item["name"])


def test_the_secret_holds_what_pods_ask_for_and_no_password_of_people() -> None:
    (left_out,) = re.findall(
        r"create secret generic braintumor --from-env-file=<\(grep -Ev '\^\(([\w|]+)\)' \.env\)", PAGE
    )
    asked = {item["valueFrom"]["secretKeyRef"]["key"] for environment in ENVIRONMENTS.values() for item in environment
             if "secretKeyRef" in item.get("valueFrom", {})}  # fmt: skip
    assert asked == {name for name in secret_names() if not re.match(left_out, name)}


def test_no_pod_but_the_job_knows_the_owner_and_none_the_analyst_or_the_eraser() -> None:
    of_chart, of_job = str(OF_CHART), str(JOB["env"])
    for key in ("BRAINTUMOR_DB_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "POSTGRES_PASSWORD"):
        assert f"'{key}'" not in of_chart
    for key in ("ANALYST_DB_PASSWORD", "ERASER_DB_PASSWORD"):
        assert key not in of_chart + of_job
    assert "secretRef" not in str(VALUES["extraEnvFrom"]) + str(JOB["envFrom"])


def test_no_secret_is_written_out() -> None:
    for path in FOLDER.iterdir():
        for password in re.findall(r"://[^/@\s:]*:([^@\s]+)@", path.read_text()):
            assert re.fullmatch(r"\$\(\w+\)", password), path.name
    for environment in ENVIRONMENTS.values():
        for name, value in by_name(environment).items():
            if re.search(r"PASSWORD|SECRET|_KEY$", name):
                assert value == "", name
    inline = (
        r"\.(fernetKey|jwtSecret|apiSecretKey|webserverSecretKey|password|pass|brokerUrl|\w+Connection|defaultUser)\b"
    )
    assert [path for path, _ in scalars(VALUES) if re.search(inline, path)] == []


def test_every_queue_of_the_dags_has_a_worker() -> None:
    asked = {"default", *re.findall(r'queue="(\w+)"', DAGS)}
    assert asked == {queue for worker in workers() for queue in option(worker, "-q").split(",")} == {"default", "gpu"}
    assert all(worker["queue"] == option(worker, "-q") for worker in workers())


def test_a_gpu_has_one_training_at_a_time() -> None:
    (gpu,) = [worker for worker in workers() if worker["queue"] == "gpu"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1 and option(gpu, "-c") == "1"
    assert f"pools set gpu {gpu['replicas']} " in JOB["command"][-1]
    assert gpu["tolerations"] and gpu["nodeSelector"] and gpu["strategy"]["rollingUpdate"]["maxSurge"] == "0%"
    assert "nvidia.com/gpu" not in CELERY["resources"]["limits"]


def test_the_job_does_what_the_compose_file_does_first() -> None:
    def steps(command: str) -> list[str]:
        return [step.strip() for step in command.replace("$$", "$").split("&&")]

    assert steps(JOB["command"][-1]) == steps(COMPOSE["services"]["init"]["command"][-1])
    made = {*re.findall(r"pools set (\w+)", JOB["command"][-1])}
    assert made == {*POOLS} == {*re.findall(r'pool="(\w+)"', DAGS)}
    assert VALUES["migrateDatabaseJob"]["enabled"] is VALUES["createUserJob"]["enabled"] is False


def test_airflow_is_set_as_in_the_compose_file() -> None:
    given = settings_file() | by_name(OF_CHART) | {"AIRFLOW__CORE__EXECUTOR": VALUES["executor"]}
    for name, value in COMPOSE["x-airflow"]["environment"].items():
        if name == "AIRFLOW__API__SECRET_KEY":
            continue  # the chart makes its own
        assert name in given, name
        if "${" not in value and "://" not in value:
            assert given[name] == value, name
    assert given["AIRFLOW__CELERY__SYNC_PARALLELISM"] == "1"
    for name, value in by_name(JOB["env"]).items():
        assert not name.startswith("AIRFLOW__") or given[name] == value, name


def test_the_charts_own_variables_for_secrets_are_off_where_ours_are_set() -> None:
    builtin = VALUES["enableBuiltInSecretEnvVars"]
    set_here = {name for name in by_name(OF_CHART) if re.search(r"CONN$|KEY$|SECRET$|BROKER_URL|BACKEND", name)}
    assert {name for name in set_here if name.startswith("AIRFLOW__")} - {*builtin} == set()
    assert not any(builtin.values())


def test_images_are_targets_of_the_dockerfile_that_the_page_builds_and_pushes() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    airflow = VALUES["images"]["airflow"]
    assert airflow == {"repository": VALUES["defaultAirflowRepository"], "tag": VALUES["defaultAirflowTag"]}
    built = dict(re.findall(r"docker build (.*) -t (\S+) \.", PAGE))
    assert {*built.values()} == {f"{airflow['repository']}:{airflow['tag']}", JOB["image"]}
    assert {*built.values()} == {*re.findall(r"docker push (\S+)", PAGE)}
    for options, image in built.items():
        assert re.search(rf"^FROM \w+ AS {options.split()[1]}$", dockerfile, flags=re.MULTILINE)
        assert image.rpartition(":")[2] == project["version"]
        assert {*re.findall(r"EXTRA=(\w+)", options)} <= {*project["optional-dependencies"]}
    assert "EXTRA=gpu" in next(options for options, image in built.items() if image.startswith(airflow["repository"]))


def test_airflow_is_the_version_of_the_lock_and_needs_nothing_that_is_not_in_it() -> None:
    lock = (PROJECT / "requirements.lock").read_text()
    assert f"\napache-airflow=={VALUES['airflowVersion']} " in lock
    assert VALUES["statsd"]["enabled"] is ("\nstatsd==" in lock)


def test_probes_and_sidecars_call_nothing_that_only_airflows_own_image_has() -> None:
    for name, job in {"scheduler": "Scheduler", "dagProcessor": "DagProcessor", "triggerer": "Triggerer"}.items():
        probe = ["airflow", "jobs", "check", "--job-type", f"{job}Job", "--local"]
        assert VALUES[name]["livenessProbe"]["command"] == probe
        assert VALUES[name]["logGroomerSidecar"]["enabled"] is False
    assert VALUES["scheduler"]["startupProbe"]["command"] == VALUES["scheduler"]["livenessProbe"]["command"]
    assert VALUES["workers"]["logGroomerSidecar"]["enabled"] is False
    module, name = re.findall(r"--app (\S+)\.(\w+) inspect ping", CELERY["livenessProbe"]["command"][-1])[0]
    found = [Path(folder) / f"{module.replace('.', '/')}.py" for folder in sys.path]
    (source,) = [path.read_text() for path in found if path.is_file()][:1]
    assert re.search(rf"^{name} = ", source, flags=re.MULTILINE)


def test_nobody_is_root_and_the_user_is_that_of_the_image() -> None:
    (uid,) = re.findall(r"--uid (\d+)", (PROJECT / "Dockerfile").read_text())
    for context in (VALUES["securityContexts"]["pod"], POD["securityContext"]):
        assert (context["runAsUser"], context["runAsNonRoot"]) == (int(uid), True)
    for context in (VALUES["securityContexts"]["containers"], JOB["securityContext"]):
        assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert VALUES["redis"]["securityContexts"]["pod"]["runAsNonRoot"] is True and VALUES["redis"]["uid"] > 0


def test_model_files_go_to_a_volume_with_a_limit_and_each_pod_has_resources() -> None:
    (mount,) = [item for item in VALUES["volumeMounts"] if item["name"] == "cache"]
    assert by_name(OF_CHART)["BRAINTUMOR_CACHE_FOLDER"] == mount["mountPath"]
    (volume,) = [item for item in VALUES["volumes"] if item["name"] == mount["name"]]
    assert volume["emptyDir"]["sizeLimit"]
    services = [VALUES[name] for name in ("scheduler", "dagProcessor", "triggerer", "apiServer", "redis")]
    for part in [*services, *workers(), JOB]:
        assert {"cpu", "memory"} <= {*part["resources"]["requests"]} and "memory" in part["resources"]["limits"]


def test_the_page_installs_the_version_and_the_name_that_the_values_are_written_for() -> None:
    written_for = re.findall(r"version (\S+)\. How to", (FOLDER / "values.yaml").read_text())
    assert {*re.findall(r"--version (\S+)", PAGE)} == {*written_for} and len(written_for) == 1
    (release,) = {*re.findall(r"helm (?:install|upgrade|template) (\S+)", PAGE)}
    addresses = re.findall(r"(?://|@)([\w-]+):\d+/", str(by_name(OF_CHART)))
    assert {*addresses} == {f"{release}-api-server", f"{release}-redis"}
    assert unknown({f"{release.upper()}_REDIS_PORT": "as Kubernetes names it"}) == {}


def test_the_page_makes_the_logins_of_the_compose_file() -> None:
    def statements(text: str) -> list[str]:
        found = re.findall(r"^ *((?:create|grant) .*;)$", text, flags=re.MULTILINE)
        return [statement.replace("$$", "$") for statement in found]

    assert statements(PAGE) == statements(COMPOSE["configs"]["databases"]["content"]) and len(statements(PAGE)) == 11
