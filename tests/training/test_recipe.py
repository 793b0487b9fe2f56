from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braintumor.errors import RecipeError
from braintumor.training.backbones import BACKBONES
from braintumor.training.recipe import Recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipe_is_valid_and_has_a_backbone(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name and recipe.backbone in BACKBONES
    assert Recipe.from_values(recipe.to_values()) == recipe


def test_both_paper_backbones_have_a_recipe() -> None:
    assert {"vgg16", "resnet50"} <= {Recipe.load(name).backbone for name in recipe_names()}


def test_unknown_recipe_error_lists_allowed_names() -> None:
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
        ("scaling", "whitened"),
        ("label_smoothing", 1.0),
        ("class_weights", "yes"),
        ("weights_sha256", "abc"),
    ],
)
def test_value_out_of_range_error_states_allowed_values(key: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"{key} must be .*Received: {value!r}"):
        Recipe.load("vgg16").override(**{key: value})


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("augmentation", "rotation", 360),
        ("augmentation", "views", 0),
        ("augmentation", "horizontal_flip", 1),
        ("augmentation", "zoom", 1.0),
        ("fine_tuning", "epochs", 0),
        ("fine_tuning", "schedule", "stairs"),
        ("fine_tuning", "precision", "float16"),
        ("fine_tuning", "learning_rate", 2.0),
        ("fine_tuning", "cached_views", -1),
    ],
)
def test_table_value_out_of_range_error_names_the_table(table: str, key: str, value: Any) -> None:
    values = Recipe.load("resnet50").to_values()
    values[table] = {**values[table], key: value}
    with pytest.raises(RecipeError, match=rf"{table}\.{key} must be .*Received: {value!r}"):
        Recipe.from_values(values)


def test_unknown_table_key_error_lists_allowed_keys() -> None:
    values = Recipe.load("resnet50").to_values()
    with pytest.raises(RecipeError, match=r"augmentation: unknown key 'tilt'.*Allowed: .*rotation.*Received: 20"):
        Recipe.from_values({**values, "augmentation": {"tilt": 20}})
    with pytest.raises(RecipeError, match=r"fine_tuning: missing key 'epochs'\. Required: epochs, learning_rate"):
        Recipe.from_values({**values, "fine_tuning": {}})
    with pytest.raises(RecipeError, match=r"fine_tuning must be a table with epochs, .*Received: 3\. Write"):
        Recipe.from_values({**values, "fine_tuning": 3})


def test_flip_views_with_augmentation_are_refused() -> None:
    with pytest.raises(RecipeError, match="flip_views is only for recipes without augmentation"):
        Recipe.load("resnet50").override(flip_views=True)


@pytest.mark.parametrize(
    ("name", "backbone", "scaling", "dropout", "epochs"),
    [
        ("paper_vgg16", "vgg16", "backbone", 0.5, 10),
        ("paper_vgg16_augmented", "vgg16", "backbone", 0.5, 12),
        ("paper_resnet_dropout_01", "resnet50", "backbone", 0.1, 10),
        ("paper_resnet_dropout_08_8_epochs", "resnet50", "backbone", 0.8, 8),
        ("paper_resnet_dropout_08_15_epochs", "resnet50", "backbone", 0.8, 15),
    ],
)
def test_paper_recipes_have_the_values_of_the_closest_reading(
    name: str, backbone: str, scaling: str, dropout: float, epochs: int
) -> None:
    recipe, is_augmented = Recipe.load(name), name.endswith("augmented")
    assert (recipe.backbone, recipe.dropout, recipe.epochs) == (backbone, dropout, epochs)
    assert (recipe.batch_size, recipe.image_size, recipe.patience, recipe.scaling) == (32, 224, 5, scaling)
    assert (recipe.augmentation is not None) == is_augmented and recipe.fine_tuning is None
    if recipe.augmentation is not None:
        assert (recipe.augmentation.rotation, recipe.augmentation.zoom) == (36, 0.1)
        assert recipe.augmentation.views + 1 == epochs, "one view per epoch"


