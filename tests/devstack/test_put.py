"""Check that ``python -m devstack put`` refuses a folder without files."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.__main__ import main


@pytest.mark.parametrize("name", ["missing", "empty", "file.jpg"])
def test_put_refuses_what_is_no_folder_with_files(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.jpg").touch()
    assert main(["--state-dir", str(tmp_path / "state"), "put", str(tmp_path / name)]) == 1
    assert f"{tmp_path / name} is not a folder with files. Give a folder." in capsys.readouterr().err
