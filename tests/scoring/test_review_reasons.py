"""What a night, a rescore and a shadow write of frames far from all training images, and of the audit sample."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.gate.artifact_checks import verify_model
from braintumor.preview.shadow import score_in_shadow
from braintumor.registry import model_versions
from braintumor.rescoring.job import rescore
from braintumor.rescoring.request import RescoreRequest
from braintumor.s3 import ObjectStore
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.scored_scans import newest_scored
from braintumor.serving.audit_sample import is_audited
from tests.evaluation.mutants import register
from tests.images import png
from tests.models import add_model, of_before, promote
from tests.sql import rows

Put = Callable[[str, bytes], None]


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = database.connect(settings)
    yield made
    made.dispose()


def noise() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(is_drawn: bool) -> bytes:
    """One phantom's pixels in a file whose bytes are in the audit sample, or not."""
    head = png()
    files = (head + b"%d" % number for number in count())
    return next(file for file in files if is_audited(sha256(file).hexdigest()) == is_drawn)


def reasons_and_scores(settings: Settings, source: str = "prediction") -> dict[str, tuple[set[str], float]]:
    """Of each file, by its sha256."""
    found = rows(
        settings,
        f"select scan.content_sha256, review_reasons, out_of_distribution from {source} join scan using (scan_id)",
    )
    return {content: (set(reasons), score) for content, reasons, score in found}


def test_night_rescore_and_shadow_agree_on_noise_and_on_the_audit_sample(
    settings: Settings, engine: Engine, put: Put
) -> None:
    files = {"noise": noise(), "drawn": drawn(True), "head": drawn(False)}
    digests = {name: sha256(data).hexdigest() for name, data in files.items()}
    for name, data in files.items():
        put(f"{name}.png", data)
    champion = model_versions.champion(engine)
    run_scoring_job(settings, run_key="night")

    night = reasons_and_scores(settings)
    is_noise_drawn = is_audited(digests["noise"])
    assert {name for name in files if "out_of_distribution" in night[digests[name]][0]} == {"noise"}
    assert "audit_sample" in night[digests["drawn"]][0]
    in_sample = rows(settings, "select content_sha256, audit_probability from scan where audit_probability is not null")
    assert in_sample == [(digests["drawn"], pytest.approx(0.02))]
    assert "audit_sample" not in night[digests["head"]][0] and not is_noise_drawn
    assert night[digests["noise"]][1] > 2 * night[digests["head"]][1] > 0
    assert reasons_and_scores(settings, "current_prediction") == night

    twin = add_model(settings, "b")
    store = ObjectStore.connect(settings)
    loaded = model_versions.load_model(store, settings, twin)
    score_in_shadow(engine, store, twin, loaded, newest_scored(engine, champion, limit=9), run_key="preview")
    shadow = "select content_sha256, out_of_distribution from shadow_prediction join scan using (scan_id)"
    assert dict(rows(settings, shadow)) == pytest.approx({content: score for content, (_, score) in night.items()})

    promote(settings, "b")
    rescore(settings, RescoreRequest(actor="ann", reason="b knows more", of=(champion.model_name,)), run_key="rescore")
    again = reasons_and_scores(settings, "(select * from prediction where model_version_id = 2) as again")
    assert {content: reasons for content, (reasons, _) in again.items()} == {
        content: reasons for content, (reasons, _) in night.items()
    }


def test_a_model_of_before_is_sound_and_scores_a_night_without_the_score(
    settings: Settings, put: Put, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "before"))
    of_before(folder)
    register(settings, folder)
    assert all(outcome.passed for outcome in verify_model(settings, "mutant", with_keras=False))
    promote(settings, "mutant")
    put("noise.png", noise())
    run_scoring_job(settings, run_key="night")
    ((reasons, score),) = reasons_and_scores(settings).values()
    assert score is None and "out_of_distribution" not in reasons
