"""Six scans whose answers were withdrawn, and what the tests of a rescore ask."""

from __future__ import annotations

from collections.abc import Callable
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
from tests.images import png
from tests.models import add_model, promote
from tests.sql import rows

Put = Callable[[str, bytes], None]


@pytest.fixture
def first(settings: Settings) -> str:
    """The name of the tests' champion, who comes before `b`."""
    ((name,),) = rows(settings, "select model_name from model_version where model_version_id = 1")
    return str(name)


@pytest.fixture
def night(settings: Settings, put: Put, first: str) -> Settings:
    """Six scans that `b` answered, which then was withdrawn: the champion before it is champion again."""
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
        request_key=f"back {datetime.now(UTC)}",
        actor="ann",
        reason="it errs",
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
    """A rescore that has been asked for, and its number."""
    job = Rescore.open(settings)
    request = RescoreRequest(actor="ann", **{"reason": "b errs", **wanted})
    return job, job.open_run(request, run_key=key, chunk_size=chunk_size).scoring_run_id


def standing(settings: Settings) -> list[tuple[str, int]]:
    """Whose answers stand, and how many frames of each."""
    found = rows(settings, "select model_name, count(*) from current_prediction group by 1 order by 1")
    return [(name, count) for name, count in found]


def outcomes(settings: Settings) -> dict[str, int]:
    return dict(rows(settings, "select outcome, count(*) from rescore_outcome group by 1"))  # type: ignore[arg-type]


def page(settings: Settings, made: dict[str, Any]) -> str:
    return ObjectStore.connect(settings).read(S3Uri.parse(made["page_uri"])).decode()
