"""Check the values for Airflow's Helm chart without a cluster, and mostly without the chart."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for

from braintumor.config.reference import POOLS, unknown
from braintumor.config.settings import Settings
from braintumor.config.variables import OF_DEMO, OF_TOOLS, TASK_ROLES
from braintumor.registry.model_cache import training_folder
from tests.compose import SECRETS_OF, compose_file, variables_of
from tests.conftest import NO_CHART

PROJECT = Path(__file__).parent.parent
FOLDER = PROJECT / "kubernetes"
PAGE = (PROJECT / "docs" / "kubernetes.md").read_text()
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text())
SETUP: dict[str, Any] = yaml.safe_load((FOLDER / "setup.yaml").read_text())
COMPOSE = compose_file()
CELERY: dict[str, Any] = VALUES["workers"]["celery"]
POD: dict[str, Any] = SETUP["spec"]["template"]["spec"]
JOB: dict[str, Any] = POD["containers"][0]
DAGS = "\n".join(path.read_text() for path in (PROJECT / "dags").glob("*.py"))
IN_EACH_POD: list[dict[str, Any]] = [*VALUES["env"], *yaml.safe_load(VALUES["extraEnv"])]
GPU: dict[str, Any] = CELERY["sets"][0]
OWN: dict[str, list[dict[str, Any]]] = {
    "apiserver": VALUES["apiServer"]["env"],
    "scheduler": VALUES["scheduler"]["env"],
    "dag-processor": VALUES["dagProcessor"]["env"],
    "triggerer": VALUES["triggerer"]["env"],
    "worker": CELERY["env"],
    "gpu-worker": GPU["env"],
}
"""Variables that the chart appends for one component, by the name of that service in the compose file."""
OF_CHART: list[dict[str, Any]] = [*IN_EACH_POD, *(item for own in OWN.values() for item in own)]
ENVIRONMENTS = {**{name: [*IN_EACH_POD, *own] for name, own in OWN.items()}, "setup": JOB["env"]}
BUILT_IN = {
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW_CONN_AIRFLOW_DB",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__WEBSERVER__SECRET_KEY",
    "AIRFLOW__CELERY__RESULT_BACKEND",
    "AIRFLOW__CELERY__BROKER_URL",
    "AIRFLOW__ELASTICSEARCH__HOST",
    "AIRFLOW__OPENSEARCH__HOST",
}
"""Names that chart 1.22.0 accepts under ``enableBuiltInSecretEnvVars``. It refuses any other name there."""
(CHART_VERSION,) = re.findall(r"version (\S+)\. How to", (FOLDER / "values.yaml").read_text())
CHART = PROJECT.parent / "shared" / "data" / "airflow-chart"
"""Optional folder of the chart and its schema. They belong to Airflow and are not in this repository."""
WITH_JWT = ("apiserver", "scheduler")
"""The components to which chart 1.22.0 gives the JWT key."""


def settings_file() -> dict[str, str]:
    lines = (FOLDER / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def secret_names() -> set[str]:
    """Return the names of the .env of `python -m devstack secrets`. tests/test_compose.py compares the two."""
    return variables_of(COMPOSE)


def by_name(environment: list[dict[str, Any]]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in environment}


def scalars(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf with the path of names to it."""
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
def test_each_variable_is_set_once_and_is_known(place: str) -> None:
    own = [item["name"] for item in ENVIRONMENTS[place]]
    names = own + [name for name in settings_file() if name not in {"POSTGRES_HOST", "S3_ENDPOINT"}]
    assert len(names) == len({*names}) > 10
    assert unknown(dict.fromkeys(names, "x")) == {}, "see docs/configuration.md"
    assert not {variable.name for variable in (*OF_TOOLS, *OF_DEMO)} & {*names}


def test_every_task_role_has_its_connection() -> None:
    given = by_name(OF_CHART)
    names = {role: f"AIRFLOW_CONN_BRAINTUMOR_DB_{role.upper()}" for role in TASK_ROLES}
    names["reviewer"] = "BRAINTUMOR_DATABASE_URL_REVIEWER"  # tasks can read Airflow's connections from the api-server
    assert {*names.values()} == {name for name in given if re.search("CONN_BRAINTUMOR_DB|DATABASE_URL", name)}
    for role in TASK_ROLES:
        assert f"://{role}:$({role.upper()}_DB_PASSWORD)@" in given[names[role]]


