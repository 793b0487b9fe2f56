"""Define a recipe: a named and versioned set of hyperparameters in one TOML file. This module needs no Keras.

A training has two stages. The frozen stage fits the head on cached features. With a table ``[fine_tuning]``, a second
stage trains the backbone too. A table ``[augmentation]`` changes training images at random in both stages.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_type_hints

from braintumor.errors import RecipeError

BackboneName = Literal["vgg16", "resnet50", "mobilenet_v2"]
InitialWeights = Literal["imagenet", "file", "random"]
Scaling = Literal["backbone", "unit"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["float32", "mixed_bfloat16"]

_FOLDER = Path(__file__).with_name("recipes")
STRIDE = 32
"""Side of one cell of the activation map in pixels, because each backbone here halves its input five times."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Set the random changes of training images. A 0 turns a change off.

    Attributes:
        views: number of augmented copies of the training images. The frozen stage caches their features, and those of
            the plain images. Each epoch uses the next view. With a view per epoch, each epoch has new changes.
        rotation: largest angle in degrees, in both directions.
        horizontal_flip: mirror left and right at random.
        width_shift: largest shift as a share of the width, in both directions.
        height_shift: largest shift as a share of the height, in both directions.
        shear: largest horizontal shear as a share of the width.
        zoom: largest change of size as a share, in and out.
    """

    views: int = 1
    rotation: float = 0.0
    horizontal_flip: bool = False
    width_shift: float = 0.0
    height_shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Set the second stage: AdamW on backbone and head, starting from the head of the first stage.

    Attributes:
        epochs: largest number of epochs.
        learning_rate: peak of the learning rate.
        schedule: ``cosine`` rises over a tenth of the steps and falls to zero, ``constant`` does not change.
        weight_decay: weight decay of AdamW.
        patience: epochs without a lower validation loss before training stops.
        from_layer: Keras name of the first layer of the backbone that is trained. Empty trains all layers.
        freeze_batch_norm: keep the pretrained averages of batch normalization.
        precision: ``float32`` or ``mixed_bfloat16``. ``mixed_bfloat16`` computes the backbone in 16 bits on GPUs that
            can, and keeps float32 weights.
        cached_views: number of augmented copies of the training images for which the outputs of the layers below
            ``from_layer`` are cached, and those of the plain images. Each epoch uses the next copy. Without
            augmentation, only the plain images are cached. 0 caches nothing, and each epoch has new changes.
    """

    epochs: int
    learning_rate: float
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-4
    patience: int = 5
    from_layer: str = ""
    freeze_batch_norm: bool = True
    precision: Precision = "float32"
    cached_views: int = 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hold all values that determine a training, besides the data and the code.

    Attributes:
        name: the file's name without ``.toml``.
        version: increased with each change of a value.
        backbone: a key of ``backbones.BACKBONES``.
        initial_weights: ``imagenet``, ``file`` or ``random``.
        image_size: side S of the square input in pixels, a multiple of 32.
        weights_file: with ``file``, the path or ``s3://`` address of the backbone's weights, without the
            classification layers (top).
        weights_sha256: sha256 of ``weights_file``, required with ``file``. With ``imagenet``, the required sha256 of
            the file in the mirror, the store of weights files (``BRAINTUMOR_WEIGHTS_URI``).
        scaling: pixel scaling. ``backbone`` scales as the pretraining of the backbone did, ``unit`` divides by 255 as
            in the paper.
        dropout: dropout rate on the pooled features.
        l2: factor of the L2 penalty on the head's kernel, in the frozen stage.
        label_smoothing: share of each label that is spread over all classes.
        class_weights: weight each class by its inverse frequency.
        epochs: largest number of epochs in the frozen stage. Early stopping can end it sooner.
        batch_size: images per step.
        learning_rate: learning rate of Adam in the frozen stage.
        patience: epochs without a lower validation loss before training stops.
        flip_views: the frozen stage also trains on the left-right mirrored image of every training image.
        seed: seed of the initialization, the batch order and the augmentation.
        augmentation: random changes of training images, if any.
        fine_tuning: the second stage, if any.
    """

    name: str
    version: int
    backbone: BackboneName
    initial_weights: InitialWeights
    image_size: int
    dropout: float
    l2: float
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    seed: int
    weights_file: str = ""
    weights_sha256: str = ""
    scaling: Scaling = "backbone"
    label_smoothing: float = 0.0
    class_weights: bool = False
    flip_views: bool = False
    augmentation: Augmentation | None = None
    fine_tuning: FineTuning | None = None

    @classmethod
    def load(cls, name: str) -> Self:
        """Read a packaged recipe by name, or any recipe by its path (ending in ``.toml``).

        Raises:
            RecipeError: the recipe does not exist, is not TOML, or a value is missing, unknown or out of range.
        """
        path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as exc:
            raise RecipeError(f"There is no recipe {name!r}. Allowed: {', '.join(recipe_names())}.") from exc
        except OSError as exc:
            raise RecipeError(f"The recipe {path} cannot be read: {exc.strerror}. Give a readable TOML file.") from exc
        except ValueError as exc:  # not TOML, or not UTF-8
            raise RecipeError(f"{path} is not TOML: {exc}. Correct that line.") from exc
        if "name" in values:
            raise RecipeError(
                f"{path} must have no `name`, because its file name is its name. "
                f"Received: {values['name']!r}. Remove the line."
            )
        return cls.from_values({"name": path.stem, **values})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Return a recipe with these plain values, and check the values.

        Raises:
            RecipeError: a value is missing, unknown or out of range.
        """
        where = f"Recipe {values.get('name')!r}"
        checked = {**values}
        for key, section in _SECTIONS.items():
            if checked.get(key) is not None:
                checked[key] = _built(section, checked[key], where=f"{where}, table {key}")
        recipe: Self = _built(cls, checked, where=where)
        return recipe._checked()

    def override(self, **values: Any) -> Self:
        """Return a checked copy of the recipe with some values replaced.

        In a table only the given keys are replaced. ``None`` or ``False`` removes the whole table.

        Raises:
            RecipeError: a key is unknown, a value is out of range, or the key is ``name`` or ``version``.
        """
        if fixed := values.keys() & _FIXED:
            raise RecipeError(
                f"Recipe {self.name!r}: {' and '.join(sorted(fixed))} cannot be overridden, because they identify "
                "the file. Allowed: all other keys. Write another recipe file for another name or version."
            )
        return self.from_values(_merged(self.to_values(), values))

    def changes_from(self, original: Recipe) -> dict[str, Any]:
        """Return the values of this recipe that differ from ``original``, by key.

        A key in a table is ``table.key``. A removed table has the value ``None``.
        """
        ours, theirs = _flat(self.to_values()), _flat(original.to_values())
        return {key: value for key, value in ours.items() if key not in theirs or theirs[key] != value}

    def to_values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def _checked(self) -> Self:
        _check(self, _RULES, where=f"Recipe {self.name!r}: ")
        for key in _SECTIONS:
            section = getattr(self, key)
            if section is not None:
                _check(section, _SECTION_RULES[key], where=f"Recipe {self.name!r}: {key}.")
        if self.flip_views and self.augmentation is not None:
            raise RecipeError(
                f"Recipe {self.name!r}: flip_views is only for recipes without augmentation. Received both. "
                "Remove one, because augmentation has horizontal_flip."
            )
        plan = self.fine_tuning
        if plan is not None and plan.cached_views and not plan.from_layer:
            raise RecipeError(
                f"Recipe {self.name!r}: fine_tuning.cached_views needs from_layer, because the layers below it are "
                f"cached. Received: {plan.cached_views} without it. Add from_layer, or set cached_views to 0."
            )
        self._check_weights()
        return self

    def _check_weights(self) -> None:
        is_file = self.initial_weights == "file"
        if bool(self.weights_file) != is_file or (is_file and not self.weights_sha256):
            raise RecipeError(
                f"Recipe {self.name!r}: initial_weights = 'file' needs weights_file and weights_sha256, other values "
                f"have no weights_file. Received: initial_weights = {self.initial_weights!r}, weights_file = "
                f"{self.weights_file!r}, weights_sha256 = {self.weights_sha256!r}."
            )
        if self.weights_sha256 and self.initial_weights == "random":
            raise RecipeError(f"Recipe {self.name!r}: random weights have no weights_sha256. Remove it.")


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


