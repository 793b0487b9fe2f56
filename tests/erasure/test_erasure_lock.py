"""Test that no job writes images of a person during an erasure."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import IMAGES, writing_images
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.errors import ErasureError
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.report.publish import publish_report
from braintumor.preview.job import make_preview
from braintumor.registry import model_versions
from braintumor.rescoring.job import Rescore
from braintumor.scoring.job import ScoringJob
from devstack.stack import Stack
from tests.erasure.erased_files import as_eraser
from tests.sql import rows


def test_erasure_and_writers_of_images_exclude_each_other(stack: Stack, scored: Settings) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    engine = database.connect(scored)
    with writing_images(engine), writing_images(engine):
        with pytest.raises(ErasureError, match="writing images now"):
            as_eraser(stack, scored, ann)
        assert rows(scored, "select count(*) from scan") == [(3,)]
    steps: list[str] = []

    def write() -> None:
        with writing_images(engine):
            steps.append("written")

    with ThreadPoolExecutor(1) as pool, database.transaction(engine) as erasing:
        assert database.try_advisory_lock(erasing, IMAGES)
        writer = pool.submit(write)
        with pytest.raises(TimeoutError):
            writer.result(timeout=1)
        steps.append("erased")
        erasing.rollback()
        writer.result(timeout=30)
    assert steps == ["erased", "written"]
    assert as_eraser(stack, scored, ann).counts["scan"] == 2
    engine.dispose()


class ReachedError(Exception):
    """Raised when a writer of images begins to read them."""


def reconciled(settings: Settings) -> None:
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    assert job.plan(run.scoring_run_id) == []
    job.reconcile(run.scoring_run_id)


@pytest.mark.parametrize(
    ("reads", "work"),
    [
        ("dataset.take_snapshot.read_images", lambda scored, _engine, _model: snapshot_of(scored)),
        (
            "preview.job.newest_scored",
            lambda scored, engine, model: make_preview(
                engine, scored, candidate=model, champion=model, scans=1, run_key="run"
            ),
        ),
        ("scoring.job.make_run_report", lambda scored, _engine, _model: reconciled(scored)),
        ("rescoring.job.make_report", lambda scored, _engine, _model: Rescore.open(scored).report(1)),
        ("evaluation.report.publish._stored", lambda scored, engine, model: publish_report(engine, None, model)),
        (
            "evaluation.evaluate_model.load_frames",
            lambda scored, _, model: evaluate_model(scored, model.model_name, access_key="l"),
        ),
    ],
)
def test_every_writer_of_images_shares_the_lock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, reads: str, work: Callable[..., object]
) -> None:
    engine = database.connect(settings)

    def reached(*_: object, **__: object) -> None:
        with database.transaction(engine) as connection:
            assert not database.try_advisory_lock(connection, IMAGES), "an erasure could run now"
        raise ReachedError

    monkeypatch.setattr(f"braintumor.{reads}", reached)
    monkeypatch.setattr("braintumor.rescoring.job.load_rescore", lambda *_: SimpleNamespace(run_key="run"))
    with pytest.raises(ReachedError):
        work(settings, engine, model_versions.champion(engine))
    with database.transaction(engine) as connection:
        assert database.try_advisory_lock(connection, IMAGES), "the lock is free again"
    engine.dispose()