@pytest.mark.parametrize("place", ENVIRONMENTS)
def test_references_are_defined_above_and_in_secret_or_config(place: str) -> None:
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


def test_secret_holds_only_values_that_pods_use() -> None:
    (left_out,) = re.findall(
        r"create secret generic braintumor .*--from-env-file=<\(grep -Ev '\^\(([\w|]+)\)' \.env\)", PAGE
    )
    asked = {item["valueFrom"]["secretKeyRef"]["key"] for environment in ENVIRONMENTS.values() for item in environment
             if "secretKeyRef" in item.get("valueFrom", {})}  # fmt: skip
    assert asked == {name for name in secret_names() if not re.match(left_out, name)}


def test_no_component_may_use_the_kubernetes_api() -> None:
    assert VALUES["allowPodLaunching"] is VALUES["apiServer"]["allowPodLogReading"] is False
    assert "allowJobLaunching" not in VALUES and not any("serviceAccount" in one for one in CELERY["sets"])
    for part in (CELERY, *(VALUES[name] for name in ("apiServer", "scheduler", "dagProcessor", "triggerer", "redis"))):
        assert part["serviceAccount"] == {"automountServiceAccountToken": False}
    assert POD["automountServiceAccountToken"] is False


def test_only_the_job_has_the_owner_password() -> None:
    of_chart, of_job = str(OF_CHART), str(JOB["env"])
    for key in ("BRAINTUMOR_DB_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "POSTGRES_PASSWORD"):
        assert f"'{key}'" not in of_chart
    for key in ("ANALYST_DB_PASSWORD", "ERASER_DB_PASSWORD"):
        assert key not in of_chart + of_job
    assert "secretRef" not in str(VALUES["extraEnvFrom"]) + str(JOB["envFrom"])


def test_no_secret_is_in_the_files() -> None:
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


def test_gpu_has_one_training_at_a_time() -> None:
    (gpu,) = [worker for worker in workers() if worker["queue"] == "gpu"]
    assert gpu is GPU
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1 and option(gpu, "-c") == "1"
    assert f"pools set gpu {gpu['replicas']} " in JOB["args"][-1]
    assert gpu["tolerations"] and gpu["nodeSelector"] and gpu["strategy"]["rollingUpdate"]["maxSurge"] == "0%"
    assert "nvidia.com/gpu" not in CELERY["resources"]["limits"]


def test_job_runs_the_same_setup_as_compose() -> None:
    def steps(command: str) -> list[str]:
        return [step.strip() for step in command.replace("$$", "$").split("&&")]

    assert steps(JOB["args"][-1]) == steps(COMPOSE["services"]["init"]["command"][-1])
    made = {*re.findall(r"pools set (\w+)", JOB["args"][-1])}
    assert made == {*POOLS} == {*re.findall(r'pool="(\w+)"', DAGS)}
    assert VALUES["migrateDatabaseJob"]["enabled"] is VALUES["createUserJob"]["enabled"] is False


@pytest.mark.parametrize("service", OWN)
def test_each_component_has_the_settings_of_compose(service: str) -> None:
    given = settings_file() | by_name(ENVIRONMENTS[service]) | {"AIRFLOW__CORE__EXECUTOR": VALUES["executor"]}
    expected = COMPOSE["services"][service]["environment"]
    assert {*expected} - {*given} == ({"AIRFLOW__API_AUTH__JWT_SECRET"} if service in WITH_JWT else set())
    for name, value in expected.items():
        if "${" not in value and "://" not in value:
            assert given[name] == value, name
    assert given["AIRFLOW__CELERY__SYNC_PARALLELISM"] == "1"


def test_job_has_the_settings_of_the_pods() -> None:
    given = by_name(OF_CHART)
    for name, value in by_name(JOB["env"]).items():
        assert not name.startswith("AIRFLOW__") or given[name] == value, name


@pytest.mark.parametrize("service", [*OWN, "setup"])
def test_each_pod_gets_only_the_secrets_of_its_role(service: str) -> None:
    held = {item["valueFrom"]["secretKeyRef"]["key"] for item in ENVIRONMENTS[service]
            if "secretKeyRef" in item.get("valueFrom", {})}  # fmt: skip
    held |= {"AIRFLOW_JWT_SECRET"} if service in WITH_JWT else set()
    logs = {"AIRFLOW_API_SECRET_KEY"} if service.endswith("worker") else set()  # only here workers serve their logs
    assert held == SECRETS_OF["init" if service == "setup" else service] | logs


def test_chart_itself_provides_only_the_jwt_key() -> None:
    builtin: dict[str, bool] = VALUES["enableBuiltInSecretEnvVars"]
    assert {*builtin} <= BUILT_IN
    assert {name for name in BUILT_IN & {*by_name(OF_CHART)} if builtin.get(name, True)} == set()
    assert {name for name, is_on in builtin.items() if is_on} == {"AIRFLOW__API_AUTH__JWT_SECRET"}
    assert re.findall(r"create secret generic (\S+) .*--from-literal=jwt-secret=", PAGE) == [VALUES["jwtSecretName"]]
    names = [
        VALUES[name] for name in ("fernetKeySecretName", "apiSecretKeySecretName")
    ]  # so the chart creates no Secret of its own
    assert names == [VALUES["data"]["metadataSecretName"], VALUES["data"]["brokerUrlSecretName"]] == ["braintumor"] * 2


def test_chart_schema_accepts_the_values() -> None:
    path = CHART / f"values.schema-{CHART_VERSION}.json"
    if not path.exists():
        pytest.skip(NO_CHART)
    schema = json.loads(path.read_text())
    validator = validator_for(schema)(schema)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(VALUES)] == []
    assert {*schema["properties"]["enableBuiltInSecretEnvVars"]["properties"]} == BUILT_IN


