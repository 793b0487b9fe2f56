"""Check the demo's inputs: given folders and files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

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
        with pytest.raises(DemoError, match=rf"{name} names .*, which is not a .*folder with a file in it"):
            Choice.from_environment({name: str(path)})


def test_folder_of_weights_means_imagenet_for_small_recipes(tmp_path: Path) -> None:
    (tmp_path / "resnet50.h5").write_bytes(b"weights")
    folder = Choice.from_environment({DEMO_WEIGHTS.name: str(tmp_path)})
    file = Choice.from_environment({DEMO_WEIGHTS.name: str(tmp_path / "resnet50.h5")})
    assert (folder.is_imagenet, file.is_imagenet) == (True, False)
    assert "with ImageNet weights" in folder.describe() and "RANDOM initial weights" in file.describe()
    folder.require_weights()  # downloads nothing, because the folder is given


def test_imagenet_without_network_names_the_remedies() -> None:
    check = "from devstack.demo import Choice; Choice.from_environment().require_weights()"
    no_way_out = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    with TemporaryDirectory() as cache:
        environment = {**os.environ, "KERAS_HOME": cache, **no_way_out, DEMO_WEIGHTS.name: "imagenet"}
        done = subprocess.run(
            [sys.executable, "-c", check], env=environment, capture_output=True, text=True, check=False
        )
    error = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "BRAINTUMOR_DEMO_WEIGHTS=imagenet: ImageNet weights of ResNet50 cannot be loaded" in error
    assert "BRAINTUMOR_DEMO_WEIGHTS=<folder>" in error and "random weights" in error
