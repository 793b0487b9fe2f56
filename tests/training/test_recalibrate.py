"""Test that prediction sets are fitted again on blind reviews of the audit sample, as a candidate."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore
from braintumor.training.recalibrate import AuditAnswers, recalibrate
from tests.conftest import printed, run_braintumor
from tests.sql import change, rows

READ = """
    with run as (
        insert into scoring_run (run_key, scans_uri, model_version_id, engine, state)
        values ('audited', 's3://b/s/', 1, 'openvino-cpu', 'balanced')
        returning scoring_run_id
    ),
    made as (
        insert into scan (state, scoring_run_id, size_bytes, content_sha256, patient_pseudonym, arrived_at,
                          audit_probability)
        select 'scored', scoring_run_id, 1, 'content ' || number, 'patient ' || number % 5 || ' ' || number / 10, now(),
               0.02
        from run cross join generate_series(1, :count) as number
        returning scan_id, scoring_run_id
    ),
    predicted as (
        insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence,
            margin, probability_glioma, probability_meningioma, probability_normal, probability_pituitary,
            review_reasons, activation_map, engine, preprocessing)
        select scan_id, 0, 1, scoring_run_id, 'glioma', 0.4, 0.2, 0.4, 0.2, 0.2, 0.2, '{audit_sample}', '',
               'openvino-cpu', 'p'
        from made
        returning scan_id
    )
    insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
    select 'answer ' || scan_id, scan_id, 0, 1, 'ann', (array['glioma', 'meningioma', 'normal', 'pituitary',
           'other_finding'])[1 + scan_id % 5]::review_finding, 'audit', true
    from predicted"""


def test_recalibration_is_a_judged_candidate_with_new_sets(settings: Settings) -> None:
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = model_versions.champion(engine)
    change(settings, READ, count=200)
    done = run_braintumor(settings, "model", "recalibrate", model.model_name, check=False)
    (made,) = (each for each in model_versions.list_models(engine) if each.model_name != model.model_name)
    assert done.returncode in (0, 1) and done.stdout.startswith(f"{made.model_name} is {model.model_name} with ")
    assert model_versions.champion(engine) == model, "a person promotes it"
    thresholds = made.prediction_sets
    assert thresholds is not None and thresholds.fitted_on == "audit sample" and thresholds.coverage == 0.95
    assert thresholds.lowest_probability == pytest.approx(
        {"glioma": 0.4, "meningioma": 0.2, "normal": 0.2, "pituitary": 0.2}
    )
    assert all(count in (20, 21) for count in thresholds.count_group.values()), "two scans of a patient are one group"
    loaded = model_versions.load_model(store, settings, made)
    assert loaded.manifest.prediction_sets == thresholds
    ((rules,),) = rows(
        settings, "select rules from gate_verdict where model_version_id = :id", id=made.model_version_id
    )
    assert "the coverage of the prediction sets, because they were fitted on" in rules["memory"]["not_assessed"][-1]
    outcomes = {rule["name"]: rule["passed"] for rule in rules["rules"]}
    assert outcomes["differs_from_champion"] and outcomes["graph_parity"] and outcomes["manifest_matches"]
    again, _ = recalibrate(settings, model.model_name)
    assert again == made and len(model_versions.list_models(engine)) == 2, "the same answers give the same candidate"
    with database.transaction(engine) as connection:
        answers = AuditAnswers.load(connection, model)
    changed = replace(answers, labels=answers.labels[::-1].copy())
    assert changed.fingerprint != answers.fingerprint == replace(answers).fingerprint
    pruned = "insert into pruning (model_version_id, actor, reason) values (:id, 'ann', 'old')"
    change(settings, pruned, id=made.model_version_id)
    renewed, run_key = recalibrate(settings, model.model_name)
    assert renewed != made and run_key.endswith(f" after model {made.model_version_id}")
    engine.dispose()


def test_recalibration_with_few_reviews_registers_nothing(settings: Settings) -> None:
    change(settings, READ, count=60)
    done = run_braintumor(settings, "model", "recalibrate", "1", check=False)
    assert done.returncode == 1
    assert "needs 19 patients of each class" in done.stderr and re.search("Received: [67] glioma", done.stderr)
    assert json.loads(printed(settings, "model", "list", "--json"))[1:] == []
