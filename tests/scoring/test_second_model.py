"""Test runs with a second model, which is stored in the same rows, and whose disagreement is a review reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from braintumor.config.settings import Settings
from braintumor.errors import ConfigurationError, ModelIntegrityError
from braintumor.labels import CLASSES
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.serving.artifact import Manifest
from braintumor.serving.backend import Outputs
from braintumor.serving.prediction import ReviewReason, to_predictions
from tests.conftest import Put, printed
from tests.images import png
from tests.models import add_model
from tests.sql import change, rows


def outputs(*probabilities: list[float]) -> Outputs:
    count = len(probabilities)
    maps: NDArray[np.float32] = np.zeros((count, 2, 2, 4), np.float32)
    return Outputs(
        probability=np.array(probabilities, np.float32), activation_map=maps, embedding=np.zeros((count, 3), np.float32)
    )


def test_disagreement_needs_another_class(tiny_model_folder: object) -> None:
    manifest = Manifest.read(tiny_model_folder)  # type: ignore[arg-type]
    first = outputs([0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0])
    second = outputs([0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1])
    agreed, other = to_predictions(first, manifest, second=second)
    assert agreed.second == (CLASSES[0], pytest.approx(0.4)) and other.second == (CLASSES[1], pytest.approx(0.4))
    assert ReviewReason.MODEL_DISAGREEMENT not in agreed.review_reasons
    assert ReviewReason.MODEL_DISAGREEMENT in other.review_reasons
    assert other.predicted_class is CLASSES[0], "the prediction of the first model counts"


def test_run_keeps_both_pinned_models(settings: Settings, put: Put) -> None:
    add_model(settings, "b")
    for seed in range(4):
        put(f"{seed}.png", png(seed=seed))
    job = ScoringJob.open(replace(settings, second_model="b"))
    run, _ = job.begin(run_key="night")
    chunks = job.plan(run.scoring_run_id, chunk_size=2)
    job.score(run.scoring_run_id, chunks[0])
    ScoringJob.open(settings).score(run.scoring_run_id, chunks[1])  # a worker with other settings: the run is pinned
    job.reconcile(run.scoring_run_id)
    assert rows(
        settings,
        """
        select count(*), count(*) filter (where second_class = predicted_class),
               count(*) filter (where abs(second_confidence - confidence) < 1e-6),
               count(*) filter (where 'model_disagreement' = any(review_reasons))
        from current_prediction""",
    ) == [(4, 4, 4, 0)]  # b is the same graph under another name
    printed(settings, "score", "--run-key", "asked", "--second-model", "b")
    run_scoring_job(settings, run_key="again")
    assert rows(settings, "select second_model_version_id from scoring_run order by 1") == [(2,), (2,), (None,)]


def test_second_model_of_settings_may_become_the_champion(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    job = ScoringJob.open(replace(settings, second_model="1"))
    run, _ = job.begin(run_key="night")
    assert run.second is None and "so this run has no second model" in caplog.text
    with pytest.raises(ConfigurationError, match="it is the champion"):
        job.begin(run_key="another night", second_model="1")


def test_wrong_scan_attributes_setting_opens_no_run(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="BRAINTUMOR_SCAN_ATTRIBUTES must be yes or no"):
        ScoringJob.open(replace(settings, scan_attributes="maybe"))


def test_unusable_second_model_opens_no_run(settings: Settings) -> None:
    for name, error, words in [
        ("1", ConfigurationError, "it is the champion"),
        ("no-such-model", ModelIntegrityError, "no model 'no-such-model'"),
    ]:
        with pytest.raises(error, match=words):
            run_scoring_job(settings, run_key="night", second_model=name)
    add_model(settings, "b")
    change(settings, "update model_version set image_size = 96 where model_name = 'b'")
    with pytest.raises(ConfigurationError, match="its input has 96 pixels, the champion's has 64"):
        run_scoring_job(settings, run_key="night", second_model="b")
    assert rows(settings, "select count(*) from scoring_run") == [(0,)]
