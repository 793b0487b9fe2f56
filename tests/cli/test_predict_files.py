"""``braintumor predict``: unusual file names and file types do not lose the predictions of other files."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from braintumor.cli import predict as predict_module
from braintumor.config.settings import Settings
from braintumor.filenames import as_utf8, fitting, printable
from braintumor.scoring.predict_files import predict_files
from braintumor.serving.backend import LoadedModel
from tests.conftest import invoke, printed


@pytest.fixture
def good(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(next(phantoms.rglob("*.png")), tmp_path / "good.png"))


def named(good: Path, name: bytes) -> Path:
    path = good.parent / os.fsdecode(name)
    shutil.copy(good, path)
    return path


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"scan.png", "scan.png"),
        ("Ärztin.png".encode(), "Ärztin.png"),
        (b"caf\xe9.png", r"caf\xe9.png"),
        (b"\xff\xfe\x80", r"\xff\xfe\x80"),
        (b"two\nlines\x1b[31m.png", r"two\nlines\x1b[31m.png"),
        ("\u202egnp.png".encode(), r"\u202egnp.png"),
    ],
)
def test_unprintable_characters_of_a_name_are_escaped(name: bytes, shown: str) -> None:
    assert printable(os.fsdecode(name)) == shown


@pytest.mark.parametrize("name", ["a", "x" * 243, "x" * 244, "x" * 255, "ä" * 127, "好" * 85])
def test_long_names_are_cut_and_stay_distinct(tmp_path: Path, name: str) -> None:
    name_on_disk = fitting(tmp_path, name, ".overlay.png")
    assert len(name_on_disk.encode()) <= 255 and name_on_disk.endswith(".overlay.png")
    (tmp_path / name_on_disk).touch()
    if len(name.encode()) <= 243:
        assert name_on_disk == f"{name}.overlay.png"
    other = fitting(tmp_path, name[:-1] + "b", ".overlay.png")
    assert other != name_on_disk


def test_long_names_get_overlays_and_all_predictions_are_printed(
    tiny_model_folder: Path, good: Path, tmp_path: Path
) -> None:
    names = (b"x" * 244, b"x" * 243 + b"y", b"x" * 255, b"\xe9" * 255, b"caf\xe9.png", b"two\nlines.png")
    files = [named(good, name) for name in names]
    maps = tmp_path / "maps"
    command = ["predict", *map(str, files), str(good), "--model", str(tiny_model_folder), "--overlay", str(maps)]
    predictions = json.loads(printed(Settings(), *command, "--json"))
    assert [prediction["path"] for prediction in predictions] == [as_utf8(path) for path in [*files, good]]
    images = [Path(prediction["overlay"]) for prediction in predictions]
    assert sorted(images) == sorted(maps.iterdir()) and len(set(images)) == 7
    assert images[4].name == r"caf\xe9.png.overlay.png" and images[6].name == "good.png.overlay.png"
    table = printed(Settings(), *command)
    assert predictions[4]["path"].endswith(r"caf\xe9.png") and predictions[5]["path"].endswith("two\nlines.png")
    assert r"caf\xe9.png" in table and r"two\nlines.png" in table
    assert len(table.splitlines()) == 8
    assert len(list(maps.iterdir())) == 14, "a second run overwrites nothing"


def test_unwritable_overlay_loses_no_prediction(
    tiny_model_folder: Path, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = predict_module._write_new

    def without_room(folder: Path, name: str, frame: str, data: bytes) -> Path:
        if name == "full.png":
            raise OSError(28, "No space left on device")
        return write(folder, name, frame, data)

    monkeypatch.setattr(predict_module, "_write_new", without_room)
    files = [str(named(good, name)) for name in (b"a.png", b"full.png", b"z.png")]
    command = ["predict", *files, "--model", str(tiny_model_folder), "--overlay", str(tmp_path / "maps"), "--json"]
    done = invoke(Settings(), *command)
    predictions = json.loads(done.stdout)
    assert [Path(prediction["path"]).name for prediction in predictions] == ["a.png", "full.png", "z.png"]
    assert all("predicted_class" in prediction for prediction in predictions)
    assert [prediction.get("overlay_error") for prediction in predictions] == [None, "No space left on device", None]
    assert len(list((tmp_path / "maps").iterdir())) == 2
    assert done.exit_code == 2 and "No space left on device" in done.stderr


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[list[tuple[Path, str, str]]]:
    """Create paths that are not regular files. Yield each with its rejection reason and detail."""
    folder = tmp_path / "odd"
    folder.mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "to pipe.png").symlink_to(folder / "pipe.png")
    kind = "unsupported_format"
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(folder / "s"))
        yield [
            (folder / "pipe.png", kind, "a named pipe; only regular files are read"),
            (folder / "to pipe.png", kind, "a named pipe; only regular files are read"),
            (folder / "folder.png", kind, "a folder; only regular files are read"),
            (folder / "s", kind, "a socket; only regular files are read"),
            (Path("/dev/zero"), kind, "a device; only regular files are read"),
            (folder / "link.png", "access_denied", "the file cannot be opened: No such file or directory"),
            (folder / "loop.png", "access_denied", "the file cannot be opened: Too many levels of symbolic links"),
        ]


def test_paths_that_are_no_regular_files_are_rejected_at_once(
    tiny_model_folder: Path, good: Path, odd: list[tuple[Path, str, str]]
) -> None:
    files = [str(path) for path, _, _ in odd]
    done = printed(Settings(), "predict", *files, str(good), "--model", str(tiny_model_folder), "--json")
    *rejected, prediction = json.loads(done)
    assert rejected == [{"path": str(path), "rejected": reason, "detail": detail} for path, reason, detail in odd]
    assert "predicted_class" in prediction


def test_unreadable_file_is_rejected(tiny_model_folder: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, model = named(good, b"locked.png"), LoadedModel.load(tiny_model_folder)
    opened = Path.open

    def refuse(self: Path, *arguments: object, **more: object) -> object:
        if self == locked:
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)  # because root can read every file
    first, second = (result.to_values() for result in predict_files(model, [locked, good]))
    assert (first["rejected"], first["detail"]) == ("access_denied", "the file cannot be opened: Permission denied")
    assert "predicted_class" in second
