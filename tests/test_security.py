"""Claims of docs/security.md: S3 policies match the requests of the code, and errors show no secrets."""

from __future__ import annotations

import json
import re
import traceback
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest

from braintumor import s3
from braintumor.config.roles import Role
from braintumor.config.settings import Settings, setting_variables
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.doctor.check_result import State
from braintumor.doctor.installation import Installation
from braintumor.doctor.run_checks import run_checks
from braintumor.doctor.store import PREFIXES
from braintumor.errors import BrainTumorError
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.registry import model_versions, retention
from braintumor.review.images import frame_png
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from braintumor.signed_get import SignedGet
from tests.conftest import Put, invoke, run_braintumor
from tests.images import png
from tests.models import record_model
from tests.reviews import add_reviews
from tests.sql import rows

PROJECT = Path(__file__).parent.parent
POLICIES = {path.stem: path for path in (PROJECT / "docs" / "s3-policies").glob("*.json")}
PERMISSIONS = {
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "PutObject": "PutObject",
    "DeleteObject": "DeleteObject",
    "CreateBucket": "CreateBucket",
}
"""The permission that each call of the client needs, from the table of S3 actions of AWS."""

Requests = set[tuple[str, str]]


def statements(role: str) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = json.loads(POLICIES[role].read_text())["Statement"]
    return parsed


def is_allowed(role: str, action: str, resource: str) -> bool:
    return any(
        f"s3:{action}" in statement["Action"] and any(fnmatchcase(resource, each) for each in statement["Resource"])
        for statement in statements(role)
    )


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Requests:
    """Record the S3 requests of this process, as permission and resource."""
    recorded: Requests = set()
    scans, make, signed_read = S3Uri.parse(settings.require("scans_uri")).key, boto3.client, SignedGet.read

    def note(right: str, bucket: str, key: str) -> None:
        path = "/" + key.replace(scans, "scans/") if key else ""
        recorded.add((right, f"arn:aws:s3:::{bucket}{path}"))

    def read(reader: SignedGet, bucket: str, key: str, **options: Any) -> bytes | None:
        note("GetObject", bucket, key)
        return signed_read(reader, bucket, key, **options)

    def client(*arguments: Any, **options: Any) -> Any:
        made = make(*arguments, **options)

        def record(params: dict[str, Any], model: Any, **_: Any) -> None:
            if params.get("Key") != "k":  # SignedGet asks for the address of this key, and sends no request
                note(PERMISSIONS[model.name], params["Bucket"], params.get("Key", ""))

        made.meta.events.register("provide-client-params.s3", record)
        return made

    monkeypatch.setattr(s3.boto3, "client", client)
    monkeypatch.setattr(SignedGet, "read", read)
    return recorded


def test_policies_name_exactly_the_calls_of_the_code() -> None:
    source = (PROJECT / "braintumor" / "s3.py").read_text()
    calls = {*re.findall(r"_client\.(\w+)\(", source), *re.findall(r'get_paginator\("(\w+)"', source)}
    names = {"".join(part.capitalize() for part in call.split("_")) for call in calls - {"get_paginator"}}
    assert names == set(PERMISSIONS), "new call: add its permission, and the roles that need it"
    allowed = {action for role in POLICIES for statement in statements(role) for action in statement["Action"]}
    assert allowed == {f"s3:{right}" for right in PERMISSIONS.values()}
    for role in POLICIES:
        for statement in statements(role):
            assert statement["Effect"] == "Allow" and set(statement) == {"Sid", "Effect", "Action", "Resource"}
            on_bucket = {"s3:ListBucket", "s3:CreateBucket"} & set(statement["Action"])
            assert all(("/" in resource) != bool(on_bucket) for resource in statement["Resource"])
    page = (PROJECT / "docs" / "security.md").read_text()
    assert set(re.findall(r"s3-policies/([\w-]+)\.json", page)) == set(POLICIES)


def test_no_role_overwrites_scans_and_only_the_eraser_deletes() -> None:
    scan = "arn:aws:s3:::braintumor/scans/a.dcm"
    assert not [role for role in POLICIES if is_allowed(role, "PutObject", scan)]
    assert [role for role in POLICIES if is_allowed(role, "DeleteObject", scan)] == ["eraser"]


def test_scoring_and_pages_stay_within_their_policies(
    settings: Settings, put: Put, requests: Requests, tmp_path: Path
) -> None:
    put("a.png", png())
    run_scoring_job(replace(settings, cache_folder=str(tmp_path / "cache")), run_key="night")
    assert {right for right, _ in requests} == {"ListBucket", "GetObject", "PutObject"}
    assert {each for each in requests if not is_allowed("scorer", *each)} == set()
    requests.clear()
    engine = database.connect(settings)
    frame_png(engine, ObjectStore.connect(settings), scan_id=1, frame_index=0)
    engine.dispose()
    assert requests and {each for each in requests if not is_allowed("reviewer", *each)} == set()


