from __future__ import annotations

import csv
import errno
import json
from hashlib import sha256
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images import checksums
from braintumor.dataset.images.checksums import read_manifest, verify_folder
from braintumor.errors import DatasetError
from tests.conftest import invoke


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Write five files in the layout of the paper's dataset, and their manifest next to the folder."""
    lines = [["path", "sha256", "size_bytes"]]
    for number in range(1, 6):
        path = tmp_path / "set" / "Data" / "glioma_tumor" / f"G_{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 100)
        digest = sha256(path.read_bytes()).hexdigest()
        lines.append([path.relative_to(tmp_path / "set").as_posix(), digest, "100"])
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return tmp_path


def test_complete_download_passes(download: Path) -> None:
    verification = verify_folder(download / "set", read_manifest(download / "manifest.csv"))
    assert verification.is_whole and verification.count_ok == 5 and verification.unlisted == ()


def test_verify_lists_differences_and_exits_with_one(download: Path) -> None:
    folder = download / "set" / "Data" / "glioma_tumor"
    (folder / "G_1.jpg").unlink()
    (folder / "G_2.jpg").write_bytes(bytes([2]) * 50)
    (folder / "G_3.jpg").write_bytes(bytes([9]) * 100)
    (folder / "more.jpg").write_bytes(b"x")
    arguments = ("dataset", "verify-checksums", str(download / "set"), "--manifest", str(download / "manifest.csv"))
    done = invoke(Settings(), *arguments, "--json")
    assert done.exit_code == 1 and "Download it again" in done.stderr
    assert json.loads(done.stdout) == {
        "ok": 2,
        "is_whole": False,
        "missing": ["Data/glioma_tumor/G_1.jpg"],
        "truncated": ["Data/glioma_tumor/G_2.jpg"],
        "unreadable": [],
        "changed": ["Data/glioma_tumor/G_3.jpg"],
        "unlisted": ["Data/glioma_tumor/more.jpg"],
    }
    for_people = invoke(Settings(), *arguments)
    assert "2 of 5 files are present and unchanged" in for_people.stdout
    assert "truncated: Data/glioma_tumor/G_2.jpg" in for_people.stderr


def test_unreadable_file_is_listed(download: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> str:
        if path.name == "G_1.jpg":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(checksums, "sha256_of", closed)
    verification = verify_folder(download / "set", read_manifest(download / "manifest.csv"))
    assert verification.unreadable == ("Data/glioma_tumor/G_1.jpg",) and verification.count_ok == 4
    assert not verification.is_whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,sha256\na,b\n", "lacks the columns size_bytes"),
        ("", "lacks the columns path, sha256, size_bytes"),
        (f"path,sha256,size_bytes\n../../etc/passwd,{'0' * 64},1\n", "Line 2 of .* is not a relative path"),
        (f"path,sha256,size_bytes\na,{'0' * 64},large\n", "Line 2"),
        ("path,sha256,size_bytes\na,short,1\n", "Line 2"),
        (f"path,sha256,size_bytes\na,{'0' * 64},1²\n", "Line 2"),
    ],
)
def test_invalid_manifest_error_names_the_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_manifest(path)


def test_missing_manifest_or_folder_is_named(download: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.csv cannot be read"):
        read_manifest(download / "nowhere.csv")
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        verify_folder(download / "nowhere", read_manifest(download / "manifest.csv"))
