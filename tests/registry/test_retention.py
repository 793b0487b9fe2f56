"""Test that prune deletes the files of old unused candidates only."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.errors import ModelIntegrityError, PromotionError
from braintumor.registry import model_versions, promotions, retention
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from tests.conftest import Put
from tests.images import png
from tests.models import add_model, champions, pass_gate, promote
from tests.sql import assign_predictions, change, rows


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore.connect(settings)


def files(engine: Engine, store: ObjectStore, name: str) -> list[str]:
    folder = S3Uri.parse(model_versions.find_model(engine, name).artifact_uri)
    return [entry.key.removeprefix(folder.key) for entry in store.list(folder)]


def prune(engine: Engine, store: ObjectStore, *, days: int = 90) -> list[str]:
    return [item.model_name for item in retention.prune(engine, store, actor="ann", older_than_days=days)]


def test_prune_deletes_only_old_unused_candidates(
    settings: Settings, engine: Engine, store: ObjectStore, put: Put
) -> None:
    for name in ("old", "pinned", "former", "withdrawn", "reference", "parent", "passed lately", "passed long ago"):
        add_model(settings, name, days_old=100, own_files=name in {"old", "passed long ago"})
    add_model(settings, "young", days_old=80)
    change(settings, "update model_version set created_at = now() - interval '1 year' where model_version_id = 1")
    pass_gate(settings, "passed lately", days_ago=50, run_key="1")
    pass_gate(settings, "passed long ago", days_ago=95, run_key="2")
    change(
        settings,
        """
        insert into scoring_run (run_key, scans_uri, model_version_id, engine)
        select 'rescore', 's3://b/', model_version_id, 'e' from model_version where model_name = 'pinned';
        update model_version set parent_model_version_id = (
            select model_version_id from model_version where model_name = 'parent')
        where model_name = 'former';
        insert into reference_model (model_version_id, actor, reason)
        select model_version_id, 'a', 'r' from model_version where model_name = 'reference'""",
    )
    promote(settings, "former", "withdrawn")
    promotions.withdraw(engine, model_versions.find_model(engine, "withdrawn"), actor="a", reason="r")
    (seed,) = (model.model_name for model in model_versions.list_models(engine) if model.model_version_id == 1)
    promote(settings, seed)
    put("a.png", png(seed=1))
    run_scoring_job(settings, run_key="night")
    assert {item.model_name for item in retention.prunable(engine, store)} == {"old", "passed long ago"}
    assert prune(engine, store) == ["old", "passed long ago"]
    assert files(engine, store, "old") == files(engine, store, "passed long ago") == []
    models = model_versions.list_models(engine)
    for model in {model.artifact_uri: model for model in models if model.pruned_at is None}.values():
        model_versions.require_whole(store, settings, model)
    assert len([model for model in models if model.pruned_at]) == 2
    assert (
        rows(settings, "select action, actor from promotion_history where action = 'prune'") == [("prune", "ann")] * 2
    )


def test_prune_keeps_parent_of_existing_export(settings: Settings, engine: Engine, store: ObjectStore) -> None:
    add_model(settings, "parent", days_old=100, own_files=True)
    add_model(settings, "export", days_old=80, own_files=True)
    change(
        settings,
        """
        update model_version set parent_model_version_id = (
            select model_version_id from model_version where model_name = 'parent')
        where model_name = 'export'""",
    )
    assert prune(engine, store) == []
    change(settings, "update model_version set created_at = now() - interval '95 days' where model_name = 'export'")
    assert prune(engine, store) == ["export"]
    assert prune(engine, store) == ["parent"]


def test_prune_keeps_model_with_predictions(settings: Settings, engine: Engine, store: ObjectStore, put: Put) -> None:
    add_model(settings, "old", days_old=100, own_files=True)
    put("a.png", png(seed=1))
    run_scoring_job(settings, run_key="night")
    old = model_versions.find_model(engine, "old").model_version_id
    assign_predictions(settings, old)
    assert prune(engine, store) == []


def test_prune_keeps_model_with_pending_approval(settings: Settings, engine: Engine, store: ObjectStore) -> None:
    add_model(settings, "waiting", days_old=10, own_files=True)
    pass_gate(settings, "waiting", days_ago=3)
    assert prune(engine, store, days=1) == []


def test_pruned_model_keeps_report_but_cannot_load_or_promote(
    settings: Settings, engine: Engine, store: ObjectStore
) -> None:
    model = add_model(settings, "old", days_old=100, own_files=True)
    report = S3Uri.parse(model.artifact_uri) / "report.html"
    store.write(report, b"<p>report")
    model_versions.load_model(store, settings, model)
    prune(engine, store)
    assert store.read(report) == b"<p>report"
    pruned = model_versions.find_model(engine, "old")
    assert pruned.standing == "pruned"
    with pytest.raises(ModelIntegrityError, match=r"files of old were pruned on .*braintumor train --recipe old"):
        model_versions.load_model(store, settings, pruned)
    with pytest.raises(PromotionError, match="files of old were pruned"):
        promotions.promote(
            engine, model, promotions.PromotionRequest(request_key="k", actor="a", reason="r"), is_override=True
        )
    assert champions(settings) != ["old"]


def test_prunable_deletes_nothing_and_returns_sizes(settings: Settings, engine: Engine, store: ObjectStore) -> None:
    model = add_model(settings, "old", days_old=100, own_files=True)
    before = files(engine, store, "old")
    (result,) = retention.prunable(engine, store)
    assert (result.model_name, result.count_file) == ("old", len(model.artifact_sha256s))
    assert result.count_byte > 0
    assert files(engine, store, "old") == before
    assert model_versions.find_model(engine, "old").pruned_at is None


def test_interrupted_prune_is_completed_by_the_next(settings: Settings, engine: Engine, store: ObjectStore) -> None:
    model = add_model(settings, "old", days_old=100, own_files=True)
    change(
        settings,
        "insert into pruning (model_version_id, actor, reason) values (:id, 'ann', 'r')",
        id=model.model_version_id,
    )
    store.delete([S3Uri.parse(model.artifact_uri) / "model.bin"])
    assert prune(engine, store) == ["old"]
    assert files(engine, store, "old") == []
    assert prune(engine, store) == []