def test_uploads_stay_within_the_policy_of_the_data_manager(
    settings: Settings, requests: Requests, phantoms: Path
) -> None:
    prefix = "s3://braintumor/dataset/ward b/"
    for _ in range(2):
        assert invoke(settings, "dataset", "upload", str(phantoms), prefix).exit_code == 0
    assert invoke(settings, "dataset", "abandon-upload", prefix).exit_code == 0
    assert {right for right, _ in requests} == {"ListBucket", "PutObject"}
    assert {each for each in requests if not is_allowed("data-manager", *each)} == set()
    store = ObjectStore.connect(settings)
    store.delete(S3Uri(bucket=e.bucket, key=e.key) for e in list(store.list(S3Uri.parse(prefix))))


@pytest.mark.soak
def test_training_and_pruning_stay_within_their_policies(
    settings: Settings, put: Put, requests: Requests, tmp_path: Path
) -> None:
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    put("a.png", png())
    run_scoring_job(replace(settings, cache_folder=str(tmp_path / "cache")), run_key="night")
    add_reviews(settings, 1, "glioma", "ann", "bob")
    requests.clear()
    snapshot_of(settings, None)
    assert rows(settings, "select count(*) from reviewed_frame") == [(1,)], "a reviewed scan was read"
    champion = model_versions.champion(engine)
    evaluate_model(settings, champion.model_name, access_key="evaluation")
    assert {right for right, _ in requests} == {"ListBucket", "GetObject", "PutObject"}
    assert {each for each in requests if not is_allowed("trainer", *each)} == set()
    folder = S3Uri.parse(settings.require("models_uri")) / "old/"
    store.write(folder / "model.bin", b"old")
    record_model(settings, "old", run_key="old", folder=folder, sha256s={"model.bin": "0"}, days_old=400)
    requests.clear()
    model_versions.require_whole(store, settings, champion)
    assert [pruned.model_name for pruned in retention.prune(engine, store, actor="tests")] == ["old"]
    engine.dispose()
    assert {right for right, _ in requests} == {"ListBucket", "GetObject", "DeleteObject"}
    assert {each for each in requests if not is_allowed("promoter", *each)} == set()


@pytest.mark.parametrize("role", PREFIXES)
def test_doctor_of_a_role_stays_within_its_policy(settings: Settings, put: Put, requests: Requests, role: Role) -> None:
    put("a.png", png())
    results = [
        result for result in run_checks(Installation(settings=settings, role=role)) if result.check.startswith("S3")
    ]
    assert results and {result.state for result in results} <= {State.OK, State.NOTE}
    assert requests and {each for each in requests if not is_allowed(role.value, *each)} == set()


CANARY = "canary-5f1e-do-not-sing"


def broken_settings(settings: Settings) -> dict[str, Settings]:
    """Return settings that make the work fail, each with a canary as a secret."""
    address = settings.require("database_url").rpartition("@")[2]
    return {
        "another password": replace(settings, database_url=f"postgresql://scorer:{CANARY}@{address}"),
        "no server": replace(settings, database_url=f"postgresql://scorer:{CANARY}@127.0.0.1:1/braintumor"),
        "no URL": replace(settings, database_url=f"postgres//scorer:{CANARY}@@["),
        "another database": replace(settings, database_url=f"mysql://scorer:{CANARY}@127.0.0.1/braintumor"),
        "a bad port": replace(settings, database_url=f"postgresql://scorer:{CANARY}@127.0.0.1:port/braintumor"),
        "an @ in the password": replace(settings, database_url=f"postgresql://scorer:x@{CANARY}@127.0.0.1/braintumor"),
        "an @ and a : in it": replace(settings, database_url=f"postgresql://scorer:x@y:{CANARY}@127.0.0.1/braintumor"),
        "S3 refuses": replace(settings, s3_secret_key=CANARY),
        "S3 knows no such key": replace(settings, s3_access_key=CANARY),
        "no S3": replace(settings, s3_secret_key=CANARY, s3_endpoint="http://127.0.0.1:1"),
        "a short key": replace(settings, pseudonym_key=CANARY),
    }


CASES = list(broken_settings(Settings(database_url="postgresql://a:b@c/d")))


@pytest.mark.parametrize("case", CASES)
def test_error_shows_no_secret(settings: Settings, caplog: pytest.LogCaptureFixture, case: str) -> None:
    caplog.set_level("INFO")
    broken = broken_settings(settings)[case]
    assert CANARY not in repr(broken)
    with pytest.raises(BrainTumorError) as caught:
        run_scoring_job(broken, run_key="night")
    shown = "".join(traceback.format_exception(caught.value))  # as in the log of a task
    assert CANARY not in shown + caplog.text


def test_command_shows_no_secret_on_an_error(settings: Settings) -> None:
    secrets = {name: f"{CANARY}-{name}-{'x' * 32}" for name, each in setting_variables().items() if each.is_secret}
    secrets["database_url"] = f"postgresql://scorer:{CANARY}@127.0.0.1:1/braintumor"
    done = run_braintumor(replace(settings, **secrets), "score", check=False)
    assert done.returncode != 0 and "No usable connection to Postgres" in done.stderr
    assert CANARY not in done.stdout + done.stderr
