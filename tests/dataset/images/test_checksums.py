from __future__ import annotations

import csv
import json
from hashlib import sha256
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images.checksums import read_manifest, verify_folder
from braintumor.errors import DatasetError
from tests.conftest import run_braintumor


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Five files in the layout of the paper's set, and their manifest beside the folder."""
    lines = [["path", "sha256", "size_bytess"]]
    for number in range(1, 6):
        path = tmp_path / "set" / "Data" / "glioma_tumor" / f"G_{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 100)
        digest = sha256(path.read_bytes()).hexdigest()
        lines.append([path.relative_to(tmp_path / "set").as_posix(), digest, "100"])
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return tmp_path


def test_a_whole_download_passes(download: Path) -> None:
    found = verify_folder(download / "set", read_manifest(download / "manifest.csv"))
    assert found.is_whole and found.count_ok == 5 and found.unlisted == ()


def test_what_is_missing_truncated_changed_or_more_is_named_and_the_exit_code_says_so(download: Path) -> None:
    folder = download / "set" / "Data" / "glioma_tumor"
    (folder / "G_1.jpg").unlink()
    (folder / "G_2.jpg").write_bytes(bytes([2]) * 50)
    (folder / "G_3.jpg").write_bytes(bytes([9]) * 100)
    (folder / "more.jpg").write_bytes(b"x")
    arguments = ("dataset", "verify-checksums", str(download / "set"), "--manifest", str(download / "manifest.csv"))
    done = run_braintumor(Settings(), *arguments, "--json", check=False)
    assert done.returncode == 1 and "Download it again" in done.stderr
    assert json.loads(done.stdout) == {
        "ok": 2,
        "is_whole": False,
        "missing": ["Data/glioma_tumor/G_1.jpg"],
        "truncated": ["Data/glioma_tumor/G_2.jpg"],
        "changed": ["Data/glioma_tumor/G_3.jpg"],
        "unlisted": ["Data/glioma_tumor/more.jpg"],
    }
    for_people = run_braintumor(Settings(), *arguments, check=False)
    assert "2 of 5 files are there and unchanged" in for_people.stdout
    assert "truncated: Data/glioma_tumor/G_2.jpg" in for_people.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,sha256\na,b\n", "lacks the columns size_bytess"),
        ("", "lacks the columns path, sha256, size_bytess"),
        (f"path,sha256,size_bytess\n../../etc/passwd,{'0' * 64},1\n", "Line 2 of .* is not a relative path"),
        (f"path,sha256,size_bytess\na,{'0' * 64},large\n", "Line 2"),
        ("path,sha256,size_bytess\na,short,1\n", "Line 2"),
    ],
)
def test_a_manifest_that_is_none_is_named_by_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_manifest(path)


def test_a_manifest_or_folder_that_is_not_there_is_named(download: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.csv cannot be read"):
        read_manifest(download / "nowhere.csv")
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        verify_folder(download / "nowhere", read_manifest(download / "manifest.csv"))
