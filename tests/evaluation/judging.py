"""Judge the candidate of a run by lenient rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.gate.artifact_checks import verify_model
from braintumor.evaluation.judge_run import judge_run
from braintumor.registry import model_versions
from tests.sql import rows

LENIENT = """
version = 1
minimum_accuracy = 0.0
minimum_macro_recall = 0.0
minimum_class_sensitivity = 0.0
minimum_tumor_sensitivity = 0.0
maximum_calibration_error = 1.0
minimum_images_per_class = 1
noninferiority_margin = 1.0
significance = 0.0
maximum_class_recall_loss = 1.0
reference_margin = 1.0
yearly_error = 0.05
candidates_per_year = 52
same_split_share = 0.5
"""


JudgedRun = tuple[Settings, dict[str, Any]]
"""Type of a database with the verdict on a run, and of the result of ``judge_run``."""


def with_lenient_rules(settings: Settings, folder: Path) -> Settings:
    rules = folder / "gate.toml"
    rules.write_text(LENIENT)
    return replace(settings, gate_rules=str(rules))


def judged(settings: Settings, run_key: str, recipes: Sequence[str] = ()) -> dict[str, Any]:
    """Judge a run with an artifact check in this process and without Keras. `test_mutants` has the full check."""
    return judge_run(settings, run_key, recipes, verify=partial(verify_model, with_keras=False))


def set_validation(settings: Settings, name: str, accuracy: float) -> None:
    rows(
        settings,
        """
        update evaluation set accuracy = :accuracy, accuracy_low = 0, accuracy_high = 1 from model_version
        where model_version.model_version_id = evaluation.model_version_id and model_name = :name
          and split = 'validation'""",
        name=name,
        accuracy=accuracy,
    )


def champion(settings: Settings) -> str:
    return model_versions.champion(database.connect(settings)).model_name
