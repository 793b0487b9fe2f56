"""Provide a scored nightly run of phantoms and a volume, which wait for reviews."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.imaging.phantom.volume import as_nifti, draw_volume
from braintumor.labels import CLASSES, TumorClass
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from devstack.stack import Stack
from tests.conftest import cloned, copied
from tests.images import png
from tests.sql import change

SCRIPT = "<script>document.title='hacked'</script>.png"
AUDITED = 4
"""Scan id in the audit sample."""


@pytest.fixture(scope="package")
def template(stack: Stack, seeded: Settings) -> Iterator[Settings]:
    """Score five images and a volume. The first key contains a script, and the fourth image is in the audit sample."""
    with cloned(stack, "seeded") as url:
        settings = replace(seeded, database_url=url, scans_uri="s3://braintumor/scans-to-review/")
        write_night(settings)
        change(settings, "update prediction set review_reasons = array_remove(review_reasons, 'audit_sample')")
        change(settings, f"update scan set audit_probability = case scan_id when {AUDITED} then 0.02 end")
        yield settings


@pytest.fixture
def scored(stack: Stack, template: Settings) -> Iterator[Settings]:
    """Copy the scored run for one test."""
    with copied(stack, template) as settings:
        yield settings


@pytest.fixture
def engine(scored: Settings) -> Iterator[Engine]:
    engine = database.connect(scored)
    yield engine
    engine.dispose()


def write_night(settings: Settings) -> None:
    """Upload the scans and score them."""
    store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
    for number, name in enumerate(["0" + SCRIPT, *(f"{number}.png" for number in range(1, 5))]):
        store.write(scans / name, png(CLASSES[number % 4], seed=number))
    store.write(scans / "volume.nii.gz", as_nifti(draw_volume(TumorClass.GLIOMA, seed=7, slices=10, size=64)))
    run_scoring_job(settings, run_key="night")
