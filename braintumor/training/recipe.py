"""Define a recipe: a named and versioned set of hyperparameters in one TOML file. This module needs no Keras.

A training has two stages. The frozen stage fits the head on cached features. With a table ``[fine_tuning]``, a second
stage trains the backbone too. A table ``[augmentation]`` changes training images at random in both stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from braintumor.config.rule_files import Table, Whole, read_toml
from braintumor.errors import RecipeError

BackboneName = Literal["vgg16", "resnet50", "mobilenet_v2"]
InitialWeights = Literal["imagenet", "file", "random"]
Scaling = Literal["backbone", "unit"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["float32", "mixed_bfloat16"]

_FOLDER = Path(__file__).with_name("recipes")
STRIDE = 32
"""Side of one cell of the activation map in pixels, because each backbone here halves its input five times."""
Fraction = Annotated[float, Field(ge=0, lt=1, description="a number from 0 up to, but not including, 1")]
Rate = Annotated[float, Field(ge=1e-7, lt=1, description="a number from 1e-07 up to, but not including, 1")]
Angle = Annotated[float, Field(ge=0, lt=180, description="a number from 0 up to, but not including, 180")]
Natural = Annotated[int, Field(ge=0, description="a whole number, 0 or more")]
ImageSize = Annotated[
    int,
    Field(ge=2 * STRIDE, le=1024, multiple_of=STRIDE, description=f"a multiple of {STRIDE}, from {2 * STRIDE} to 1024"),
]
Sha256 = Annotated[str, Field(pattern="^([0-9a-f]{64})?$", description="64 hexadecimal digits")]


class Augmentation(Table):
    """Set the random changes of training images. A 0 turns a change off.

    Attributes:
        views: number of augmented copies (views) of the training images. The frozen stage caches the features of these
            views and of the plain images. Each epoch uses the next view. If there is one view for each epoch, each
            epoch has new changes.
        rotation: largest angle in degrees, in both directions.
        width_shift: largest shift as a share of the width, in both directions.
        height_shift: largest shift as a share of the height, in both directions.
        shear: largest horizontal shear as a share of the width.
        zoom: largest change of size as a share, in and out.
        contrast: largest change of the contrast as a share, up and down.
    """

    views: Whole = 1
    rotation: Angle = 0.0
    horizontal_flip: bool = False
    width_shift: Fraction = 0.0
    height_shift: Fraction = 0.0
    shear: Fraction = 0.0
    zoom: Fraction = 0.0
    contrast: Fraction = 0.0


class FineTuning(Table):
    """Set the second stage: AdamW on backbone and head, starting from the head of the first stage.

    Attributes:
        learning_rate: peak of the learning rate.
        schedule: ``cosine`` rises over a tenth of the steps and falls to zero, ``constant`` does not change.
        patience: epochs without a lower validation loss before training stops.
        from_layer: Keras name of the first layer of the backbone that is trained. If it is empty, all layers are
            trained.
        freeze_batch_norm: whether to keep the pretrained averages of batch normalization.
        precision: ``float32`` or ``mixed_bfloat16``. ``mixed_bfloat16`` computes the backbone in 16 bits on GPUs and
            on CPUs with instructions for it, and keeps float32 weights. Other CPUs use float32.
        cached_views: number of augmented copies of the training images. The outputs of the layers below
            ``from_layer`` are cached for these copies and for the plain images. Each epoch uses the next copy.
            Without augmentation, only the outputs for the plain images are cached. With 0, nothing is cached, and
            each epoch has new changes.
    """

    epochs: Whole
    learning_rate: Rate
    schedule: Schedule = "cosine"
    weight_decay: Fraction = 1e-4
    patience: Whole = 5
    from_layer: str = ""
    freeze_batch_norm: bool = True
    precision: Precision = "float32"
    cached_views: Natural = 0


class Recipe(Table):
    """Hold all values that determine a training, besides the data and the code.

    Attributes:
        version: increased with each change of a value.
        backbone: a key of ``backbones.BACKBONES``.
        initial_weights: ``imagenet``, ``file`` or ``random``.
        image_size: side S of the square input in pixels, a multiple of 32.
        weights_file: with ``file``, the path or ``s3://`` address of the backbone's weights, without the
            classification layers (top).
        weights_sha256: sha256 of ``weights_file``, required with ``file``. With ``imagenet``, the required sha256
            of the file in the mirror, the store of weights files (``BRAINTUMOR_WEIGHTS_URI``).
        scaling: pixel scaling. ``backbone`` scales as the pretraining of the backbone did. ``unit`` divides by 255,
            as the paper that this project follows does.
        l2: factor of the L2 penalty on the head's kernel, in the frozen stage.
        label_smoothing: share of each label that is spread over all classes.
        mixup: shape of the beta distribution that draws the shares in which two training images, and their labels, are
            mixed (Zhang et al. 2018, arXiv 1710.09412). The mixed arrays are the inputs of the trained layers: features
            in the frozen stage, cached outputs or images in fine-tuning. With 0, nothing is mixed.
        class_weights: whether to weight each class by its inverse frequency.
        epochs: largest number of epochs in the frozen stage. Early stopping can end it sooner.
        learning_rate: learning rate of Adam in the frozen stage.
        patience: epochs without a lower validation loss before training stops.
        flip_views: whether the frozen stage also trains on the left-right mirrored image of every training image.
        seed: seed of the initialization, the batch order and the augmentation.
    """

    name: str
    version: Whole
    backbone: BackboneName
    initial_weights: InitialWeights
    image_size: ImageSize
    dropout: Fraction
    l2: Fraction
    epochs: Whole
    batch_size: Whole
    learning_rate: Rate
    patience: Whole
    seed: Natural
    weights_file: str = ""
    weights_sha256: Sha256 = ""
    scaling: Scaling = "backbone"
    label_smoothing: Fraction = 0.0
    mixup: Fraction = 0.0
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
        if not path.exists():
            raise RecipeError(f"There is no recipe {name!r}. Allowed: {', '.join(recipe_names())}.")
        values = read_toml(path, what="The recipe", remedy="Give a readable TOML file.", error=RecipeError)
        if "name" in values:
            raise RecipeError(
                f"{path} must have no `name`, because its file name is its name. "
                f"Received: {values['name']!r}. Remove the line."
            )
        return cls.from_values({"name": path.stem, **values})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Return a recipe with these plain values. A missing, unknown or wrong value raises ``RecipeError``."""
        return cls.checked(values, where=f"Recipe {values.get('name')!r}: ", error=RecipeError)

    def override(self, **values: Any) -> Self:
        """Return a checked copy of the recipe with some values replaced. A wrong value raises ``RecipeError``.

        In a table only the given keys are replaced. ``None`` or ``False`` removes the whole table. ``name`` and
        ``version`` cannot be replaced.
        """
        if fixed := values.keys() & _FIXED:
            raise RecipeError(
                f"Recipe {self.name!r}: {' and '.join(sorted(fixed))} cannot be overridden, because they identify "
                "the file. Allowed: all other keys. Write another recipe file for another name or version."
            )
        return self.from_values(_merged(self.to_values(), values))

    def changes_from(self, original: Recipe) -> dict[str, Any]:
        """Return the values that differ from ``original``, by key or ``table.key``. A removed table is ``None``."""
        ours, theirs = _flat(self.to_values()), _flat(original.to_values())
        return {key: value for key, value in ours.items() if key not in theirs or theirs[key] != value}

    def repeated(self, values: Mapping[str, Any]) -> list[str]:
        """Return the keys of ``values`` whose override would change nothing, because the recipe has the same values."""
        changed = self.override(**values).changes_from(self)
        return [key for key in _flat(values) if key not in changed]

    def to_values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return self.model_dump()

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
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
        is_file = self.initial_weights == "file"
        if bool(self.weights_file) != is_file or (is_file and not self.weights_sha256):
            raise RecipeError(
                f"Recipe {self.name!r}: initial_weights = 'file' needs weights_file and weights_sha256, other values "
                f"have no weights_file. Received: initial_weights = {self.initial_weights!r}, weights_file = "
                f"{self.weights_file!r}, weights_sha256 = {self.weights_sha256!r}."
            )
        if self.weights_sha256 and self.initial_weights == "random":
            raise RecipeError(f"Recipe {self.name!r}: random weights have no weights_sha256. Remove it.")
        return self


def recipe_name(recipe: str) -> str:
    """Return the name of a recipe that is given by its name or by its path."""
    return Path(recipe).stem


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


_FIXED = {"name", "version"}
_TABLES = {"augmentation", "fine_tuning"}


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with ``changes``. A table is changed key by key. ``None`` or ``False`` removes a table."""
    merged = {**values}
    for key, change in changes.items():
        if key in _TABLES and isinstance(change, Mapping):
            merged[key] = {**(values[key] or {}), **change}
        else:
            merged[key] = None if key in _TABLES and change is False else change
    return merged


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values without nesting. A value in a table has the key ``table.key``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, Mapping) else {key: value}
    return flat
