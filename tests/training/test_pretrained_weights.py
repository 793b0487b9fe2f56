"""Test initial weights from a mirror or a file. Incomplete and unexpected files are refused before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import WeightsError
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.training.pretrained_weights import mirrored_name, pretrained_weights
from braintumor.training.recipe import Recipe
from tests.conftest import TINY_RECIPE, run_braintumor
from tests.sql import rows
from tests.training.keras_checks import run_check

DATA = b"weights of a backbone"
DIGEST = sha256(DATA).hexdigest()
NAME = mirrored_name("resnet50")
RECIPE = Recipe.load("resnet50")


class Mirror:
    """Store files in a mirror in S3 or in a folder."""

    def __init__(self, settings: Settings, folder: Path | None) -> None:
        self._folder = folder
        self._store = ObjectStore.connect(settings)
        self.settings = settings if folder is None else replace(settings, weights_uri=str(folder))

    def put(self, name: str, data: bytes) -> str:
        """Store a file, and return its path or URI."""
        if self._folder is not None:
            (self._folder / name).write_bytes(data)
            return str(self._folder / name)
        uri = S3Uri.parse_prefix(self.settings.require("weights_uri")) / name
        self._store.write(uri, data)
        return str(uri)

    def weights_of(self, recipe: Recipe) -> bytes | None:
        """Return the initial weights of ``recipe``."""
        with pretrained_weights(self.settings, recipe) as file:
            assert file is None or file.sha256 == sha256(file.path.read_bytes()).hexdigest()
            return None if file is None else file.path.read_bytes()


@pytest.fixture(params=["s3", "folder"])
def mirror(request: pytest.FixtureRequest, empty_settings: Settings, tmp_path: Path) -> Iterator[Mirror]:
    """Provide an empty mirror in S3 and in a folder."""
    (tmp_path / "mirror").mkdir()
    return Mirror(empty_settings, tmp_path / "mirror" if request.param == "folder" else None)


def test_mirrored_weights_are_checked_and_returned(mirror: Mirror) -> None:
    mirror.put(NAME, DATA)
    mirror.put(f"{NAME}.sha256", f"{DIGEST}  {NAME}\n".encode())
    assert mirror.weights_of(RECIPE) == DATA
    assert mirror.weights_of(RECIPE.override(weights_sha256=DIGEST)) == DATA


def test_empty_mirror_and_random_weights_return_none(mirror: Mirror) -> None:
    assert mirror.weights_of(RECIPE) is None
    mirror.put(NAME, DATA)
    assert mirror.weights_of(RECIPE.override(initial_weights="random")) is None


def test_truncated_weights_are_refused_with_both_sha256s(mirror: Mirror) -> None:
    mirror.put(NAME, DATA[:-1])
    mirror.put(f"{NAME}.sha256", f"{DIGEST}  {NAME}\n".encode())
    wrong = sha256(DATA[:-1]).hexdigest()
    with pytest.raises(WeightsError, match=rf"{wrong[:12]}.*next to it has {DIGEST[:12]}.*braintumor weights add FILE"):
        mirror.weights_of(RECIPE)


@pytest.mark.parametrize("recorded", [None, b"", b"\n"])
def test_weights_without_sha256_are_refused(mirror: Mirror, recorded: bytes | None) -> None:
    mirror.put(NAME, DATA)
    if recorded is not None:
        mirror.put(f"{NAME}.sha256", recorded)
    with pytest.raises(WeightsError, match=rf"no {NAME}\.sha256 next to them.*braintumor weights add"):
        mirror.weights_of(RECIPE)


def test_recipe_can_pin_the_sha256_of_mirrored_weights(mirror: Mirror) -> None:
    pinned = RECIPE.override(weights_sha256="0" * 64)
    with pytest.raises(WeightsError, match=rf"/{NAME} do not exist, and recipe 'resnet50'"):
        mirror.weights_of(pinned)
    mirror.put(NAME, DATA)
    mirror.put(f"{NAME}.sha256", f"{DIGEST}  {NAME}\n".encode())
    with pytest.raises(WeightsError, match=r"recipe 'resnet50' has 000000000000"):
        mirror.weights_of(pinned)


def test_recipe_can_name_its_weights_file(mirror: Mirror) -> None:
    named = RECIPE.override(initial_weights="file", weights_file=mirror.put("ours.h5", DATA), weights_sha256=DIGEST)
    assert mirror.weights_of(named) == DATA
    mirror.put("ours.h5", DATA + b"!")
    with pytest.raises(WeightsError, match=r"ours\.h5 have another sha256 than expected"):
        mirror.weights_of(named)
    with pytest.raises(WeightsError, match=r"nowhere\.h5 do not exist"):
        mirror.weights_of(named.override(weights_file=named.weights_file.replace("ours", "nowhere")))


@pytest.mark.soak
def test_mirrored_weights_are_trained_from_and_recorded(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, weights_uri=str(tmp_path / "mirror"))
    weights = tmp_path / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"  # the name of a Keras download
    run_check("legacy_weights", weights)
    stored = run_braintumor(settings, "weights", "add", str(weights)).stdout
    assert stored == f"stored as weights of vgg16 in {settings.weights_uri}\n"
    recipe = tmp_path / "warm.toml"
    recipe.write_text(TINY_RECIPE.read_text().replace('initial_weights = "random"', 'initial_weights = "imagenet"'))
    ((snapshot,),) = rows(settings, "select snapshot_id from snapshot")
    run_braintumor(
        settings, "train", "--recipe", str(recipe), "--snapshot", snapshot, "--run-key", "warm", "--set", "epochs=1"
    )
    (run,) = rows(settings, "select initialization, initial_weights_sha256 from training_run where run_key = 'warm'")
    assert run == ("imagenet", sha256(weights.read_bytes()).hexdigest())
