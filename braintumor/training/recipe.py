"""A recipe: a named, versioned set of hyperparameters, one TOML file each. Importing this needs no keras.

A training has two stages. The frozen stage fits the head on cached features; a table ``[fine_tuning]`` adds one that
trains the backbone too. A table ``[augmentation]`` changes training images at random in both.
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
"""Pixels of the frame a side of one cell of the map: every backbone here halves its input five times."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images; a 0 leaves one out.

    Attributes:
        views: passes over the training images that the frozen stage caches, beside the images as they are. Epoch by
            epoch it takes the next one, so as many views as epochs are what training on images would see.
        rotation: at most so many degrees, either way.
        horizontal_flip: left and right at random.
        width_shift: at most this share of the width, either way.
        height_shift: at most this share of the height, either way.
        shear: at most this much, horizontally, as a share of the width.
        zoom: at most this share, in or out.
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
    """The second stage: AdamW on backbone and head, from the head that the first stage found.

    Attributes:
        epochs: upper bound.
        learning_rate: its peak.
        schedule: ``cosine`` warms up over a tenth of the steps and falls to zero, ``constant`` stays.
        weight_decay: of AdamW.
        patience: epochs without a better validation loss before stopping.
        from_layer: the first layer of the backbone that is trained, by its Keras name; empty trains all.
        freeze_batch_norm: leave the averages of batch normalization as they came.
        precision: ``float32``, or ``mixed_bfloat16``: the backbone computes in 16 bits where a GPU has units for that,
            and keeps float32 weights.
    """

    epochs: int
    learning_rate: float
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-4
    patience: int = 5
    from_layer: str = ""
    freeze_batch_norm: bool = True
    precision: Precision = "float32"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training, beside the data and the code.

    Attributes:
        name: the file's name without ``.toml``.
        version: raised whenever a value changes.
        backbone: a key of ``backbone.BACKBONES``.
        initial_weights: ``imagenet``, ``file``, or ``random`` where a recipe says so.
        image_size: side S of the square input in pixels, a multiple of 32.
        weights_file: with ``file``: its path or ``s3://`` address; a weights file of the backbone, without its top.
        weights_sha256: what that file must be, needed with ``file``; with ``imagenet`` it pins the mirror's.
        scaling: of pixels: ``backbone``, as its weights were trained, or ``unit``, 1/255 as in the paper.
        dropout: rate on the pooled features.
        l2: weight of the L2 penalty on the head's kernel, in the frozen stage.
        label_smoothing: share of each label that is spread over all classes.
        class_weights: weigh each class by the inverse of its frequency.
        epochs: upper bound of the frozen stage; early stopping may end sooner.
        batch_size: images per step.
        learning_rate: of Adam in the frozen stage.
        patience: epochs without a better validation loss before stopping.
        flip_views: the frozen stage also trains on the left-right mirrored image of every training image.
        seed: of the initialization, of the order of the batches and of the augmentation.
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
            RecipeError: there is none of that name, it is not TOML, or a value is missing, unknown or out of range.
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
                f"{path} names itself {values['name']!r}. A recipe is named as its file is: remove the line."
            )
        return cls.from_values({"name": path.stem, **values})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, all of them checked."""
        where = f"Recipe {values.get('name')!r}"
        found = {**values}
        for key, section in _SECTIONS.items():
            if found.get(key) is not None:
                found[key] = _built(section, found[key], where=f"{where}, table {key}")
        made: Self = _built(cls, found, where=where)
        return made._checked()

    def override(self, **values: Any) -> Self:
        """The same recipe with some values replaced, checked again.

        Of a table only the keys given are replaced; ``None`` or ``False`` leaves the whole table out.

        Raises:
            RecipeError: a key is unknown, a value is out of range, or it is the name or the version of the file.
        """
        if fixed := values.keys() & _FIXED:
            raise RecipeError(
                f"Recipe {self.name!r}: {' and '.join(sorted(fixed))} cannot be overridden: they say which file it "
                "is. Allowed: every other key. Write another recipe file for another name or version."
            )
        return self.from_values(_merged(self.to_values(), values))

    def changes_from(self, original: Recipe) -> dict[str, Any]:
        """The values that ``original`` has not: one of a table as ``table.key``, a table left out as ``None``."""
        ours, theirs = _flat(self.to_values()), _flat(original.to_values())
        return {key: value for key, value in ours.items() if key not in theirs or theirs[key] != value}

    def to_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def _checked(self) -> Self:
        _check(self, _RULES, where=f"Recipe {self.name!r}: ")
        for key in _SECTIONS:
            section = getattr(self, key)
            if section is not None:
                _check(section, _SECTION_RULES[key], where=f"Recipe {self.name!r}: {key}.")
        if self.flip_views and self.augmentation is not None:
            raise RecipeError(
                f"Recipe {self.name!r}: flip_views is for recipes without augmentation. Received both. Remove one; "
                "augmentation has horizontal_flip."
            )
        self._check_weights()
        return self

    def _check_weights(self) -> None:
        is_file = self.initial_weights == "file"
        if bool(self.weights_file) != is_file or (is_file and not self.weights_sha256):
            raise RecipeError(
                f"Recipe {self.name!r}: initial_weights = 'file' needs weights_file and weights_sha256, anything else "
                f"has no weights_file. Received: initial_weights = {self.initial_weights!r}, weights_file = "
                f"{self.weights_file!r}, weights_sha256 = {self.weights_sha256!r}."
            )
        if self.weights_sha256 and self.initial_weights == "random":
            raise RecipeError(f"Recipe {self.name!r}: random weights have no weights_sha256. Remove it.")


def recipe_names() -> list[str]:
    """The packaged recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


_FIXED = {"name", "version"}
_SECTIONS: dict[str, type[Augmentation] | type[FineTuning]] = {"augmentation": Augmentation, "fine_tuning": FineTuning}


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes``, a table's keys one by one; a table that is ``False`` is none."""
    merged = {**values}
    for key, change in changes.items():
        if key in _SECTIONS and isinstance(change, Mapping):
            merged[key] = {**(values[key] or {}), **change}
        else:
            merged[key] = None if key in _SECTIONS and change is False else change
    return merged


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of tables under ``table.key``, beside the others."""
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
    ),
}
