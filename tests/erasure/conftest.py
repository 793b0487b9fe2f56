"""Provide scored scans of two persons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from braintumor.config.settings import Settings
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.scoring.job import run_scoring_job
from tests.conftest import Put
from tests.dicom_files import as_patient


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Four DICOM files: three of Ann, the last of Ben."""
    folder = tmp_path_factory.mktemp("files")
    found = [path for path in write_unlabeled(folder, count=80, seed=4) if path.suffix == ".dcm"]
    return [as_patient(path, patient) for path, patient in zip(found, ["ANN", "ANN", "ANN", "BEN"], strict=False)]


@pytest.fixture
def scored(settings: Settings, put: Put, files: list[bytes]) -> Iterator[Settings]:
    """Score two scans of Ann and one of Ben, with own prefixes for models and labeled images."""
    own = settings.require("scans_uri")
    settings = replace(settings, models_uri=f"{own}models/", dataset_uri=f"{own}dataset/")
    own_settings = replace(settings, scans_uri=f"{own}scans/")
    for name, data in zip(("ann-1", "ann-2", "ben"), (files[0], files[1], files[3]), strict=True):
        put(f"scans/{name}.dcm", data)
    put("dataset/glioma/ann-1.dcm", files[0])
    run_scoring_job(own_settings, run_key="night")
    yield own_settings