def test_rendered_containers_have_secrets_of_their_role() -> None:
    path = CHART / f"airflow-{CHART_VERSION}.tgz"
    if not path.exists() or find_spec("helm_python") is None:
        pytest.skip(NO_CHART)
    objects = rendered(path)
    assert not [one for one in objects if one["kind"] == "Secret"]
    assert not [one for one in objects if one["kind"].endswith("Role") and "create" in str(one["rules"])]
    pods = {one["metadata"]["name"].removeprefix("airflow-"): one["spec"]["template"]["spec"]
            for one in objects if one["kind"] in {"Deployment", "StatefulSet"}}  # fmt: skip
    assert pods.keys() == {"api-server", "scheduler", "dag-processor", "triggerer", "worker", "worker-gpu", "redis"}
    names = {"api-server": "apiserver", "worker-gpu": "gpu-worker"}
    for name, pod in pods.items():
        (container,) = [*pod["containers"], *(pod.get("initContainers") or [])]
        if name == "redis":
            continue
        service = names.get(name, name)
        assert "command" not in container  # a command would replace the image's init process
        environment = container["env"]
        assert len({item["name"] for item in environment}) == len(environment)
        refs = [
            item["valueFrom"]["secretKeyRef"] for item in environment if "secretKeyRef" in item.get("valueFrom", {})
        ]
        held = {"AIRFLOW_JWT_SECRET" if ref["key"] == "jwt-secret" else ref["key"] for ref in refs}
        assert held - ({"AIRFLOW_API_SECRET_KEY"} if "worker" in name else set()) == SECRETS_OF[service]
        for number, item in enumerate(environment):
            above = {one["name"] for one in environment[:number]}
            assert {*re.findall(r"\$\((\w+)\)", item.get("value", ""))} <= above, item


def rendered(chart: Path) -> list[dict[str, Any]]:
    """Render the chart with the values of this project."""
    import helm_python

    with helm_python.Chart.load(str(chart)) as loaded:
        texts: dict[str, str] = loaded.render(VALUES, name="airflow", namespace="braintumor")
    parts = [part for name, text in texts.items() if name.endswith(".yaml") for part in yaml.safe_load_all(text)]
    return [part for part in parts if part]


def test_no_container_without_password_waits_for_migrations() -> None:
    for part in (CELERY, *(VALUES[name] for name in ("apiServer", "scheduler", "dagProcessor", "triggerer"))):
        assert part["waitForMigrations"] == {"enabled": False}


def test_images_are_dockerfile_targets_that_the_page_builds() -> None:
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


