"""Check the demo's inputs: given folders and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.config.variables import DEMO_DATASET, DEMO_NIGHT, DEMO_WEIGHTS
from braintumor.s3 import ObjectStore, S3Uri
from devstack.demo import Choice, DemoError
from devstack.demo_scans import write_demo_scans


def test_equal_file_names_in_two_folders_are_both_uploaded(empty_settings: Settings, tmp_path: Path) -> None:
    given = tmp_path / "given"
    for folder in ("a", "b"):
        (given / folder).mkdir(parents=True)
        (given / folder / "IM1.dcm").write_bytes(folder.encode())
    store, scans = ObjectStore.connect(empty_settings), S3Uri.parse("s3://braintumor/scans-of-two-folders/")
    write_demo_scans(store, scans, tmp_path, given)
    arrived = {entry.key.removeprefix(scans.key) for entry in store.list(scans)}
    assert {"night-0001/a/IM1.dcm", "night-0001/b/IM1.dcm"} <= arrived


@pytest.mark.parametrize("variable", [DEMO_DATASET, DEMO_NIGHT, DEMO_WEIGHTS], ids=lambda variable: str(variable.name))
def test_missing_or_empty_demo_input_is_refused(variable: object, tmp_path: Path) -> None:
    name = variable.name  # type: ignore[attr-defined]
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(DemoError, match=rf"{name} names .*, which is not a (file|folder with a file in it)\."):
            Choice.from_environment({name: str(path)})
