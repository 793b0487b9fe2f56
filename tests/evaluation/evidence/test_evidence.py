"""Tests of the evidence about a model: what is reported, what is not assessed, and what must not appear."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.evaluation.evidence.content import reason_of
from braintumor.evaluation.evidence.publish import EvidenceReport, evidence_report, publish_evidence
from braintumor.evaluation.report.index_page import Reader, overview_page
from braintumor.evaluation.report.publish import refresh_reports
from braintumor.registry.model_versions import find_model
from braintumor.s3 import ObjectStore, S3Uri
from devstack.stack import Stack
from tests.conftest import as_role, invoke, printed
from tests.sql import change


def report_of(settings: Settings, name: str, **arguments: str) -> EvidenceReport:
    engine = database.connect(settings)
    try:
        return evidence_report(engine, find_model(engine, name), **arguments)
    finally:
        engine.dispose()


def evidence_of(settings: Settings, name: str, **arguments: str) -> Any:
    return json.loads(report_of(settings, name, **arguments).json)


def test_evidence_has_verdict_accuracy_alarms_and_decisions(recorded: Settings, record: Callable[..., None]) -> None:
    record(Split.TEST)
    evidence = evidence_of(recorded, "used", site_use="Triage at St. Mary.")
    assert evidence["intended_use"]["site"] == "Triage at St. Mary."
    assert evidence["gate"]["verdict"]["passed"] and evidence["gate"]["verdict"]["reference_model"] == "used"
    assert evidence["gate"]["test_split"]["champion_optimism"] == 0.011
    assert {"rule", "passed", "value", "limit", "reason"} == set(evidence["gate"]["rules"][0])
    assert evidence["test"]["overall"]["accuracy"]["value"] == 0.9
    assert evidence["test"]["clustered"]["count_cluster"] == 49
    assert [row["count_image"] for row in evidence["test"]["classes"]] == [60] * 4
    coverage = {row["label"]: row["coverage"]["value"] for row in evidence["test"]["prediction_sets"]}
    assert coverage == pytest.approx({"glioma": 1, "meningioma": 0.75, "normal": 1, "pituitary": 0.75})
    assert evidence["live"]["sample"]["count_read"] == 40
    assert reason_of(evidence["live"]["readers"]) == "too few readings"
    assert evidence["live"]["accuracy"]["accuracy"] == {"value": 0.9, "low": 0.78, "high": 0.96}
    assert "0 of 20 required" in reason_of(evidence["live"]["figures"][3]["accuracy"])
    female, male = evidence["subgroups"]["test"]
    assert female["accuracy"] == pytest.approx({"value": 100 / 120, "low": 0.7, "high": 0.92})
    assert (male["count_image"], male["count_group"]) == (120, 6)
    assert male["accuracy"] == {"not_assessed": "6 patients or groups of images, 20 are required"}
    assert [run["level"] for run in evidence["alarms"]["not_green"]] == ["amber", "red"]
    assert evidence["alarms"]["rejections"] == [{"reason": "unreadable", "count_scan": 1}]
    assert [each["person"] for each in evidence["decisions"]["approvals"]] == ["Ann Approver"]
    assert [each["action"] for each in evidence["decisions"]["promotions"]] == ["promote", "rollback"]
    assert [each["from_model"] for each in evidence["decisions"]["rollbacks"]] == ["fresh"]
    assert [each["count_asked"] for each in evidence["decisions"]["rescores"]] == [1]


def test_recall_of_a_class_counts_patients(recorded: Settings, record: Callable[..., None]) -> None:
    record(Split.TEST)
    change(recorded, "update snapshot_image set group_key = 'one' where label = 'glioma'")
    change(recorded, "update snapshot_image set group_key = image_sha256 where label = 'normal'")
    glioma, _, normal, _ = (row["recall"] for row in evidence_of(recorded, "used")["test"]["classes"])
    assert glioma == {"not_assessed": "1 patients or groups of images, 20 are required"}
    assert normal["value"] == 1 and normal["low"] == pytest.approx(0.94, abs=0.001), "60 groups"


def test_evidence_has_data_versions_and_hashes(recorded: Settings) -> None:
    evidence = evidence_of(recorded, "used")
    test = evidence["data"]["splits"][2]
    assert (test["split"], test["count_image"], test["count_group"], test["glioma"]) == ("test", 240, 49, 60)
    assert evidence["data"]["patients"]["count_image_with_patient"] == 400
    assert evidence["data"]["exclusions"] == [
        {"reason": "on the exclusion list", "count_file": 1},
        {"reason": "unreadable", "count_file": 1},
    ]
    assert evidence["data"]["characteristics"][0] == {
        "attribute": "sex", "value": "F", "train": 40, "validation": 40, "test": 120,
    }  # fmt: skip
    hashes = evidence["versions"]["hashes"]
    recipe = json.dumps(evidence["versions"]["recipe"], sort_keys=True, separators=(",", ":"))
    assert hashes["recipe_sha256"] == sha256(recipe.encode()).hexdigest()
    assert (hashes["weights_sha256"], hashes["snapshot_id"]) == ("bb22", "s")
    assert evidence["versions"]["model"]["preprocessing"] == "letterbox-bilinear-2"


def test_model_without_data_is_not_assessed_and_has_no_number(recorded: Settings) -> None:
    evidence = evidence_of(recorded, "fresh")
    for section, block in (
        ("intended_use", "site"),
        ("gate", "verdict"),
        ("gate", "rules"),
        ("test", "overall"),
        ("test", "clustered"),
        ("test", "classes"),
        ("live", "accuracy"),
        ("subgroups", "test"),
        ("subgroups", "production"),
        ("alarms", "runs"),
    ):
        assert reason_of(evidence[section][block]), f"{section}.{block}"


@pytest.mark.parametrize(
    ("sql", "key", "reason"),
    [
        ("update snapshot_image set has_patient = false", "test.clustered", "no test image is known"),
        ("update snapshot_image set group_key = 'one'", "test.clustered", "1 patients or groups, 20 are required"),
        ("update evaluation_class set support = 0 where label <> 'glioma'", "test.overall", "one class only"),
        ("update evaluation set count_image = 19", "test.overall", "19 test images, 20 are required"),
        ("delete from live_accuracy_figure", "live.accuracy", "no scoring run of the model has stored"),
        ("update live_accuracy_figure set value = null, not_assessed = 'only 3'", "live.accuracy", "only 3"),
    ],
)
def test_too_few_data_give_a_reason_instead_of_a_number(
    recorded: Settings, record: Callable[..., None], sql: str, key: str, reason: str
) -> None:
    record(Split.TEST)
    section, block = key.split(".")
    assert not reason_of(evidence_of(recorded, "used")[section][block])
    change(recorded, sql)
    assert reason in reason_of(evidence_of(recorded, "used")[section][block])


def test_published_report_is_linked_for_readers_with_the_rights(
    stack: Stack, recorded: Settings, record: Callable[..., None]
) -> None:
    record(Split.VALIDATION)
    record(Split.TEST)
    trainer, reviewer = (database.connect(as_role(stack, recorded, role)) for role in (Role.TRAINER, Role.REVIEWER))
    store, model = ObjectStore.connect(recorded), find_model(trainer, "used")
    assert "evidence.html" not in overview_page(reviewer, Reader(sees_scoring=True, sees_people=True))
    page, document = publish_evidence(trainer, store, model, evidence_report(trainer, model))
    assert refresh_reports(trainer, store, [model]) == []
    link = '<a href="evidence.html">Evidence report</a>'
    assert link in store.read(S3Uri.parse(model.artifact_uri) / "report.html").decode()
    assert b"Evidence for used" in store.read(S3Uri.parse(page)) and document.endswith("/evidence.json")
    shown = {
        (scoring, people): "model/used/evidence.html"
        in overview_page(reviewer, Reader(sees_scoring=scoring, sees_people=people))
        for scoring in (True, False)
        for people in (True, False)
    }
    assert [rights for rights, is_linked in shown.items() if is_linked] == [(True, True)]
    trainer.dispose()
    reviewer.dispose()


def test_command_writes_both_files_with_the_text_of_the_site(recorded: Settings, tmp_path: Path) -> None:
    use = tmp_path / "use.txt"
    use.write_text("Triage at St. Mary.", encoding="utf-8")
    files = ("--folder", str(tmp_path / "board"), "--json")
    answer = json.loads(printed(recorded, "model", "evidence", "used", "--intended-use", str(use), *files))
    page, document = map(Path, answer["files"])
    assert sha256(document.read_bytes()).hexdigest() == answer["json_sha256"]
    assert "Triage at St. Mary." in page.read_text(encoding="utf-8")
    done = invoke(recorded, "model", "evidence", "used", "--folder", str(use / "board"))
    assert done.exit_code == 2 and "Invalid value for --folder" in done.output and "cannot be written" in done.output
    use.write_bytes(b"\xff\xfe\x00")
    done = invoke(recorded, "model", "evidence", "used", "--intended-use", str(use))
    assert done.exit_code == 2 and "cannot be read as UTF-8 text" in done.output


def test_report_names_no_patient_scan_or_reviewer(
    recorded: Settings, record: Callable[..., None], tmp_path: Path
) -> None:
    record(Split.TEST)
    report = report_of(recorded, "used")
    page, document = map(Path, report.write(tmp_path / "board"))
    for text in (page.read_text(), document.read_text()):
        assert "SECRET" not in text
        assert "Ann Approver" in text
    assert sha256(document.read_bytes()).hexdigest() in page.read_text()
    assert list(json.loads(report.json)) == sorted(json.loads(report.json))