def test_airflow_version_and_providers_are_in_the_lock() -> None:
    lock = (PROJECT / "requirements.lock").read_text()
    assert f"\napache-airflow=={VALUES['airflowVersion']} " in lock
    assert VALUES["statsd"]["enabled"] is ("\nstatsd==" in lock)


def test_probes_call_only_programs_of_this_image() -> None:
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


def test_no_container_is_root_and_user_is_that_of_image() -> None:
    (uid,) = re.findall(r"--uid (\d+)", (PROJECT / "Dockerfile").read_text())
    for context in (VALUES["securityContexts"]["pod"], POD["securityContext"]):
        assert (context["runAsUser"], context["runAsNonRoot"]) == (int(uid), True)
    for context in (VALUES["securityContexts"]["containers"], JOB["securityContext"]):
        assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert VALUES["redis"]["securityContexts"]["pod"]["runAsNonRoot"] is True and VALUES["redis"]["uid"] > 0


def test_cache_volume_has_limit_and_pods_have_resources() -> None:
    (mount,) = [item for item in VALUES["volumeMounts"] if item["name"] == "cache"]
    assert by_name(OF_CHART)["BRAINTUMOR_CACHE_FOLDER"] == mount["mountPath"]
    (volume,) = [item for item in VALUES["volumes"] if item["name"] == mount["name"]]
    assert volume["emptyDir"]["sizeLimit"]
    services = [VALUES[name] for name in ("scheduler", "dagProcessor", "triggerer", "apiServer", "redis")]
    for part in [*services, *workers(), JOB]:
        assert {"cpu", "memory"} <= {*part["resources"]["requests"]} and "memory" in part["resources"]["limits"]


def test_loss_of_one_node_leaves_an_api_server() -> None:
    server = VALUES["apiServer"]
    assert server["replicas"] == 2 and server["podDisruptionBudget"]["enabled"] is True
    (spread,) = server["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert f"`--replicas={server['replicas']}`" in (PROJECT / "docs" / "recovery.md").read_text()


def test_gpu_worker_keeps_checkpoints_in_a_volume() -> None:
    claim = yaml.safe_load((FOLDER / "training-volume.yaml").read_text())
    (volume,), (mount,) = GPU["extraVolumes"], GPU["extraVolumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert volume["name"] == mount["name"] not in {item["name"] for item in VALUES["volumes"]}
    settings = Settings.from_environment(by_name(IN_EACH_POD))
    assert str(training_folder(settings, "vgg16", "digest").parent) == mount["mountPath"]
    assert "kubectl apply -f kubernetes/training-volume.yaml" in PAGE


def test_each_pod_finds_the_files_of_the_page() -> None:
    (name,) = re.findall(r"create configmap (\S+) .*--from-file", PAGE)
    for volumes, mounts in ((VALUES["volumes"], VALUES["volumeMounts"]), (POD["volumes"], JOB["volumeMounts"])):
        (volume,) = [item for item in volumes if item["name"] == "files"]
        (mount,) = [item for item in mounts if item["name"] == "files"]
        assert volume["configMap"] == {"name": name, "optional": True} and mount["readOnly"] is True
        assert f"sslrootcert={mount['mountPath']}/" in PAGE and f"AWS_CA_BUNDLE={mount['mountPath']}/" in PAGE


def test_page_installs_chart_version_and_release_of_values() -> None:
    assert {*re.findall(r"--version ([\d.]+)", PAGE)} == {CHART_VERSION}
    (release,) = {*re.findall(r"helm (?:install|upgrade|template) (\S+)", PAGE)}
    addresses = re.findall(r"(?://|@)([\w-]+):\d+/", str(by_name(OF_CHART)))
    assert {*addresses} == {f"{release}-api-server", f"{release}-redis"}
    assert unknown({f"{release.upper()}_REDIS_PORT": "as Kubernetes names it"}) == {}


def test_page_creates_the_logins_of_compose() -> None:
    def statements(text: str) -> list[str]:
        found = re.findall(r"^ *((?:create|grant) .*;)$", text, flags=re.MULTILINE)
        return [statement.replace("$$", "$") for statement in found]

    assert statements(PAGE) == statements(COMPOSE["configs"]["databases"]["content"]) and len(statements(PAGE)) == 11
