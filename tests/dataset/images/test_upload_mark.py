"""Test that an upload marks its prefix until it ends, and that snapshots and other uploads respect the mark."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images.upload_mark import MARK, begin_upload, unfinished_uploads
from braintumor.dataset.take_snapshot import read_images, snapshot_of
from braintumor.doctor.check_result import State
from braintumor.doctor.installation import Installation
from braintumor.doctor.run_checks import run_checks
from braintumor.errors import DatasetError, UploadUnfinishedError
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri
from tests.conftest import invoke, printed


@pytest.fixture
def prefix(empty_settings: Settings) -> S3Uri:
    return S3Uri.parse(empty_settings.require("dataset_uri"))


@pytest.fixture
def store(empty_settings: Settings) -> ObjectStore:
    return ObjectStore.connect(empty_settings)


def upload_killed_after(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path, prefix: S3Uri, *, count: int
) -> None:
    """Upload a folder, and raise an error at the image after ``count`` images."""
    images: list[S3Uri] = []
    write = ObjectStore.write

    def killed(self: ObjectStore, uri: S3Uri, data: bytes, **options: Any) -> None:
        if not uri.key.endswith(MARK):
            images.append(uri)
            if len(images) > count:
                raise KeyboardInterrupt
        write(self, uri, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "write", killed)
        assert invoke(settings, "dataset", "upload", str(folder), str(prefix)).exit_code != 0


def marks(store: ObjectStore, prefix: S3Uri) -> list[ObjectEntry]:
    return [entry for entry in store.list(prefix) if entry.key.endswith(MARK)]


def test_snapshot_waits_for_end_of_interrupted_upload(
    empty_settings: Settings, store: ObjectStore, prefix: S3Uri, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_killed_after(empty_settings, monkeypatch, folder, prefix, count=45)
    (mark,) = marks(store, prefix)
    began = f"{mark.modified_at:%Y-%m-%d %H:%M} UTC"
    incomplete = rf"incomplete: 1 uploads have not ended\. The oldest began at {began}"
    with pytest.raises(UploadUnfinishedError, match=incomplete):
        snapshot_of(empty_settings)
    done = invoke(empty_settings, "dataset", "validate", str(prefix))
    assert done.exit_code == 1 and "1 uploads have not ended" in done.stderr
    assert "48 images" in printed(empty_settings, "dataset", "upload", str(folder), str(prefix))
    assert len(snapshot_of(empty_settings).images) == 48
    assert [ended.size for ended in marks(store, prefix)] == [0, 0], "the second upload continues the first"


def test_interrupted_upload_below_the_dataset_stops_snapshot(
    empty_settings: Settings, store: ObjectStore, prefix: S3Uri, folder: Path
) -> None:
    printed(empty_settings, "dataset", "upload", str(folder), str(prefix))
    begin_upload(store, prefix / "ward b/", {"glioma/1.png": "0" * 64})
    with pytest.raises(DatasetError, match="1 uploads have not ended") as caught:
        snapshot_of(empty_settings)
    assert "ward b" not in str(caught.value), "the message is logged"
    said = printed(empty_settings, "dataset", "abandon-upload", "--yes", str(prefix))
    assert f"abandoned: an upload to {prefix}ward b/ that began at " in said
    assert len(snapshot_of(empty_settings).images) == 48
    assert printed(empty_settings, "dataset", "abandon-upload", str(prefix)) == "no upload was interrupted\n"


def test_abandon_upload_asks_about_each_upload(empty_settings: Settings, store: ObjectStore, prefix: S3Uri) -> None:
    begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    running = begin_upload(store, prefix / "ward b/", {"glioma/1.png": "0" * 64})
    both = unfinished_uploads(store.list(prefix))
    unanswered = invoke(empty_settings, "dataset", "abandon-upload", str(prefix))
    assert unanswered.exit_code == 1 and unfinished_uploads(store.list(prefix)) == both
    done = invoke(empty_settings, "dataset", "abandon-upload", str(prefix), answer="y\nn\n")
    assert f"Abandon an upload to {prefix}ward b/ that began at " in done.stderr
    assert done.stdout.startswith(f"abandoned: an upload to {prefix} that began at ")
    assert [entry.key for entry in unfinished_uploads(store.list(prefix))] == [running.uri.key]


def test_second_upload_is_refused_while_another_one_runs(
    empty_settings: Settings, store: ObjectStore, prefix: S3Uri, folder: Path
) -> None:
    running = begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    before = list(store.list(prefix))
    refused = invoke(empty_settings, "dataset", "upload", str(folder), str(prefix))
    assert refused.exit_code == 1 and f"An upload of other files to {prefix} began at " in refused.stderr
    assert unfinished_uploads(store.list(prefix)) == before, "nothing was uploaded, and only the first mark remains"
    assert "48 images" in printed(empty_settings, "dataset", "upload", str(folder), str(prefix / "ward b/"))
    running.end()
    assert "48 images" in printed(empty_settings, "dataset", "upload", str(folder), str(prefix))


def test_equal_names_with_other_content_are_another_upload(store: ObjectStore, prefix: S3Uri) -> None:
    begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    with pytest.raises(DatasetError, match="has not ended"):
        begin_upload(store, prefix, {"glioma/1.png": "1" * 64})


def test_upload_refused_before_its_first_image_leaves_no_mark(
    empty_settings: Settings, store: ObjectStore, prefix: S3Uri, folder: Path
) -> None:
    first, second, *_ = sorted((folder / "glioma").iterdir())
    printed(empty_settings, "dataset", "upload", str(folder), str(prefix))
    shutil.copy(first, second)
    refused = invoke(empty_settings, "dataset", "upload", str(folder), str(prefix))
    assert refused.exit_code == 1 and "1 files would overwrite" in refused.stderr
    assert unfinished_uploads(store.list(prefix)) == []


def test_failed_run_of_an_upload_leaves_the_mark_of_the_other(store: ObjectStore, prefix: S3Uri) -> None:
    failing = begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    running = begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    with pytest.raises(KeyboardInterrupt), failing.before_images():
        raise KeyboardInterrupt
    assert [entry.key for entry in unfinished_uploads(store.list(prefix))] == [running.uri.key]
    running.end()
    assert unfinished_uploads(store.list(prefix)) == []


def test_readers_of_the_dataset_ignore_marks(
    empty_settings: Settings, store: ObjectStore, prefix: S3Uri, folder: Path
) -> None:
    printed(empty_settings, "dataset", "upload", str(folder), str(prefix))
    begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    entries = list(store.list(prefix))
    assert len(entries) == 50
    images, excluded = read_images(store, prefix, entries, anywhere=True)
    assert len(images) == 48 and excluded == []


def test_doctor_names_an_upload_that_has_not_ended(empty_settings: Settings, store: ObjectStore, prefix: S3Uri) -> None:
    mark = begin_upload(store, prefix, {"glioma/1.png": "0" * 64})
    (result,) = [each for each in run_checks(Installation(settings=empty_settings)) if each.check == "uploads"]
    assert result.state is State.WRONG and "run the same `braintumor dataset upload` again" in result.message
    mark.end()
    (result,) = [each for each in run_checks(Installation(settings=empty_settings)) if each.check == "uploads"]
    assert result.state is State.OK
