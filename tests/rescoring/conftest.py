"""Fixtures and helpers of the rescore tests: six scans of a withdrawn model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.registry import model_versions, promotions
from braintumor.rescoring.job import Rescore, rescore
from braintumor.rescoring.request import RescoreRequest
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from tests.conftest import Put
from tests.images import png
from tests.models import add_model, promote
from tests.sql import rows


@pytest.fixture
def first(settings: Settings) -> str:
    """Return the name of the tests' first champion, before `b`."""
    ((name,),) = rows(settings, "select model_name from model_version where model_version_id = 1")
    return str(name)


@pytest.fixture
def scored(settings: Settings, put: Put, first: str) -> Settings:
    """Six scans that `b` scored before it was withdrawn. The first champion is champion again."""
    add_model(settings, "b")
    promote(settings, "b")
    for number in range(6):
        put(f"surname-{number}.png", png(seed=number))
    run_scoring_job(settings, run_key="night")
    go_back(settings, first, with_withdrawal=True)
    return settings


def go_back(settings: Settings, name: str, *, with_withdrawal: bool = False) -> None:
    engine = database.connect(settings)
    promotions.rollback(
        engine,
        ObjectStore.connect(settings),
        settings,
        promotions.PromotionRequest(request_key=f"back {datetime.now(UTC)}", actor="ann", reason="it errs"),
        to=model_versions.find_model(engine, name),
        with_withdrawal=with_withdrawal,
    )
    engine.dispose()


def withdraw(settings: Settings, name: str) -> None:
    engine = database.connect(settings)
    promotions.withdraw(engine, model_versions.find_model(engine, name), actor="ann", reason="it errs")
    engine.dispose()


def run(settings: Settings, key: str = "rescore", *, chunk_size: int = 200, **wanted: Any) -> dict[str, Any]:
    request = RescoreRequest(actor="ann", **{"reason": "b errs", **wanted})
    return rescore(settings, request, run_key=key, chunk_size=chunk_size)


def opened(settings: Settings, key: str = "rescore", *, chunk_size: int = 200, **wanted: Any) -> tuple[Rescore, int]:
    """Open a rescore, and return the job and the ID of its run."""
    job = Rescore.open(settings)
    request = RescoreRequest(actor="ann", **{"reason": "b errs", **wanted})
    return job, job.open_run(request, run_key=key, chunk_size=chunk_size).scoring_run_id


def current_predictions(settings: Settings) -> list[tuple[str, int]]:
    """Return the models of the current predictions, with their numbers of frames."""
    found = rows(settings, "select model_name, count(*) from current_prediction group by 1 order by 1")
    return [(name, count) for name, count in found]


def outcomes(settings: Settings) -> dict[str, int]:
    return dict(rows(settings, "select outcome, count(*) from rescore_outcome group by 1"))  # type: ignore[arg-type]


def page(settings: Settings, made: dict[str, Any]) -> str:
    return ObjectStore.connect(settings).read(S3Uri.parse(made["page_uri"])).decode()