def test_unknown_and_missing_keys_are_named() -> None:
    values = Recipe.load("vgg16").to_values()
    del values["seed"]
    with pytest.raises(RecipeError, match=r"Recipe 'vgg16': unknown key 'droput'\. Allowed: .*dropout"):
        Recipe.from_values({**values, "droput": 0.5})
    with pytest.raises(RecipeError, match=r"Recipe 'vgg16': missing key 'seed'\. Required: .*seed"):
        Recipe.from_values(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(RecipeError, match=r"dropout must be a number from 0 up to.*Received: -?(nan|inf)"):
        Recipe.load("vgg16").override(dropout=value)


def test_invalid_toml_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("version = = 1")
    with pytest.raises(RecipeError, match=r"broken\.toml is not TOML"):
        Recipe.load(str(path))
    path.write_bytes(b"# caf\xe9")
    with pytest.raises(RecipeError, match=r"broken\.toml is not TOML"):
        Recipe.load(str(path))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RecipeError, match=r"folder\.toml cannot be read: Is a directory"):
        Recipe.load(str(tmp_path / "folder.toml"))


def test_name_inside_a_recipe_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "resnet50"\n' + Path("tests/tiny.toml").resolve().read_text())
    with pytest.raises(RecipeError, match=r"must have no `name`.* Received: 'resnet50'"):
        Recipe.load(str(path))


@pytest.mark.parametrize(
    "values",
    [
        {"initial_weights": "file"},
        {"initial_weights": "file", "weights_file": "ours.h5"},
        {"initial_weights": "imagenet", "weights_file": "ours.h5"},
        {"initial_weights": "random", "weights_sha256": "0" * 64},
    ],
)
def test_initial_weights_must_match_the_weights_file(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"weights_(file|sha256)"):
        Recipe.load("vgg16").override(**values)


def test_override_replaces_single_values_and_lists_changes() -> None:
    recipe = Recipe.load("paper_vgg16_augmented")
    changed = recipe.override(dropout=0.3, epochs=recipe.epochs, augmentation={"zoom": 0.2})
    assert recipe.augmentation and changed.augmentation == recipe.augmentation.model_copy(update={"zoom": 0.2})
    assert changed.changes_from(recipe) == {"dropout": 0.3, "augmentation.zoom": 0.2}
    assert recipe.override().changes_from(recipe) == {}


@pytest.mark.parametrize("nothing", [None, False])
def test_override_can_remove_a_table(nothing: object) -> None:
    recipe = Recipe.load("paper_vgg16_augmented")
    plain = recipe.override(augmentation=nothing)
    assert plain.augmentation is None
    assert plain.changes_from(recipe) == {"augmentation": None}


@pytest.mark.parametrize("key", ["name", "version"])
def test_name_and_version_cannot_be_overridden(key: str) -> None:
    with pytest.raises(RecipeError, match=f"{key} cannot be overridden"):
        Recipe.load("vgg16").override(**{key: 7})


def test_unknown_key_cannot_be_overridden() -> None:
    with pytest.raises(RecipeError, match="unknown key 'epoch'"):
        Recipe.load("vgg16").override(epoch=3)


def test_override_with_the_recipes_own_value_is_named() -> None:
    recipe = Recipe.load("resnet50")
    assert recipe.augmentation is not None and recipe.augmentation.zoom != 0.3
    same = {"epochs": recipe.epochs, "augmentation": {"rotation": recipe.augmentation.rotation, "zoom": 0.3}}
    assert recipe.repeated({**same, "dropout": 0.77}) == ["epochs", "augmentation.rotation"]
    assert Recipe.load("resnet50_small").repeated({"fine_tuning": False}) == ["fine_tuning"]
    assert recipe.repeated({"fine_tuning": False, "augmentation": False}) == []


def test_cached_views_without_a_first_layer_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"cached_views needs from_layer, .*Received: 2 without it"):
        Recipe.load("mobilenet_v2_fine").override(fine_tuning={"cached_views": 2})
