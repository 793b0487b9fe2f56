"""``braintumor predict``: no file name and no kind of file loses the answers of the other files."""

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
from tests.conftest import invoke, run_braintumor


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
def test_a_name_is_printed_with_escapes_for_what_cannot_be_printed(name: bytes, shown: str) -> None:
    assert printable(os.fsdecode(name)) == shown


@pytest.mark.parametrize("name", ["a", "x" * 243, "x" * 244, "x" * 255, "ä" * 127, "好" * 85])
def test_a_name_with_an_end_fits_and_names_stay_apart(tmp_path: Path, name: str) -> None:
    found = fitting(tmp_path, name, ".overlay.png")
    assert len(found.encode()) <= 255 and found.endswith(".overlay.png")
    (tmp_path / found).touch()
    if len(name.encode()) <= 243:
        assert found == f"{name}.overlay.png"
    other = fitting(tmp_path, name[:-1] + "b", ".overlay.png")
    assert other != found


def test_long_names_get_overlays_and_every_answer_is_printed(
    tiny_model_folder: Path, good: Path, tmp_path: Path
) -> None:
    names = (b"x" * 244, b"x" * 243 + b"y", b"x" * 255, b"\xe9" * 255, b"caf\xe9.png", b"two\nlines.png")
    files = [named(good, name) for name in names]
    maps = tmp_path / "maps"
    command = ["predict", *map(str, files), str(good), "--model", str(tiny_model_folder), "--overlay", str(maps)]
    answers = json.loads(run_braintumor(Settings(), *command, "--json").stdout)
    assert [answer["path"] for answer in answers] == [as_utf8(path) for path in [*files, good]]
    pictures = [Path(answer["overlay"]) for answer in answers]
    assert sorted(pictures) == sorted(maps.iterdir()) and len(set(pictures)) == 7
    assert pictures[4].name == r"caf\xe9.png.overlay.png" and pictures[6].name == "good.png.overlay.png"
    table = run_braintumor(Settings(), *command)
    assert answers[4]["path"].endswith(r"caf\xe9.png") and answers[5]["path"].endswith("two\nlines.png")
    assert r"caf\xe9.png" in table.stdout and r"two\nlines.png" in table.stdout
    assert len(table.stdout.splitlines()) == 8
    assert len(list(maps.iterdir())) == 14, "a second run overwrites nothing"


def test_an_overlay_that_cannot_be_written_loses_no_answer(
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
    answers = json.loads(done.stdout)
    assert [Path(answer["path"]).name for answer in answers] == ["a.png", "full.png", "z.png"]
    assert all("predicted_class" in answer for answer in answers)
    assert [answer.get("overlay_error") for answer in answers] == [None, "No space left on device", None]
    assert len(list((tmp_path / "maps").iterdir())) == 2
    assert done.exit_code == 2 and "No space left on device" in done.stderr


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[list[tuple[Path, str, str]]]:
    """Paths that are no regular files, with the reason and the detail of each."""
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


def test_what_is_no_regular_file_is_rejected_without_waiting(
    tiny_model_folder: Path, good: Path, odd: list[tuple[Path, str, str]]
) -> None:
    files = [str(path) for path, _, _ in odd]
    done = run_braintumor(Settings(), "predict", *files, str(good), "--model", str(tiny_model_folder), "--json")
    *rejected, answer = json.loads(done.stdout)
    assert rejected == [{"path": str(path), "rejected": reason, "detail": detail} for path, reason, detail in odd]
    assert "predicted_class" in answer


def test_a_file_that_may_not_be_read_is_rejected(
    tiny_model_folder: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, model = named(good, b"locked.png"), LoadedModel.load(tiny_model_folder)
    opened = Path.open

    def refuse(self: Path, *arguments: object, **more: object) -> object:
        if self == locked:
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)  # because tests may run as root, who may read everything
    first, second = (result.to_values() for result in predict_files(model, [locked, good]))
    assert (first["rejected"], first["detail"]) == ("access_denied", "the file cannot be opened: Permission denied")
    assert "predicted_class" in second
