"""What a notebook gets: histories, evaluations and answers as DataFrames that add up."""

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


def test_answers_history_and_figures_agree_with_one_another(engine: Engine) -> None:
    name = model_versions.champion(engine).model_name
    answers = dataframes.test_predictions(engine, name)
    figures = dataframes.evaluations(engine).set_index(["model_name", "split"]).loc[(name, "test")]
    assert len(answers) == figures.count_image > 0
    assert (answers.label == answers.predicted_class).mean() == pytest.approx(figures.accuracy)
    assert {"format", "color", "source", "group_key"} <= set(answers.columns)
    assert answers.filter(like="probability_").sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-4)
    history = dataframes.training_history(engine, name)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"] and history.index[0] == 1
    assert figures.count_access == 1


def test_a_model_that_is_not_there_is_named(engine: Engine) -> None:
    for ask in (dataframes.training_history, dataframes.test_predictions):
        with pytest.raises(ModelIntegrityError, match="'vgg99'"):
            ask(engine, "vgg99")