_FIXED = {"name", "version"}
_SECTIONS: dict[str, type[Augmentation] | type[FineTuning]] = {"augmentation": Augmentation, "fine_tuning": FineTuning}


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with ``changes``.

    A table is changed key by key. ``None`` or ``False`` removes a table.
    """
    merged = {**values}
    for key, change in changes.items():
        if key in _SECTIONS and isinstance(change, Mapping):
            merged[key] = {**(values[key] or {}), **change}
        else:
            merged[key] = None if key in _SECTIONS and change is False else change
    return merged


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values without nesting. A value in a table has the key ``table.key``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, Mapping) else {key: value}
    return flat


def _built(kind: Any, values: Any, *, where: str) -> Any:
    known = {f.name for f in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is MISSING}
    if not isinstance(values, Mapping) or values.keys() - known or required - values.keys():
        given = values.keys() if isinstance(values, Mapping) else {repr(values)}
        raise RecipeError(
            f"{where}: unknown keys {sorted(given - known)}, missing keys {sorted(required - given)}. "
            f"Allowed: {', '.join(sorted(known))}."
        )
    return kind(**values)


@dataclass(frozen=True, kw_only=True)
class _Rule:
    key: str
    allowed: str
    holds: Callable[[Any], bool]


def _check(values: object, rules: tuple[_Rule, ...], *, where: str) -> None:
    for rule in rules:
        value = getattr(values, rule.key)
        if not rule.holds(value):
            raise RecipeError(f"{where}{rule.key} must be {rule.allowed}. Received: {value!r}.")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _at_least(key: str, least: int) -> _Rule:
    return _Rule(key=key, allowed=f"a whole number, {least} or more", holds=lambda v: _is_int(v) and v >= least)


def _between(key: str, low: float, high: float) -> _Rule:
    return _Rule(
        key=key,
        allowed=f"a number from {low} up to, but not including, {high}",
        holds=lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v < high,
    )


def _yes_or_no(key: str) -> _Rule:
    return _Rule(key=key, allowed="true or false", holds=lambda v: isinstance(v, bool))


def _one_of(kind: Any, key: str) -> _Rule:
    allowed = get_args(get_type_hints(kind)[key])
    return _Rule(key=key, allowed=f"one of {', '.join(allowed)}", holds=lambda v: v in allowed)


_RULES = (
    _at_least("version", 1),
    _one_of(Recipe, "backbone"),
    _one_of(Recipe, "initial_weights"),
    _Rule(key="weights_file", allowed="a path or an s3:// address", holds=lambda v: isinstance(v, str)),
    _Rule(
        key="weights_sha256",
        allowed="64 hexadecimal digits",
        holds=lambda v: isinstance(v, str) and (v == "" or re.fullmatch("[0-9a-f]{64}", v) is not None),
    ),
    _one_of(Recipe, "scaling"),
    _Rule(
        key="image_size",
        allowed=f"a multiple of {STRIDE}, from {2 * STRIDE} to 1024",
        holds=lambda v: _is_int(v) and v % STRIDE == 0 and 2 * STRIDE <= v <= 1024,  # noqa: PLR2004
    ),
    _between("dropout", 0.0, 1.0),
    _between("l2", 0.0, 1.0),
    _between("label_smoothing", 0.0, 1.0),
    _yes_or_no("class_weights"),
    _at_least("epochs", 1),
    _at_least("batch_size", 1),
    _between("learning_rate", 1e-7, 1.0),
    _at_least("patience", 1),
    _yes_or_no("flip_views"),
    _at_least("seed", 0),
)
_SECTION_RULES = {
    "augmentation": (
        _at_least("views", 1),
        _between("rotation", 0.0, 180.0),
        _yes_or_no("horizontal_flip"),
        *(_between(key, 0.0, 1.0) for key in ("width_shift", "height_shift", "shear", "zoom")),
    ),
    "fine_tuning": (
        _at_least("epochs", 1),
        _between("learning_rate", 1e-7, 1.0),
        _one_of(FineTuning, "schedule"),
        _between("weight_decay", 0.0, 1.0),
        _at_least("patience", 1),
        _Rule(key="from_layer", allowed="a layer's name, or empty", holds=lambda v: isinstance(v, str)),
        _yes_or_no("freeze_batch_norm"),
        _one_of(FineTuning, "precision"),
        _at_least("cached_views", 0),
    ),
}
