from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braintumor.errors import RecipeError
from braintumor.modelling.backbone import BACKBONES
from braintumor.modelling.recipe import Recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_is_valid_and_has_a_backbone(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name and recipe.backbone in BACKBONES
    assert Recipe.from_values(recipe.to_values()) == recipe


def test_both_of_the_papers_backbones_have_a_recipe() -> None:
    assert {"vgg16", "resnet50"} <= {Recipe.load(name).backbone for name in recipe_names()}


def test_an_unknown_recipe_is_named_with_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"'vgg99'.*resnet50"):
        Recipe.load("vgg99")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dropout", 1.5),
        ("dropout", "much"),
        ("epochs", 0),
        ("epochs", True),
        ("image_size", 100),
        ("image_size", 32),
        ("learning_rate", 0),
        ("backbone", "alexnet"),
        ("initial_weights", "last week's"),
        ("flip_views", 1),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(key: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"{key} must be .*Received: {value!r}"):
        Recipe.load("vgg16").override(**{key: value})


def test_unknown_and_missing_keys_are_named() -> None:
    values = Recipe.load("vgg16").to_values()
    del values["seed"]
    with pytest.raises(RecipeError, match=r"unknown keys \['droput'\], missing keys \['seed'\]"):
        Recipe.from_values({**values, "droput": 0.5})


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("version = = 1")
    with pytest.raises(RecipeError, match=r"broken\.toml is not TOML"):
        Recipe.load(str(path))
