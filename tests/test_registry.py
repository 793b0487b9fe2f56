from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from braintumor import database, registry
from braintumor.errors import DatabaseError, ModelIntegrityError, NoChampionError, ObjectStoreUnreachableError
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.registry import ModelVersion, TrainingRecord
from braintumor.serving.artefact import Manifest
from braintumor.settings import Settings
from tests.faulty_s3 import faulty_s3
from tests.sql import rows


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = database.connect(settings)
    yield made
    made.dispose()


@pytest.fixture
def fresh(settings: Settings, tmp_path: Path) -> Settings:
    """The same world with an empty cache of model files."""
    return replace(settings, cache_folder=str(tmp_path / "cache"))


def test_the_newest_promotion_is_the_champion_and_a_retry_adds_none(engine: Engine) -> None:
    model = registry.champion(engine)
    assert registry.promote(engine, model, request_key="again", actor="a", reason="r")
    assert not registry.promote(engine, model, request_key="again", actor="a", reason="r")
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select count(*) from promotion")) == 2


@pytest.mark.parametrize("verb", ["update promotion set actor = 'x'", "delete from promotion", "truncate promotion"])
def test_the_ledger_is_append_only(engine: Engine, verb: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), database.transaction(engine) as connection:
        connection.execute(text(verb))


def test_the_ledger_says_which_model_was_live_when(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        ask = text("select champion_at(:at)")
        assert connection.scalar(ask, {"at": datetime.now(UTC)}) == registry.champion(engine).model_version_id
        assert connection.scalar(ask, {"at": datetime(2000, 1, 1, tzinfo=UTC)}) is None


def test_before_the_first_promotion_there_is_no_champion(empty_settings: Settings) -> None:
    with pytest.raises(NoChampionError, match="Trigger the DAG weekly_retrain"):
        registry.champion(database.connect(empty_settings))


def test_a_model_is_found_by_name_or_number(engine: Engine) -> None:
    model = registry.champion(engine)
    assert registry.find_model(engine, model.model_name) == registry.find_model(engine, "1") == model
    with pytest.raises(ModelIntegrityError, match="'nobody'"):
        registry.find_model(engine, "nobody")


def test_a_tampered_artefact_is_never_loaded(engine: Engine, fresh: Settings) -> None:
    model = registry.champion(engine)
    store = ObjectStore.connect(fresh)
    graph = S3Uri.parse(model.artefact_uri) / "model.bin"
    whole = store.read(graph)
    try:
        store.write(graph, whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ModelIntegrityError, match=r"model\.bin is not the file that was registered"):
            registry.load_model(store, fresh, model)
        assert not [path for path in Path(fresh.require("cache_folder")).rglob("*") if path.is_file()]
    finally:
        store.write(graph, whole)


def test_a_damaged_cache_is_fetched_again(engine: Engine, fresh: Settings) -> None:
    model, store = registry.champion(engine), ObjectStore.connect(fresh)
    registry.load_model(store, fresh, model)
    cached = Path(fresh.require("cache_folder")) / model.model_name / "model.xml"
    cached.write_text("<damaged/>")
    assert registry.load_model(store, fresh, model).manifest.name == model.model_name


def test_a_model_without_its_files_says_what_to_do(engine: Engine, fresh: Settings) -> None:
    model = replace(registry.champion(engine), artefact_uri="s3://braintumor/models/gone/")
    with pytest.raises(ModelIntegrityError, match="promote another model"):
        registry.load_model(ObjectStore.connect(fresh), fresh, model)


def test_an_upload_that_breaks_off_registers_nothing_and_its_retry_one_model(
    engine: Engine, settings: Settings, tiny_model_folder: Path
) -> None:
    manifest = replace(Manifest.read(tiny_model_folder), trained_at="20990101T000000Z")
    training = TrainingRecord(
        run_key="broken", recipe={}, history={}, code_version="1", library_versions={}, device="cpu", seconds=1.0
    )

    def register(endpoint: str) -> ModelVersion:
        store = ObjectStore.connect(replace(settings, s3_endpoint=endpoint))
        models = S3Uri.parse_prefix(settings.require("models_uri"))
        return registry.register(
            engine, store, folder=tiny_model_folder, manifest=manifest, training=training, models_uri=models
        )

    with faulty_s3(settings.require("s3_endpoint")) as door:
        door.unwritable = {"model.bin"}
        with pytest.raises(ObjectStoreUnreachableError):
            register(door.url)
        assert len(registry.list_models(engine)) == 1
        assert rows(settings, "select count(*) from training_run where run_key = 'broken'") == [(0,)]
        door.unwritable = set()
        assert register(door.url) == register(door.url)
    assert [model.model_name for model in registry.trained_in(engine, "broken")] == [manifest.name]
