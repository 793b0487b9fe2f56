"""Create a database with two models: ``used`` has all evidence, and ``fresh`` has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.evaluation.gate.gate import judge
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.gate.split_memory import SplitMemory
from braintumor.evaluation.metrics.classification import Evaluation, evaluate
from braintumor.evaluation.metrics.diagnostics import Diagnostics
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.evaluation.store import SplitEvaluation, record_evaluation
from braintumor.registry.model_versions import find_model
from braintumor.serving.backend import Outputs

SQL = Path(__file__).with_name("evidence.sql")
SLICES = (
    SliceResult(attribute="sex", value="F", count=120, count_group=40, count_correct=100, interval=(0.7, 0.92)),
    SliceResult(attribute="sex", value="M", count=120, count_group=6, count_correct=110, interval=None),
)


@pytest.fixture
def recorded(empty_settings: Settings, good: Evaluation) -> Settings:
    memory = SplitMemory(count_judged=3, count_year=2, reference="used", champion_optimism=0.011)
    verdict = replace(judge(good, GateRules.load()), memory=memory)
    sql = SQL.read_text().replace("MODELS", empty_settings.require("models_uri"))
    engine = database.connect(empty_settings)
    with database.transaction(engine) as connection:
        connection.execute(text(sql), {"verdict": json.dumps(verdict.to_dict())})
    engine.dispose()
    return empty_settings


@pytest.fixture
def record(recorded: Settings) -> Callable[..., None]:
    """Returns a function that records an evaluation of ``used`` on the first images of a split, 1 of 10 wrong."""

    def add(split: Split, *, count: int = 1000) -> None:
        engine = database.connect(recorded)
        images = tuple(load_snapshot(engine, "s").of_split(split)[:count])
        labels = np.array([image.label.position for image in images])
        predicted = np.where(np.arange(len(images)) % 10 == 0, (labels + 1) % 4, labels)
        probability = np.full((len(images), 4), 0.02, np.float32)
        probability[np.arange(len(images)), predicted] = 0.94
        empty = np.zeros((len(images), 1, 1, 4), np.float32)
        result = SplitEvaluation(
            frames=FrameArrays(frames=empty.astype(np.uint8), labels=labels, images=images),
            outputs=Outputs(probability=probability, activation_map=empty, embedding=empty[:, 0, 0]),
            evaluation=evaluate(labels=labels, probabilities=probability, split=split),
            diagnostics=Diagnostics(slices=SLICES),
        )
        with database.transaction(engine) as connection:
            record_evaluation(connection, find_model(engine, "used"), "s", result, access_key="weekly")
        engine.dispose()

    return add
