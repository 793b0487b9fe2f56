"""Run the commands of the documents as they are typed, each on a copy of one small installation."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.registry import model_versions, promotions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from devstack.stack import Stack
from tests.conftest import cloned, copied, invoke
from tests.dicom_files import as_patient
from tests.documents import blocks, commands
from tests.models import add_model, pass_gate, promote
from tests.sql import rows

pytestmark = pytest.mark.soak

PROJECT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/first-five-minutes.md", "docs/operator.md", "docs/ml-engineer.md", "docs/monitoring.md")
"""The pages with commands for the shell that ``devstack env`` prepares, which ``tests/devstack`` tests.

``test_recovery`` and ``test_runbook`` run those of their pages. Kubernetes and Docker are not available to the tests.
"""
NOT_RUN = {
    "train": "takes minutes; `tests/training` runs it",
    "predict --overlay": "writes next to the documents; `tests/cli/test_predict_files.py` runs it",
}
"""Commands that are not run here, with the reason."""
TIMES = {"2026-03-01": "2020-01-01", "2026-04-01": "2100-01-01", "2026-11-23 07:00": "2100-01-01"}
"""Times of the examples, and times that fit the predictions of the test."""


@pytest.fixture(scope="module")
def prefix() -> str:
    return "s3://braintumor/documented-commands/"


@pytest.fixture(scope="module")
def installation(
    stack: Stack, seeded: Settings, prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Score scans with three champions in turn. The first was withdrawn, and the third is the champion."""
    with cloned(stack, "seeded") as url:
        settings = replace(seeded, database_url=url, scans_uri=f"{prefix}scans/", dataset_uri=f"{prefix}dataset/")
        store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
        files = write_unlabeled(tmp_path_factory.mktemp("scans"), count=80, seed=4)
        dicom = [path for path in files if path.suffix == ".dcm"]
        (seed,) = rows(settings, "select model_name from champion")[0]
        for number, name in enumerate([seed, "b", "c"]):
            if name != seed:
                add_model(settings, name)
                evaluate_model(settings, name, access_key=name)
                promote(settings, name)
            store.write(scans / f"{name}.dcm", as_patient(dicom[number], f"patient {name}"))
            for path in [path for path in files if path.suffix == ".jpg"][number:9:3]:
                store.write(scans / path.name, path.read_bytes())
            store.write(scans / f"{name}.jpg", b"no image")
            run_scoring_job(settings, run_key=name)
        engine = database.connect(settings)
        promotions.withdraw(engine, model_versions.find_model(engine, seed), actor="tests", reason="tests")
        engine.dispose()
        add_model(settings, "d")
        pass_gate(settings, "d")
        yield settings


@pytest.fixture(scope="module")
def placeholders(
    installation: Settings,
    prefix: str,
    phantoms: Path,
    tiny_model_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Return the values for the words that a user replaces."""
    folder = tmp_path_factory.mktemp("typed")
    with (folder / "patients.csv").open("w", newline="") as stream:
        names = [str(path.relative_to(phantoms)) for path in sorted(phantoms.rglob("phantom-*"))]
        csv.writer(stream).writerows([["path", "patient"], *([name, f"patient {name}"] for name in names)])
    scan = next(path for path in sorted(phantoms.rglob("phantom-*")) if path.suffix == ".jpg")
    shutil.copy(scan, folder / "scan.jpg")
    ((pseudonym,),) = rows(
        installation, "select patient_pseudonym from scan where patient_pseudonym is not null order by scan_id limit 1"
    )
    ((scan_id,),) = rows(installation, "select min(scan_id) from current_prediction where model_name = 'c'")
    return {
        **TIMES,
        "NAME": "b", "OTHER": "d", "A": "b", "B": "c", "CODE": "unsupported_format", "ID": str(scan_id),
        "PSEUDONYM": pseudonym, "FOLDER": str(tiny_model_folder), "~/sartaj": str(phantoms),
        "patients.csv": str(folder / "patients.csv"), "scan.jpg": str(folder / "scan.jpg"),
        "s3://braintumor/scans/": f"{prefix}scans/", "s3://braintumor/dataset/": f"{prefix}dataset/",
    }  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_documented_commands_end_well(
    stack: Stack, installation: Settings, placeholders: dict[str, str], page: str
) -> None:
    typed = [words for block in blocks((PROJECT / page).read_text(encoding="utf-8"), "sh") for words in commands(block)]
    ours = [words[1:] for words in typed if Path(words[0]).name == "braintumor"]
    assert ours, page
    for words in ours:
        if any(all(word in words for word in known.split()) for known in NOT_RUN):
            continue
        with copied(stack, installation) as settings:
            arguments = [placeholders.get(word, word) for word in words]
            done = invoke(settings, *arguments, answer="y\n")
            assert done.exit_code == 0, (words, done.output)
