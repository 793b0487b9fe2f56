"""Test that snapshots are taken only of accepted data, and that refused data leaves only a report."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.errors import DatasetError
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.s3 import ObjectStore, S3Uri
from tests.conftest import invoke
from tests.photographs import crops
from tests.sql import rows


@pytest.fixture(scope="module")
def twelve_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twelve") / "set"
    write_dataset(folder, per_class=12, seed=6)
    return folder


@pytest.fixture
def folder(twelve_each: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(twelve_each, tmp_path / "set"))


def uploaded(settings: Settings, folder: Path) -> ObjectStore:
    store = ObjectStore.connect(settings)
    upload(store, labeled_files(folder), S3Uri.parse(settings.require("dataset_uri")))
    return store


def with_photographs(folder: Path) -> Path:
    for number, part in enumerate(crops("china.jpg", 12, is_gray=True)):
        Image.fromarray(part).save(folder / "pituitary" / f"Jane_Doe_{number}.png")
    return folder


def test_snapshot_report_is_next_to_manifest_without_addresses(empty_settings: Settings, folder: Path) -> None:
    store = uploaded(empty_settings, folder)
    snapshot = snapshot_of(empty_settings)
    address = S3Uri.parse(empty_settings.require("models_uri")) / f"snapshots/{snapshot.snapshot_id}.html"
    page = store.read(address).decode()
    assert f"snapshot {snapshot.snapshot_id}" in page and "A snapshot was taken" in page
    assert "The splits of the snapshot." in page
    assert snapshot.images[0].image_uri.rpartition("/")[2] not in page
    recorded = rows(empty_settings, "select image_sha256 from page_image where page_uri = :page", page=str(address))
    known = [image.image_sha256 for image in snapshot.images]
    assert {sha256 for (sha256,) in recorded} == {sha256 for sha256 in known if sha256[:12] in page} != set()


def test_refused_data_has_report_and_no_snapshot(empty_settings: Settings, folder: Path) -> None:
    store = uploaded(empty_settings, with_photographs(folder))
    with pytest.raises(DatasetError, match=r"not_mri: .* images of pituitary do not look like MRI") as caught:
        snapshot_of(empty_settings)
    assert "Remove images that are not MRI from pituitary" in str(caught.value) and "Jane" not in str(caught.value)
    (address,) = re.findall(r"s3://\S+/snapshots/refused-\d{8}T\d{6}Z\.html", str(caught.value))
    page = store.read(S3Uri.parse(address)).decode()
    assert "Refused" in page and "No snapshot is taken" in page and "Jane" not in page
    engine = database.connect(empty_settings)
    with database.transaction(engine) as connection:
        for table in ("snapshot", "snapshot_image", "split_assignment"):
            assert connection.scalar(text(f"select count(*) from {table}")) == 0
    engine.dispose()


def test_own_rule_file_accepts_the_same_data(empty_settings: Settings, folder: Path, tmp_path: Path) -> None:
    from braintumor.dataset.quality import rules

    uploaded(empty_settings, with_photographs(folder))
    packaged = Path(rules.__file__).with_name("quality.toml").read_text()
    lenient = re.sub(r"(\[not_mri\][^\n]*\nlevel = )\"blocking\"", r'\1"warning"', packaged)
    (tmp_path / "rules.toml").write_text(lenient)
    settings = replace(empty_settings, quality_rules=str(tmp_path / "rules.toml"))
    assert snapshot_of(settings).counts()["test"]["pituitary"] > 0


def test_s3_prefix_is_checked_without_postgres(empty_settings: Settings, folder: Path) -> None:
    uploaded(empty_settings, with_photographs(folder))
    settings = replace(empty_settings, database_url=None)
    arguments = ("dataset", "validate", settings.require("dataset_uri"), "--json")
    done = invoke(settings, *arguments)
    assert done.exit_code == 1 and "do not look like MRI" in done.stderr
    assert json.loads(done.stdout)["summary"].startswith("Refused: not_mri")
