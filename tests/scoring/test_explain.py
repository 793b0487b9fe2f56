"""Test the provenance and replay of predictions, and requeued scans."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ScoringRunError
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.phantom.volume import as_nifti, draw_volume
from braintumor.labels import TumorClass
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.explain import explain, replay
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.scan_status import requeue
from tests.conftest import Put, invoke, printed
from tests.images import png
from tests.sql import change, rows


def replayed(settings: Settings) -> list[str]:
    engine = database.connect(settings)
    return replay(settings, engine, ObjectStore.connect(settings), explain(engine, 1))


def test_prediction_has_provenance_and_replays(settings: Settings, put: Put) -> None:
    put("Jane_Doe.png", png())
    run_scoring_job(settings, run_key="night")
    replay_json = printed(settings, "prediction", "explain", "1", "--replay", "--json")
    chain = json.loads(replay_json)
    assert chain["is_match"] and chain["run_key"] == "night" and chain["promotion_reason"] == "the tests' model"
    assert all(chain[name] for name in ("etag", "content_sha256", "artifact_sha256s", "snapshot_id", "recipe_name"))
    assert "Doe" not in replay_json
    shown = printed(settings, "prediction", "explain", "1")
    assert "run_key: night" in shown and "None" not in shown and "copied_from_scan_id" not in shown
    assert "Doe" not in printed(settings, "scan", "show", "1")
    put("Jane_Doe.png", png(seed=6))
    again = invoke(settings, "prediction", "explain", "1", "--replay")
    assert again.exit_code == 1 and "object: overwritten" in again.stdout
    run_scoring_job(settings, run_key="next")
    assert "run_key: night" in printed(settings, "prediction", "explain", "1"), "also when the new version is scored"


def test_replay_names_a_changed_link(settings: Settings, put: Put) -> None:
    put("a.png", png())
    run_scoring_job(settings, run_key="night")
    assert replayed(settings) == []
    change(settings, "update prediction set probability_glioma = probability_normal, "
           "probability_normal = probability_glioma")  # fmt: skip
    assert "prediction: a probability differs by" in replayed(settings)[0]
    change(settings, "update scan set content_sha256 = 'other'")
    change(settings, "update prediction set preprocessing = 'other'")
    assert [link.split(":")[0] for link in replayed(settings)] == ["preprocessing", "object"]


def test_replay_names_a_tampered_model_file(settings: Settings, put: Put) -> None:
    put("a.png", png())
    run_scoring_job(settings, run_key="night")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    weights = S3Uri.parse(model_versions.champion(engine).artifact_uri) / "model.bin"
    whole = store.read(weights)
    store.write(weights, whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert replayed(settings)[0].startswith("model: ")
    finally:
        store.write(weights, whole)
    assert replayed(settings) == []


def test_frame_of_a_volume_replays_by_its_index(settings: Settings, put: Put) -> None:
    put("volume.nii.gz", as_nifti(draw_volume(TumorClass.GLIOMA, seed=7, slices=10, size=64)))
    run_scoring_job(settings, run_key="night")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    ((first, last),) = rows(settings, "select min(frame_index), max(frame_index) from prediction")
    assert first > 0  # below it there is air
    for frame in (first, last):
        assert replay(settings, engine, store, explain(engine, 1, frame=frame)) == []
    with pytest.raises(ScoringRunError, match="no prediction for frame 0"):
        explain(engine, 1, frame=0)
    model = explain(engine, 1, frame=last)["model_name"]
    shown = printed(settings, "prediction", "explain", "1", "--frame", str(last), "--model", model, "--json")
    assert json.loads(shown)["frame_index"] == last


def test_replay_names_a_missing_object(settings: Settings, put: Put) -> None:
    put("a.png", png())
    run_scoring_job(settings, run_key="night")
    ((bucket, key),) = rows(settings, "select bucket, key from scan_location")
    ObjectStore.connect(settings).delete([S3Uri(bucket=bucket, key=key)])
    assert replayed(settings) == ["object: gone"]


def test_scan_without_prediction_is_an_error(settings: Settings) -> None:
    with pytest.raises(ScoringRunError, match="Scan 7 has no prediction for frame 0"):
        explain(database.connect(settings), 7)


def test_scan_record_has_location_only_on_request(settings: Settings, put: Put) -> None:
    put("Jane_Doe.png", b"no image")
    run_scoring_job(settings, run_key="night")
    shown = printed(settings, "scan", "show", "1")
    assert shown.startswith("to do: Export the image as JPEG") and "None" not in shown
    assert "state: rejected" in shown and "reason unsupported_format" in shown and "remedy" in shown
    assert "Doe" not in shown and "Jane_Doe.png" in printed(settings, "scan", "show", "1", "--location")
    record = json.loads(printed(settings, "scan", "show", "1", "--location", "--json"))
    assert record["location"][0]["key"].endswith("Jane_Doe.png") and record["predictions"] == []
    columns = "select column_name from information_schema.columns where table_name = 'scan'"
    assert {name for (name,) in rows(settings, columns)} == set(record) - {
        "predictions", "rejections", "requeues", "location",
    }  # fmt: skip
    with pytest.raises(ScoringRunError, match=r"Scan 1 was rejected \(unsupported_format\).* Export the image"):
        explain(database.connect(settings), 1)
    nothing = invoke(settings, "scan", "show", "2")
    assert nothing.exit_code == 1 and "no scan 2" in nothing.stderr


def test_next_run_processes_requeued_scans_once(settings: Settings, put: Put) -> None:
    put("a.png", b"no image")
    put("b.png", b"")
    run_scoring_job(settings, run_key="first")
    engine = database.connect(settings)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert requeue(engine, RejectionReason.UNSUPPORTED_FORMAT, actor="tests", since=tomorrow) == 0
    assert requeue(engine, RejectionReason.UNSUPPORTED_FORMAT, actor="tests") == 1
    assert requeue(engine, RejectionReason.UNSUPPORTED_FORMAT, actor="tests") == 0
    counts = "select count_rejected, count_deferred, count_unaccounted from scoring_run_balance where run_key = 'first'"
    assert rows(settings, counts) == [(2, 0, 0)], "the earlier run keeps its counts"
    balance = run_scoring_job(settings, run_key="second")
    assert (balance.count_rejected, balance.count_known) == (1, 1)
    assert rows(settings, counts) == [(2, 0, 0)]
    assert rows(settings, "select actor, reason from scan_requeue") == [("tests", "unsupported_format")]
    assert rows(settings, "select count(*) from rejection") == [(3,)]
