"""A recipe: a named, versioned set of hyperparameters, one TOML file each. Importing this needs no keras."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_type_hints

from braintumor.errors import RecipeError

BackboneName = Literal["vgg16", "resnet50", "mobilenet_v2"]
InitialWeights = Literal["imagenet", "random"]

_FOLDER = Path(__file__).with_name("recipes")
_STRIDE = 32
"""Every backbone here halves its input five times."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training, beside the data and the code.

    Attributes:
        name: the file's name without ``.toml``.
        version: raised whenever a value changes.
        backbone: a key of ``backbones.BACKBONES``.
        initial_weights: ``imagenet``, or ``random`` where a recipe says so.
        image_size: side S of the square input in pixels, a multiple of 32.
        dropout: rate on the pooled features.
        l2: weight of the L2 penalty on the head's kernel.
        epochs: upper bound; early stopping may end sooner.
        batch_size: images per step.
        learning_rate: of Adam.
        patience: epochs without a better validation loss before stopping.
        flip_views: also train on the left-right mirrored image of every training image.
        seed: of the initialisation and of the order of the batches.
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
    flip_views: bool
    seed: int

    @classmethod
    def load(cls, name: str) -> Self:
        """Read a packaged recipe by name, or any recipe by its path (ending in ``.toml``).

        Raises:
            RecipeError: there is none of that name, it is not TOML, or a value is missing, unknown or out of range.
        """
        path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
        try:
            values = tomllib.loads(path.read_text())
        except FileNotFoundError as exc:
            raise RecipeError(f"There is no recipe {name!r}. Allowed: {', '.join(recipe_names())}.") from exc
        except tomllib.TOMLDecodeError as exc:
            raise RecipeError(f"{path} is not TOML: {exc}.") from exc
        return cls.from_values({"name": path.stem, **values})

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Build from plain values, all of them checked."""
        known = {f.name for f in fields(cls)}
        if values.keys() != known:
            raise RecipeError(
                f"Recipe {values.get('name')!r}: unknown keys {sorted(values.keys() - known)}, "
                f"missing keys {sorted(known - values.keys())}. Allowed: {', '.join(sorted(known))}."
            )
        return cls(**values)._checked()

    def override(self, **values: Any) -> Self:
        """The same recipe with some values replaced, checked again."""
        return replace(self, **values)._checked()

    def to_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def _checked(self) -> Self:
        for rule in _RULES:
            value = getattr(self, rule.key)
            if not rule.holds(value):
                raise RecipeError(f"Recipe {self.name!r}: {rule.key} must be {rule.allowed}. Received: {value!r}.")
        return self


def recipe_names() -> list[str]:
    """The packaged recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


@dataclass(frozen=True, kw_only=True)
class _Rule:
    key: str
    allowed: str
    holds: Callable[[Any], bool]


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


def _one_of(key: str) -> _Rule:
    allowed = get_args(get_type_hints(Recipe)[key])
    return _Rule(key=key, allowed=f"one of {', '.join(allowed)}", holds=lambda v: v in allowed)


_RULES = (
    _at_least("version", 1),
    _one_of("backbone"),
    _one_of("initial_weights"),
    _Rule(
        key="image_size",
        allowed=f"a multiple of {_STRIDE}, from {2 * _STRIDE} to 1024",
        holds=lambda v: _is_int(v) and v % _STRIDE == 0 and 2 * _STRIDE <= v <= 1024,  # noqa: PLR2004
    ),
    _between("dropout", 0.0, 1.0),
    _between("l2", 0.0, 1.0),
    _at_least("epochs", 1),
    _at_least("batch_size", 1),
    _between("learning_rate", 1e-7, 1.0),
    _at_least("patience", 1),
    _Rule(key="flip_views", allowed="true or false", holds=lambda v: isinstance(v, bool)),
    _at_least("seed", 0),
)
