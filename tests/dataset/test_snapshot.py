from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from braintumor.config.settings import Settings
from braintumor.dataset import frame_arrays, take_snapshot
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.images.local_folder import count_passed_over, labeled_files, upload
from braintumor.dataset.snapshot import Snapshot, load_snapshot
from braintumor.dataset.snapshot_diff import snapshot_diff
from braintumor.dataset.splits.split import Split
from braintumor.dataset.take_snapshot import read_images, snapshot_of
from braintumor.db import database
from braintumor.errors import BucketMissingError, DatasetError
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES, TumorClass
from braintumor.s3 import ObjectStore, S3Uri
from tests.conftest import printed
from tests.faulty_s3 import faulty_s3
from tests.images import png_of, saved
from tests.sql import change, rows

PutLabeled = Callable[[str, bytes], None]


@cache
def encoded(label: TumorClass, seed: int, kind: str = "PNG") -> bytes:
    own = seed + 1000 * label.position  # because one seed draws the same head for every class
    return saved(Image.fromarray(draw(label, seed=own, size=192).pixels), kind)


@pytest.fixture
def put(empty_settings: Settings) -> PutLabeled:
    store, prefix = ObjectStore.connect(empty_settings), S3Uri.parse(empty_settings.require("dataset_uri"))
    return lambda name, data: store.write(prefix / name, data)


@pytest.fixture
def twelve_each(put: PutLabeled) -> None:
    for label in CLASSES:
        for seed in range(12):
            put(f"{label}/{seed}.png", encoded(label, seed))


@pytest.mark.usefixtures("twelve_each")
def test_identical_images_are_one_snapshot_image(empty_settings: Settings, put: PutLabeled) -> None:
    for number in range(5):
        put(f"glioma/copy-{number}.png", encoded(TumorClass.GLIOMA, 0))
    gray = np.asarray(Image.open(io.BytesIO(encoded(TumorClass.GLIOMA, 1))))
    put("glioma/same pixels in color.png", png_of(np.repeat(gray[..., None], 3, axis=2)))
    snapshot = snapshot_of(empty_settings)
    assert (len(snapshot.images), snapshot.count_copy) == (48, 6)
    assert len({image.group_key for image in snapshot.images}) == 48


