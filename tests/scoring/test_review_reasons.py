"""Test the review reasons that scoring, rescoring and shadow scoring write for noise and for audited files."""

from __future__ import annotations

import io
import shutil
from dataclasses import asdict
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.evaluation.gate.artifact_checks import verify_model
from braintumor.labels import CLASSES
from braintumor.preview.shadow import score_in_shadow
from braintumor.registry import model_versions
from braintumor.rescoring.job import rescore
from braintumor.rescoring.request import RescoreRequest
from braintumor.s3 import ObjectStore
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.scored_scans import newest_scored
from braintumor.serving.audit_sample import is_audited
from braintumor.serving.prediction_set import SetThresholds
from tests.conftest import Put
from tests.evaluation.mutants import register, rewrite
from tests.images import png
from tests.models import add_model, promote, remove_reference
from tests.sql import rows


def noise() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(is_drawn: bool) -> bytes:
    """Write one phantom's pixels to a file that is in the audit sample, or not."""
    head = png()
    files = (head + b"%d" % number for number in count())
    return next(file for file in files if is_audited(sha256(file).hexdigest()) == is_drawn)


def reasons_and_scores(settings: Settings, source: str = "prediction") -> dict[str, tuple[set[str], float]]:
    """Return the review reasons of each file by its SHA-256."""
    found = rows(
        settings,
        f"select scan.content_sha256, review_reasons, out_of_distribution from {source} join scan using (scan_id)",
    )
    return {content: (set(reasons), score) for content, reasons, score in found}


def test_scoring_rescore_and_shadow_give_same_review_reasons(settings: Settings, engine: Engine, put: Put) -> None:
    files = {"noise": noise(), "drawn": drawn(True), "head": drawn(False)}
    digests = {name: sha256(data).hexdigest() for name, data in files.items()}
    for name, data in files.items():
        put(f"{name}.png", data)
    champion = model_versions.champion(engine)
    run_scoring_job(settings, run_key="night")

    job = reasons_and_scores(settings)
    is_noise_drawn = is_audited(digests["noise"])
    assert {name for name in files if "out_of_distribution" in job[digests[name]][0]} == {"noise"}
    assert "audit_sample" in job[digests["drawn"]][0]
    in_sample = rows(settings, "select content_sha256, audit_probability from scan where audit_probability is not null")
    assert in_sample == [(digests["drawn"], pytest.approx(0.02))]
    assert "audit_sample" not in job[digests["head"]][0] and not is_noise_drawn
    assert job[digests["noise"]][1] > 2 * job[digests["head"]][1] > 0
    assert reasons_and_scores(settings, "current_prediction") == job

    candidate = add_model(settings, "b")
    store = ObjectStore.connect(settings)
    loaded = model_versions.load_model(store, settings, candidate)
    score_in_shadow(engine, store, candidate, loaded, newest_scored(engine, champion, limit=9), run_key="preview")
    shadow = "select content_sha256, out_of_distribution from shadow_prediction join scan using (scan_id)"
    assert dict(rows(settings, shadow)) == pytest.approx({content: score for content, (_, score) in job.items()})

    promote(settings, "b")
    rescore(settings, RescoreRequest(actor="ann", reason="b knows more", of=(champion.model_name,)), run_key="rescore")
    again = reasons_and_scores(settings, "(select * from prediction where model_version_id = 2) as again")
    assert {content: reasons for content, (reasons, _) in again.items()} == {
        content: reasons for content, (reasons, _) in job.items()
    }


def test_model_without_ood_reference_scores_a_run(
    settings: Settings, put: Put, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "before"))
    remove_reference(folder)
    register(settings, folder)
    assert all(outcome.passed for outcome in verify_model(settings, "mutant", with_keras=False))
    promote(settings, "mutant")
    put("noise.png", noise())
    run_scoring_job(settings, run_key="night")
    ((reasons, score),) = reasons_and_scores(settings).values()
    assert score is None and "out_of_distribution" not in reasons


SEVERAL = ((0, 0, 2, 2), ["glioma", "meningioma"], ["several_classes"], 6)
EMPTY = ((2, 2, 2, 2), [], ["no_likely_class"], 7)


@pytest.mark.parametrize("case", [SEVERAL, EMPTY], ids=["several", "empty"])
def test_prediction_set_is_stored_and_copied_to_a_duplicate(
    settings: Settings, put: Put, tiny_model_folder: Path, tmp_path: Path, case: Any
) -> None:
    lowest, classes, reasons, rank = case
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "sets"))
    thresholds = dict(zip(CLASSES, lowest, strict=True))
    sets = SetThresholds(coverage=0.95, lowest_probability=thresholds, count_group=dict.fromkeys(CLASSES, 40))
    rewrite(folder, prediction_sets=asdict(sets))
    register(settings, folder)
    promote(settings, "mutant")
    for name in ("once.png", "again.png"):
        put(name, drawn(False))
    run_scoring_job(settings, run_key="night")
    found = rows(
        settings,
        """
        select prediction_set::text[], predicted_class::text, review_reasons, risk_rank, copied_from_scan_id is null
        from prediction order by scan_id""",
    )
    assert [is_first for *_, is_first in found] == [True, False]
    for of_frame, predicted, found_reasons, found_rank, _ in found:
        assert set(of_frame) == set(classes) | ({predicted} if classes else set())
        assert found_reasons == reasons and found_rank == rank
