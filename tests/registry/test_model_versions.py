from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import BinaryIO

import pytest
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ModelIntegrityError, NoChampionError, ObjectStoreUnreachableError
from braintumor.registry import model_versions, promotions
from braintumor.registry.model_versions import ModelVersion, TrainingRecord
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving import artifact
from braintumor.serving.artifact import Manifest
from tests.faulty_s3 import faulty_s3
from tests.sql import rows


@pytest.fixture
def fresh(settings: Settings, tmp_path: Path) -> Settings:
    """Return the settings with an empty cache of model files."""
    return replace(settings, cache_folder=str(tmp_path / "cache"))


def test_retried_promotion_adds_no_row(engine: Engine) -> None:
    model = model_versions.champion(engine)
    assert promotions.promote(engine, model, promotions.PromotionRequest(request_key="again", actor="a", reason="r"))
    assert not promotions.promote(
        engine, model, promotions.PromotionRequest(request_key="again", actor="a", reason="r")
    )
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select count(*) from promotion")) == 2


def test_champion_at_returns_champion_of_that_time(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        ask = text("select champion_at(:at)")
        assert connection.scalar(ask, {"at": datetime.now(UTC)}) == model_versions.champion(engine).model_version_id
        assert connection.scalar(ask, {"at": datetime(2000, 1, 1, tzinfo=UTC)}) is None


def test_no_champion_before_first_promotion(empty_settings: Settings) -> None:
    with pytest.raises(NoChampionError, match="Trigger the DAG weekly_retrain"):
        model_versions.champion(database.connect(empty_settings))


def test_find_model_accepts_name_or_number(engine: Engine) -> None:
    model = model_versions.champion(engine)
    assert model_versions.find_model(engine, model.model_name) == model_versions.find_model(engine, "1") == model
    with pytest.raises(ModelIntegrityError, match="'no-such-model'"):
        model_versions.find_model(engine, "no-such-model")


def test_tampered_artifact_is_not_loaded(engine: Engine, fresh: Settings) -> None:
    model = model_versions.champion(engine)
    store = ObjectStore.connect(fresh)
    graph = S3Uri.parse(model.artifact_uri) / "model.bin"
    whole = store.read(graph)
    try:
        store.write(graph, whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ModelIntegrityError, match=r"model\.bin is not the file that was registered"):
            model_versions.load_model(store, fresh, model)
        assert not [path for path in Path(fresh.require("cache_folder")).rglob("*") if path.is_file()]
    finally:
        store.write(graph, whole)


def test_damaged_cache_is_fetched_again(engine: Engine, fresh: Settings) -> None:
    model, store = model_versions.champion(engine), ObjectStore.connect(fresh)
    model_versions.load_model(store, fresh, model)
    cached = Path(fresh.require("cache_folder")) / model.model_name / "model.xml"
    cached.write_text("<damaged/>")
    assert model_versions.load_model(store, fresh, model).manifest.name == model.model_name


def test_load_of_a_cached_model_hashes_each_file_once(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, store = model_versions.champion(engine), ObjectStore.connect(settings)
    model_versions.load_model(store, settings, model)
    hashed: list[str] = []

    def counted(stream: BinaryIO, algorithm: str) -> object:
        hashed.append(Path(stream.name).name)
        return file_digest(stream, algorithm)  # type: ignore[arg-type]

    monkeypatch.setattr(artifact, "file_digest", counted)
    model_versions.load_model(store, settings, model)
    assert sorted(hashed) == ["model.bin", "model.json", "model.xml", "reference.npy"]


def test_model_without_files_error_states_remedy(engine: Engine, fresh: Settings) -> None:
    model = replace(model_versions.champion(engine), artifact_uri="s3://braintumor/models/gone/")
    with pytest.raises(ModelIntegrityError, match="promote another model"):
        model_versions.load_model(ObjectStore.connect(fresh), fresh, model)


def test_failed_upload_registers_nothing_and_retry_one_model(
    engine: Engine, settings: Settings, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    manifest = replace(Manifest.read(folder), trained_at="20990101T000000Z")
    manifest.write(folder)
    training = TrainingRecord(
        run_key="broken", recipe={}, history={}, code_version="1", library_versions={}, device="cpu", seconds=1.0
    )

    def register(endpoint: str) -> ModelVersion:
        store = ObjectStore.connect(replace(settings, s3_endpoint=endpoint))
        models = S3Uri.parse_prefix(settings.require("models_uri"))
        return model_versions.register(engine, store, folder=folder, training=training, models_uri=models)

    with faulty_s3(settings.require("s3_endpoint")) as s3_proxy:
        s3_proxy.unwritable = {"model.bin"}
        with pytest.raises(ObjectStoreUnreachableError):
            register(s3_proxy.url)
        assert len(model_versions.list_models(engine)) == 1
        assert rows(settings, "select count(*) from training_run where run_key = 'broken'") == [(0,)]
        s3_proxy.unwritable = set()
        assert register(s3_proxy.url) == register(s3_proxy.url)
    assert [model.model_name for model in model_versions.trained_in(engine, "broken")] == [manifest.name]