@pytest.mark.usefixtures("twelve_each")
def test_two_snapshots_at_once_assign_splits_in_turn(empty_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build, inside, most = take_snapshot._build, [], []

    def slowly(*arguments: Any) -> Snapshot:
        inside.append(None)
        most.append(len(inside))
        time.sleep(1)
        inside.pop()
        return build(*arguments)

    monkeypatch.setattr(take_snapshot, "_build", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(snapshot_of, [empty_settings] * 2)
    assert most == [1, 1] and first == second
    assert rows(empty_settings, "select count(*) from snapshot") == [(1,)]


@pytest.mark.usefixtures("twelve_each")
def test_identical_images_with_different_labels_are_excluded(empty_settings: Settings, put: PutLabeled) -> None:
    put("normal/wrong.png", encoded(TumorClass.GLIOMA, 3))
    excluded = snapshot_of(empty_settings).excluded
    assert sorted(item.image_uri.rpartition("/")[2] for item in excluded) == ["3.png", "wrong.png"]
    assert all(item.reason == "identical images are labeled glioma and normal" for item in excluded)


@pytest.mark.usefixtures("twelve_each")
def test_files_without_class_or_image_are_excluded_by_name(empty_settings: Settings, put: PutLabeled) -> None:
    put("glioma/notes.png", b"not an image")
    put("manifest.csv", b"a,b")
    reasons = {item.image_uri.rpartition("/")[2]: item.reason for item in snapshot_of(empty_settings).excluded}
    assert reasons["manifest.csv"] == "not in a class folder"
    assert reasons["notes.png"].startswith("unsupported_format")


@pytest.mark.usefixtures("twelve_each")
def test_same_images_give_same_snapshot_and_new_ones_move_none(empty_settings: Settings, put: PutLabeled) -> None:
    first = snapshot_of(empty_settings)
    assert snapshot_of(empty_settings) == first
    for seed in range(100, 110):
        put(f"normal/{seed}.png", encoded(TumorClass.NORMAL, seed))
    second = snapshot_of(empty_settings)
    before = {image.image_sha256: image.split for image in first.images}
    assert second.snapshot_id != first.snapshot_id
    assert all(before.get(image.image_sha256, image.split) is image.split for image in second.images)
    assert load_snapshot(database.connect(empty_settings), first.snapshot_id) == first
    assert len(first.to_frame()) == 48


@pytest.mark.usefixtures("twelve_each")
def test_snapshot_diff_lists_added_removed_and_relabeled(empty_settings: Settings, put: PutLabeled) -> None:
    first = snapshot_of(empty_settings)
    put("glioma/new.png", encoded(TumorClass.GLIOMA, 77))
    relabeled = next(i for i in first.of_split(Split.TRAIN) if i.label is TumorClass.NORMAL)
    name = relabeled.image_uri.rpartition("/")[2]
    data = ObjectStore.connect(empty_settings).read(S3Uri.parse(relabeled.image_uri))
    put(f"normal/{name}", b"gone")
    put(f"pituitary/was {name}", data)
    second = snapshot_of(empty_settings)
    changes = snapshot_diff(database.connect(empty_settings), first.snapshot_id, second.snapshot_id)
    assert {(c.change, c.label_before, c.label_after, c.count_image) for c in changes} == {
        ("added", None, "glioma", 1),
        ("relabeled", "normal", "pituitary", 1),
    }
    assert next(c.split for c in changes if c.change == "relabeled") == "train"
    assert snapshot_diff(database.connect(empty_settings), first.snapshot_id, first.snapshot_id) == []
    command = ("dataset", "diff", first.snapshot_id, second.snapshot_id)
    assert json.loads(printed(empty_settings, *command, "--json")) == [vars(change) for change in changes]
    head, *lines = printed(empty_settings, *command).splitlines()
    assert head.split() == ["change", "split", "was", "is", "images"]
    assert ["relabeled", "train", "normal", "pituitary", "1"] in [line.split() for line in lines]
    with pytest.raises(DatasetError, match="no snapshot 'feed'"):
        snapshot_diff(database.connect(empty_settings), first.snapshot_id, "feed")


@pytest.mark.usefixtures("twelve_each")
def test_snapshot_manifest_is_next_to_the_models(empty_settings: Settings) -> None:
    snapshot = snapshot_of(empty_settings)
    address = S3Uri.parse(empty_settings.require("models_uri")) / f"snapshots/{snapshot.snapshot_id}.csv"
    header, *lines = ObjectStore.connect(empty_settings).read(address).decode().splitlines()
    assert header == "image_sha256,pixel_sha256,label,split,group_key" and len(lines) == len(snapshot.images)
    assert "s3://" not in lines[0] and str(snapshot.images[0].image_sha256) in lines[0]


@pytest.mark.usefixtures("twelve_each")
def test_image_overwritten_after_snapshot_is_refused(empty_settings: Settings) -> None:
    snapshot = snapshot_of(empty_settings)
    store = ObjectStore.connect(empty_settings)
    frames = load_frames(store, snapshot, Split.TEST, size=64)
    assert frames.frames.shape == (8, 64, 64, 3)
    image = frames.images[0]
    store.write(S3Uri.parse(image.image_uri), encoded(image.label, 999))
    with pytest.raises(DatasetError, match="overwritten since the snapshot") as caught:
        load_frames(store, snapshot, Split.TEST, size=64)
    assert image.image_uri not in str(caught.value)
    store.delete([S3Uri.parse(image.image_uri)])
    with pytest.raises(DatasetError, match=rf"Image {image.image_sha256[:12]}\.\.\. was removed since") as caught:
        load_frames(store, snapshot, Split.TEST, size=64)
    assert image.image_uri not in str(caught.value)


@pytest.mark.usefixtures("twelve_each")
def test_rejected_image_error_differs_from_overwritten(
    empty_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_of(empty_settings)
    refused = Rejection(reason=RejectionReason.TRUNCATED, detail="it ends early")
    monkeypatch.setattr(frame_arrays, "decode", lambda _: refused)
    with pytest.raises(DatasetError, match=r"this version rejects it: truncated, it ends early\. Take a new snapshot"):
        load_frames(ObjectStore.connect(empty_settings), snapshot, Split.TEST, size=64)


@pytest.mark.usefixtures("twelve_each")
def test_object_refused_or_deleted_during_read_is_excluded(empty_settings: Settings) -> None:
    with faulty_s3(empty_settings.require("s3_endpoint")) as s3_proxy:
        store = ObjectStore.connect(replace(empty_settings, s3_endpoint=s3_proxy.url))
        source = S3Uri.parse(empty_settings.require("dataset_uri"))
        first, second = (entry.key for entry in list(store.list(source))[:2])
        s3_proxy.faults = {first: (403, "AccessDenied"), second: (404, "NoSuchKey")}
        images, excluded = read_images(store, source, list(store.list(source)))
    assert len(images) == 46
    assert {(item.image_uri.rpartition("/")[2], item.reason) for item in excluded} == {
        (first.rpartition("/")[2], "S3 refuses the object"),
        (second.rpartition("/")[2], "the object is gone"),
    }


@pytest.mark.usefixtures("twelve_each")
def test_moved_images_give_same_snapshot_with_new_addresses(empty_settings: Settings) -> None:
    first = snapshot_of(empty_settings)
    elsewhere = S3Uri.parse(empty_settings.require("dataset_uri").replace("dataset-", "moved-"))
    store = ObjectStore.connect(empty_settings)
    for image in first.images:
        uri = S3Uri.parse(image.image_uri)
        store.write(elsewhere / uri.key.partition("/")[2], store.read(uri))
        store.write(uri, b"gone")
    second = snapshot_of(empty_settings, str(elsewhere))
    assert second.snapshot_id == first.snapshot_id
    loaded = load_snapshot(database.connect(empty_settings), first.snapshot_id)
    assert loaded == second and loaded.source_uri == str(elsewhere)
    assert len(load_frames(store, loaded, Split.TRAIN, size=64).images) == 32


@pytest.mark.usefixtures("twelve_each")
def test_changed_pixel_hash_keeps_the_split(empty_settings: Settings) -> None:
    first = snapshot_of(empty_settings)
    change(empty_settings, "update split_assignment set pixel_sha256 = 'as decoded last year ' || pixel_sha256")
    assert snapshot_of(empty_settings) == first


@pytest.mark.usefixtures("twelve_each")
def test_same_pixels_in_new_file_keep_split_of_removed_file(empty_settings: Settings, put: PutLabeled) -> None:
    first = snapshot_of(empty_settings)
    for label in CLASSES:
        for seed in range(12):
            put(f"{label}/{seed}.png", saved(Image.open(io.BytesIO(encoded(label, seed))), compress_level=1))
    second = snapshot_of(empty_settings)
    assert not {image.image_sha256 for image in first.images} & {image.image_sha256 for image in second.images}
    before = {image.pixel_sha256: image.split for image in first.images}
    assert all(before[image.pixel_sha256] is image.split for image in second.images)


@pytest.mark.usefixtures("twelve_each")
def test_group_with_images_in_two_splits_is_excluded(empty_settings: Settings, put: PutLabeled) -> None:
    gray = np.asarray(Image.open(io.BytesIO(encoded(TumorClass.GLIOMA, 1))))
    color = png_of(np.repeat(gray[..., None], 3, axis=2))
    put("glioma/1 in color.png", color)
    (split,) = {image.split for image in snapshot_of(empty_settings).images if image.image_uri.endswith("glioma/1.png")
                or image.image_uri.endswith("color.png")}  # fmt: skip
    other = Split.TRAIN if split is not Split.TRAIN else Split.TEST
    change(
        empty_settings,
        f"""
        update split_assignment set split = '{other}', pixel_sha256 = 'as decoded last year'
        where image_sha256 = '{sha256(color).hexdigest()}'""",
    )
    snapshot = snapshot_of(empty_settings)
    assert sorted(item.image_uri.rpartition("/")[2] for item in snapshot.excluded) == ["1 in color.png", "1.png"]
    assert snapshot.excluded_by_reason() == {f"identical images were in {' and '.join(sorted([split, other]))}": 2}


@pytest.mark.usefixtures("twelve_each")
def test_split_without_class_is_named(empty_settings: Settings, put: PutLabeled) -> None:
    for image in snapshot_of(empty_settings).of_split(Split.TEST):
        if image.label is TumorClass.NORMAL:
            put(image.image_uri.rpartition("dataset-")[2].partition("/")[2], b"gone")
    with pytest.raises(DatasetError, match="no images of normal in test"):
        snapshot_of(empty_settings)


def test_missing_class_is_named(empty_settings: Settings, put: PutLabeled) -> None:
    put("glioma/1.png", encoded(TumorClass.GLIOMA, 1))
    with pytest.raises(DatasetError, match="No images of meningioma, normal, pituitary"):
        snapshot_of(empty_settings)


@pytest.mark.usefixtures("twelve_each")
def test_too_few_images_of_a_class_are_refused(empty_settings: Settings) -> None:
    other = "s3://braintumor/three-" + empty_settings.require("dataset_uri").rpartition("dataset-")[2]
    store = ObjectStore.connect(empty_settings)
    for label in CLASSES:
        for seed in range(3 if label is TumorClass.NORMAL else 10):
            store.write(S3Uri.parse(other) / f"{label}/{seed}.png", encoded(label, seed))
    with pytest.raises(DatasetError, match=r"\{'normal': 3\}"):
        snapshot_of(empty_settings, other)


def test_missing_bucket_is_named(empty_settings: Settings) -> None:
    with pytest.raises(BucketMissingError, match="'nowhere'"):
        snapshot_of(empty_settings, "s3://nowhere/dataset/")


def test_unknown_snapshot_is_named(empty_settings: Settings) -> None:
    with pytest.raises(DatasetError, match="'feed'"):
        load_snapshot(database.connect(empty_settings), "feed")


class TestFolder:
    @pytest.fixture
    def kaggle(self, tmp_path: Path) -> Path:
        for part in ("Training", "Testing"):
            for name in ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"):
                (tmp_path / part / name).mkdir(parents=True)
                (tmp_path / part / name / "image(1).jpg").write_bytes(encoded(TumorClass.NORMAL, 1, "JPEG"))
        return tmp_path

    def test_kaggle_layouts_become_class_prefixes(self, kaggle: Path) -> None:
        keys = [file.key for file in labeled_files(kaggle)]
        assert len(set(keys)) == 8
        assert "normal/Training/image(1).jpg" in keys and "normal/Testing/image(1).jpg" in keys

    def test_image_without_suffix_is_recognized_and_others_counted(self, kaggle: Path) -> None:
        tiff = saved(Image.fromarray(draw(TumorClass.NORMAL, seed=3).pixels), "TIFF")
        (kaggle / "Training" / "no_tumor" / "IM000001").write_bytes(tiff)
        (kaggle / "Training" / "no_tumor" / "notes.txt").write_text("words")
        (kaggle / "Training" / "no_tumor" / "broken.tif").write_bytes(b"")
        labeled = labeled_files(kaggle)
        names = {file.path.name for file in labeled}
        assert names == {"image(1).jpg", "IM000001", "broken.tif"}
        assert count_passed_over(kaggle, labeled) == 1

    def test_files_with_equal_keys_are_refused_before_upload(self, kaggle: Path) -> None:
        other = kaggle / "Training" / "healthy"
        other.mkdir()
        (other / "image(1).jpg").write_bytes(encoded(TumorClass.NORMAL, 2, "JPEG"))
        with pytest.raises(DatasetError, match=r"1 names are used twice.*normal/Training/image\(1\)\.jpg"):
            labeled_files(kaggle)

    def test_upload_stores_files_and_reports_bytes(self, kaggle: Path, empty_settings: Settings) -> None:
        store, prefix = ObjectStore.connect(empty_settings), S3Uri.parse(empty_settings.require("dataset_uri"))
        sizes: list[int] = []
        upload(store, labeled_files(kaggle), prefix, on_uploaded=sizes.append)
        assert sum(sizes) == sum(entry.size for entry in store.list(prefix))

    def test_missing_or_empty_class_folder_is_named(self, kaggle: Path) -> None:
        for part in ("Training", "Testing"):
            (kaggle / part / "no_tumor" / "image(1).jpg").unlink()
        with pytest.raises(DatasetError, match="No images of normal"):
            labeled_files(kaggle)

    def test_folder_with_unknown_class_name_is_named(self, kaggle: Path) -> None:
        (kaggle / "Training" / "no_tumor").rename(kaggle / "Training" / "cats")
        with pytest.raises(DatasetError, match="'cats' is not a class name"):
            labeled_files(kaggle)

    def test_image_outside_class_folder_is_named(self, kaggle: Path) -> None:
        (kaggle / "stray.png").write_bytes(b"x")
        with pytest.raises(DatasetError, match=r"stray\.png is outside a class folder"):
            labeled_files(kaggle)

    def test_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="nowhere is not a folder"):
            labeled_files(tmp_path / "nowhere")
