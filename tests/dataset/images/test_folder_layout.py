"""Test that the local check, the check in S3 and the upload interpret labeled folders equally."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import Result

from braintumor.config.settings import Settings
from braintumor.dataset.images import local_folder
from braintumor.dataset.images.folder_layout import is_litter, place_of
from braintumor.dataset.images.local_folder import labeled_files, other_image_types, read_folder, upload
from braintumor.dataset.quality.checks import assess
from braintumor.dataset.quality.rules import QualityRules
from braintumor.dataset.take_snapshot import read_images, snapshot_of
from braintumor.errors import DatasetError, ObjectRefusedError
from braintumor.imaging.decoding.types import Limits
from braintumor.labels import CLASSES, TumorClass
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri
from tests.conftest import invoke

RULES = QualityRules.load()


def copied_to_s3(settings: Settings, folder: Path) -> ObjectStore:
    """Upload every file unchanged, without the upload of this project."""
    store = ObjectStore.connect(settings)
    store.upload_folder(folder, S3Uri.parse(settings.require("dataset_uri")))
    return store


def verdicts(settings: Settings, folder: Path) -> tuple[Result, Result]:
    """Return the results of the check of a folder, and of the same files in S3."""
    copied_to_s3(settings, folder)
    return (
        invoke(settings, "dataset", "validate", str(folder), "--json"),
        invoke(settings, "dataset", "validate", settings.require("dataset_uri"), "--json"),
    )


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("glioma/1.jpg", TumorClass.GLIOMA),
        ("Training/glioma_tumor/1.jpg", TumorClass.GLIOMA),
        ("Data/normal/1.jpg", TumorClass.NORMAL),
        ("downloads/kaggle/Testing/no_tumor/1.jpg", TumorClass.NORMAL),
        ("pituitary/Training/1.jpg", TumorClass.PITUITARY),
        ("meningioma/Data/Testing/1.jpg", TumorClass.MENINGIOMA),
        ("1.jpg", None),
        ("cats/1.jpg", None),
        ("brain_glioma/1.jpg", None),
        ("1/1.jpg", None),
        ("glioma_tumour/1.jpg", None),
        ("gliomas/1.jpg", None),
        ("yes/1.jpg", None),
        ("glioma/patient 7/1.jpg", None),
        ("glioma/patient 7/Training/1.jpg", None),
        ("normal/glioma/1.jpg", None),
        ("Training/1.jpg", None),
    ],
)
def test_path_has_one_class_or_none(path: str, label: TumorClass | None) -> None:
    assert place_of(path).label is label and not place_of(path).is_litter


@pytest.mark.parametrize(
    "path",
    [
        "glioma/._1.jpg", "__MACOSX/glioma/1.jpg", "glioma/Thumbs.db", "glioma/.DS_Store", "glioma/desktop.ini",
        "glioma/.hidden.jpg", ".ipynb_checkpoints/1.jpg", "glioma/@eaDir/1.jpg", "glioma/", "DICOMDIR",
    ],
)  # fmt: skip
def test_files_of_programs_are_litter(path: str) -> None:
    assert is_litter(path) and place_of(path).label is None


@pytest.mark.parametrize("path", ["glioma/1.jpg", "Thumbs.db/1.jpg", "a.b/IM0001", "macosx/1.jpg", "desktop.ini.png"])
def test_other_names_are_not_litter(path: str) -> None:
    assert not is_litter(path)


def without_a_class(folder: Path, layout: str) -> None:
    """Rename the class folders so that no image has a class."""
    for number, label in enumerate(CLASSES):
        source = folder / label
        if layout == "class/patient":
            (folder / "moved").mkdir(exist_ok=True)
            source.rename(folder / "moved" / "patient 7")
            source.mkdir()
            (folder / "moved" / "patient 7").rename(source / "patient 7")
        else:
            source.rename(folder / layout.format(label=label, number=number))


@pytest.mark.parametrize(
    "layout",
    ["brain_{label}", "{number}", "{label}_tumour", "{label}s", "class/patient", "{label} (copy)", "T1 {label}"],
)
def test_folder_without_any_class_is_refused_everywhere(empty_settings: Settings, folder: Path, layout: str) -> None:
    without_a_class(folder, layout)
    for done in verdicts(empty_settings, folder):
        output = json.loads(done.stdout)
        assert done.exit_code == 1 and not output["is_accepted"]
        assert output["images"] == dict.fromkeys(map(str, CLASSES), 0)
        assert "missing_class: No image has a class. All four of glioma" in done.stderr
        (outside,) = [each for each in output["findings"] if each["code"] == "outside"]
        assert outside["count"] == 48
    with pytest.raises(DatasetError, match="is not a class name"):
        labeled_files(folder)
    with pytest.raises(DatasetError, match="No image has a class"):
        snapshot_of(empty_settings)


@pytest.mark.parametrize("kept", [("normal",), ("glioma", "meningioma"), ("glioma", "normal", "pituitary")])
def test_missing_class_is_refused_everywhere(empty_settings: Settings, folder: Path, kept: tuple[str, ...]) -> None:
    missing = [str(label) for label in CLASSES if label not in kept]
    for label in missing:
        shutil.rmtree(folder / label)
    for done in verdicts(empty_settings, folder):
        assert done.exit_code == 1
        assert f"No images of {', '.join(missing)} are readable in class folders" in done.stderr
    with pytest.raises(DatasetError, match=f"No images of {', '.join(missing)} in"):
        labeled_files(folder)
    with pytest.raises(DatasetError, match=f"No images of {', '.join(missing)} are readable"):
        snapshot_of(empty_settings)


def test_yes_and_no_lack_three_classes(empty_settings: Settings, folder: Path) -> None:
    (folder / "glioma").rename(folder / "yes")
    (folder / "normal").rename(folder / "no")
    for label in ("meningioma", "pituitary"):
        shutil.rmtree(folder / label)
    for done in verdicts(empty_settings, folder):
        assert done.exit_code == 1 and json.loads(done.stdout)["images"]["normal"] == 12
        assert "No images of glioma, meningioma, pituitary are readable" in done.stderr


def with_litter(folder: Path) -> None:
    """Put the litter of a Mac, of Windows and of a file server next to each image."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        mac_folder = folder / "__MACOSX" / path.parent.name
        mac_folder.mkdir(parents=True, exist_ok=True)
        for place in (path.parent, mac_folder):
            (place / f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    for label in CLASSES:
        (folder / label / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (folder / label / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / label / "@eaDir").mkdir()
        (folder / label / "@eaDir" / "SYNOPHOTO_THUMB_M.jpg").write_bytes(b"\xff\xd8\xff thumbnail")


def test_litter_is_ignored_everywhere(empty_settings: Settings, folder: Path) -> None:
    with_litter(folder)
    for done in verdicts(empty_settings, folder):
        output = json.loads(done.stdout)
        assert done.exit_code == 0, done.output
        assert output["images"] == dict.fromkeys(map(str, CLASSES), 12)
        counts = {each["code"]: each["count"] for each in output["findings"]}
        assert counts["unreadable"] == counts["outside"] == 0
    assert len(labeled_files(folder)) == 48


def test_upload_sends_no_litter_and_check_of_prefix_agrees(empty_settings: Settings, folder: Path) -> None:
    with_litter(folder)
    prefix = S3Uri.parse(empty_settings.require("dataset_uri"))
    store = ObjectStore.connect(empty_settings)
    upload(store, labeled_files(folder), prefix)
    names = [entry.key.removeprefix(prefix.key) for entry in store.list(prefix)]
    assert len(names) == 48 and not any(map(is_litter, names))
    images, excluded = read_images(store, prefix, list(store.list(prefix)))
    assert (len(images), excluded) == (48, [])
    assert snapshot_of(empty_settings).excluded == ()


def test_object_above_the_size_limit_is_read_in_part(
    empty_settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = max(path.stat().st_size for path in folder.rglob("*.*"))
    monkeypatch.setattr(Limits.__init__, "__kwdefaults__", {**Limits.__init__.__kwdefaults__, "max_bytes": limit})
    large = folder / "glioma" / "large.png"
    large.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3 * limit))
    (folder / "glioma" / "export.zip").write_bytes(b"PK\3\4" + bytes(3 * limit))
    store, prefix = copied_to_s3(empty_settings, folder), S3Uri.parse(empty_settings.require("dataset_uri"))
    sizes: list[int] = []
    read = ObjectStore.read

    def counted(self: ObjectStore, uri: S3Uri, *, etag: str | None = None, max_bytes: int | None = None) -> bytes:
        data = read(self, uri, etag=etag, max_bytes=max_bytes)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(ObjectStore, "read", counted)
    images, (excluded,) = read_images(store, prefix, list(store.list(prefix)))
    assert len(images) == 48 and max(sizes) == limit + 1
    assert excluded.reason.startswith("too_many_bytes: ") and excluded.image_uri == f"{prefix}glioma/large.png"
    assert excluded.image_sha256 == "", "the sha256 of the beginning identifies no file"
    _, (local,) = read_folder(folder)
    assert local.image_sha256 == sha256(large.read_bytes()).hexdigest()


def test_empty_image_is_unreadable_not_litter(empty_settings: Settings, folder: Path) -> None:
    (folder / "glioma" / "empty.jpg").touch()
    for done in verdicts(empty_settings, folder):
        (result,) = [each for each in json.loads(done.stdout)["findings"] if each["code"] == "unreadable"]
        assert result["count"] == 1 and "(empty_file: 1)" in result["reason"]


def test_unsupported_image_types_are_counted_and_notes_are_not(empty_settings: Settings, folder: Path) -> None:
    for label in CLASSES[:3]:
        (folder / label / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        (folder / label / "browser.webp").write_bytes(b"RIFF\x24\0\0\0WEBPVP8 ")
        (folder / label / "paint.BMP").write_bytes(b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0")
    (folder / "glioma" / "notes.txt").write_text("BMI 24")
    (folder / "glioma" / "boxes.csv").write_text("a,b")
    for done in verdicts(empty_settings, folder):
        (result,) = [each for each in json.loads(done.stdout)["findings"] if each["code"] == "unreadable"]
        assert result["count"] == 9 and result["outcome"] == "blocking"
        assert "(unsupported_format: 9), of other image types (BMP: 3, HEIC: 3, WebP: 3)" in result["reason"]
    files = labeled_files(folder)
    assert len(files) == 48
    assert other_image_types(folder, files) == {"BMP": 3, "HEIC": 3, "WebP": 3}
    done = invoke(empty_settings, "dataset", "upload", str(folder), empty_settings.require("dataset_uri"))
    assert "11 other files" in done.stderr and "HEIC: 3" in done.stderr


def test_outer_folders_stay_separate_in_s3_and_read_equally(
    empty_settings: Settings, twelve_each: Path, tmp_path: Path
) -> None:
    for part, ward in (("Training", "ward a"), ("Testing", "ward b")):
        for label in CLASSES:
            shutil.copytree(twelve_each / label, tmp_path / ward / part / f"{label}_tumor".replace("normal", "no"))
    files = labeled_files(tmp_path)
    keys = {file.key for file in files}
    assert len(keys) == len(files) == 96
    assert {place_of(key).label for key in keys} == set(CLASSES)
    store, prefix = ObjectStore.connect(empty_settings), S3Uri.parse(empty_settings.require("dataset_uri"))
    upload(store, files, prefix)
    images, excluded = read_images(store, prefix, list(store.list(prefix)))
    assert excluded == [] and {image.attributes["source"] for image in images} == {"Training", "Testing"}
    local, none = read_folder(tmp_path)
    assert none == [] and sorted(i.image_sha256 for i in local) == sorted(i.image_sha256 for i in images)


def test_unreadable_file_and_broken_link_are_counted(folder: Path) -> None:
    (folder / "glioma" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    images, excluded = read_folder(folder)
    assert len(images) == 48
    assert [item.reason for item in excluded] == ["the file cannot be opened: No such file or directory"]
    assert assess(images, excluded, RULES).blocking == []
    with pytest.raises(DatasetError, match=r"1 images cannot be opened, such as .*gone\.jpg"):
        labeled_files(folder)


def test_linked_or_unreadable_folder_is_refused_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "glioma" / "lost+found").symlink_to(folder.parent)
    assert len(labeled_files(folder)) == 48, "litter"
    (folder / "glioma").rename(folder.parent / "elsewhere")
    (folder / "glioma").symlink_to(folder.parent / "elsewhere")
    for read in (labeled_files, read_folder):
        with pytest.raises(
            DatasetError, match=r"1 folders cannot be read, such as .*glioma: they are links to folders"
        ):
            read(folder)
    (folder / "glioma").unlink()
    (folder.parent / "elsewhere").rename(folder / "glioma")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "pituitary" and access(path, mode))
    with pytest.raises(DatasetError, match=r"1 folders cannot be read, such as .*pituitary: "):
        labeled_files(folder)


@pytest.mark.parametrize("name", ["a\0b.png", "caf\udce9.png"])
def test_object_with_unusable_key_is_excluded_from_snapshot(
    empty_settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    copied_to_s3(empty_settings, folder)
    listed = ObjectStore.list

    def with_one_more(self: ObjectStore, prefix: S3Uri) -> Iterator[ObjectEntry]:
        entries = list(listed(self, prefix))
        yield from entries
        yield replace(entries[0], key=f"{prefix.key}glioma/{name}")

    monkeypatch.setattr(ObjectStore, "list", with_one_more)
    (excluded,) = snapshot_of(empty_settings).excluded
    assert excluded.reason == "the object's key cannot be stored" and "unusable key, sha256" in excluded.image_uri


def test_name_that_is_not_utf8_is_uploaded_escaped(empty_settings: Settings, folder: Path) -> None:
    source = next((folder / "glioma").iterdir())
    for name in (b"caf\xe9.jpg", b"\xff\xfe.jpg"):
        (Path(str(folder / "glioma")) / name.decode(errors="surrogateescape")).write_bytes(source.read_bytes())
    keys = {file.key for file in labeled_files(folder)}
    assert {r"glioma/caf\xe9.jpg", r"glioma/\xff\xfe.jpg"} <= keys
    store, prefix = ObjectStore.connect(empty_settings), S3Uri.parse(empty_settings.require("dataset_uri"))
    upload(store, labeled_files(folder), prefix)
    assert len(list(store.list(prefix))) == 50


def test_disk_error_during_upload_names_the_file(
    empty_settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = min((folder / "normal").iterdir())
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    done = invoke(empty_settings, "dataset", "upload", str(folder), empty_settings.require("dataset_uri"))
    assert done.exit_code == 1 and f"{bad} cannot be read: Input/output error" in done.stderr


def test_upload_skips_equal_objects_and_refuses_other_ones(empty_settings: Settings, folder: Path) -> None:
    arguments = ("dataset", "upload", str(folder), empty_settings.require("dataset_uri"))
    assert "were there already" not in invoke(empty_settings, *arguments).stderr
    first, second, *_ = sorted((folder / "glioma").iterdir())
    shutil.copy(first, folder / "glioma" / "new.png")
    again = invoke(empty_settings, *arguments)
    assert again.exit_code == 0 and "48 of them were there already" in again.stderr
    store, prefix = ObjectStore.connect(empty_settings), S3Uri.parse(empty_settings.require("dataset_uri"))
    earlier = store.read(prefix / f"glioma/{second.name}")
    shutil.copy(first, second)  # another hospital's image of this name
    refused = invoke(empty_settings, *arguments)
    assert refused.exit_code == 1 and f"1 files would overwrite objects with another content in {prefix}" in (
        refused.stderr
    )
    assert store.read(prefix / f"glioma/{second.name}") == earlier
    assert invoke(empty_settings, *arguments, "--replace").exit_code == 0
    assert store.read(prefix / f"glioma/{second.name}") == first.read_bytes()


def test_repeated_upload_shows_progress_before_its_images(
    empty_settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[str, list[int]] = {}

    @contextmanager
    def recorded(label: str, total: int, *, unit: str) -> Iterator[Callable[[int], None]]:
        steps[label] = [total]
        yield steps[label].append

    arguments = ("dataset", "upload", str(folder), empty_settings.require("dataset_uri"))
    assert invoke(empty_settings, *arguments).exit_code == 0
    monkeypatch.setattr(local_folder, "progress", recorded)
    assert invoke(empty_settings, *arguments).exit_code == 0
    sizes = [file.size for file in labeled_files(folder)]
    assert steps == {step: [sum(sizes), *sizes] for step in ("Hashing the files", "Comparing with S3")}


def test_upload_skips_equal_objects_whose_etag_is_no_md5(
    empty_settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = ObjectStore.list

    def encrypted(self: ObjectStore, prefix: S3Uri) -> Iterator[ObjectEntry]:
        yield from (replace(entry, etag="0" * 32) for entry in listed(self, prefix))

    monkeypatch.setattr(ObjectStore, "list", encrypted)  # as with SSE-KMS
    arguments = ("dataset", "upload", str(folder), empty_settings.require("dataset_uri"))
    assert invoke(empty_settings, *arguments).exit_code == 0
    again = invoke(empty_settings, *arguments)
    assert again.exit_code == 0 and "48 of them were there already" in again.stderr
    path = min((folder / "glioma").iterdir())
    path.write_bytes(bytes(path.stat().st_size))
    refused = invoke(empty_settings, *arguments)
    assert refused.exit_code == 1 and "1 files would overwrite objects with another content" in refused.stderr

    def refuse(self: ObjectStore, uri: S3Uri) -> str:
        raise ObjectRefusedError("no right to read")

    monkeypatch.setattr(ObjectStore, "stored_sha256", refuse)
    assert "48 files would overwrite objects" in invoke(empty_settings, *arguments).stderr
