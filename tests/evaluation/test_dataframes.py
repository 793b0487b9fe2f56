"""Tests of the DataFrames for notebooks: histories, evaluations and predictions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ModelIntegrityError
from braintumor.evaluation import dataframes
from braintumor.registry import model_versions


@pytest.fixture
def engine(evaluated: Settings) -> Iterator[Engine]:
    engine = database.connect(evaluated)
    yield engine
    engine.dispose()


def test_predictions_history_and_metrics_agree(engine: Engine) -> None:
    name = model_versions.champion(engine).model_name
    predictions = dataframes.test_predictions(engine, name)
    metrics = dataframes.evaluations(engine).set_index(["model_name", "split"]).loc[(name, "test")]
    assert len(predictions) == metrics.count_image > 0
    assert (predictions.label == predictions.predicted_class).mean() == pytest.approx(metrics.accuracy)
    assert {"format", "color", "source", "group_key"} <= set(predictions.columns)
    assert predictions.filter(like="probability_").sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-4)
    history = dataframes.training_history(engine, name)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"] and history.index[0] == 1
    assert metrics.count_access == 1


def test_an_unknown_model_raises_an_error_with_its_name(engine: Engine) -> None:
    for load in (dataframes.training_history, dataframes.test_predictions):
        with pytest.raises(ModelIntegrityError, match="'vgg99'"):
            load(engine, "vgg99")
