"""Train and test one fold of one cell. A cell is a combination of backbone, stage and split, one row of the table."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from json import dumps
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.accuracy.data import COUNT_FOLD, Dataset, Fold, SplitBy
from benchmarks.accuracy.feature_maps import feature_maps, pooled
from benchmarks.accuracy.figures import Counts
from benchmarks.accuracy.lesions import Box, count_pointing, read_boxes
from braintumor.dataset.splits.split import Split
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.serving.backend import LoadedModel
from braintumor.training.calibration import fit_temperature
from braintumor.training.head import fit_head
from braintumor.training.pretrained_weights import mirrored_name
from braintumor.training.recipe import Recipe, Scaling
from braintumor.training.train import TrainedModel, train

FINE_TUNED = {"vgg16": "vgg16", "resnet50": "resnet50", "mobilenet_v2": "mobilenet_v2_fine"}
"""Backbone -> the packaged recipe that fine-tunes it.

The models with a frozen backbone use the same recipe without augmentation and fine-tuning.
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Identify a combination of backbone, stage and split, which is one row of the table.

    Attributes:
        backbone: name of the network.
        stage: ``frozen``, ``frozen, pixels/255`` or ``fine-tuned``.
        by: which images stay together in a split.
    """

    backbone: str
    stage: str
    by: SplitBy

    def __str__(self) -> str:
        return f"{self.backbone}, {self.stage}, {self.by}"

    @cached_property
    def recipe(self) -> Recipe:
        """Return the recipe that the cell measures."""
        recipe = Recipe.load(FINE_TUNED[self.backbone])
        if self.stage == "fine-tuned":
            return recipe
        scaling: Scaling = "unit" if "255" in self.stage else "backbone"
        return recipe.override(augmentation=False, fine_tuning=False, scaling=scaling, mixup=0.0)


def identity(recipe: Recipe) -> str:
    """Return a hash of the recipe's values. A stored result with another hash is not used.

    Values that are 0, false or empty are left out. So a new recipe key with such a value does not change the hash.
    """
    values = _switched_on(recipe.to_values())
    del values["name"], values["version"]
    return sha256(dumps([values, PREPROCESSING], sort_keys=True).encode()).hexdigest()[:12]


def _switched_on(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _switched_on(v) if isinstance(v, Mapping) else v for key, v in values.items() if v}


def planned() -> Iterator[tuple[Cell, int]]:
    """Yield each cell with each fold number, in the order of the measurement. The most important ones come first."""
    for backbone in ("resnet50", "mobilenet_v2", "vgg16"):
        for by in reversed(SplitBy):
            yield from ((Cell(backbone=backbone, stage="frozen", by=by), fold) for fold in range(COUNT_FOLD))
    for backbone, by, fold in _FINE_TUNED_FOLDS:
        yield Cell(backbone=backbone, stage="fine-tuned", by=by), fold
    for backbone in ("vgg16", "resnet50"):
        for by in SplitBy:
            cell = Cell(backbone=backbone, stage="frozen, pixels/255", by=by)
            yield from ((cell, fold) for fold in range(COUNT_FOLD))


_FINE_TUNED_FOLDS = (
    ("resnet50", SplitBy.PERSONS, 0),
    ("resnet50", SplitBy.PERSONS, 1),
    ("vgg16", SplitBy.PERSONS, 0),
    ("mobilenet_v2", SplitBy.PERSONS, 0),
    ("mobilenet_v2", SplitBy.PERSONS, 1),
    ("vgg16", SplitBy.PERSONS, 1),
    *(
        (backbone, by, 0)
        for by in (SplitBy.GROUPS, SplitBy.FILES)
        for backbone in ("resnet50", "vgg16", "mobilenet_v2")
    ),
)


class Measurement:
    """Measure folds of one dataset. The test images of a fold are predicted once, after the training."""

    def __init__(self, dataset: Dataset, *, weights: Path, lesions: Path | None, cache: Path) -> None:
        self._dataset, self._weights, self._lesions, self._cache = dataset, weights, lesions, cache
        self._frames: dict[int, NDArray[np.uint8]] = {}
        self._boxes: dict[int, dict[int, Box]] = {}

    def measure(self, cell: Cell, number: int) -> Counts:
        """Train the model of a cell on fold ``number``, and count its predictions on the test images of the fold."""
        fold = self._dataset.fold(cell.by, number)
        probabilities, maps, minutes = (self._fine_tuned if cell.recipe.fine_tuning else self._frozen)(
            cell, number, fold
        )
        labels, boxes = self._dataset.labels[fold.test], self._boxes_of(cell.recipe.image_size)
        return Counts.of(
            labels,
            probabilities,
            self._dataset.persons[fold.test],
            is_known=self._dataset.is_person_known[fold.test],
            pointing=count_pointing(boxes, fold.test, labels, probabilities, maps),
            minutes=minutes,
        )

    def predict(self, cell: Cell, fold: Fold) -> NDArray[np.floating]:
        """Return the probabilities (N, 4) of the fold's test images, by a model with a frozen backbone."""
        return self._frozen(cell, 0, fold)[0]

    def _frozen(self, cell: Cell, _: int, fold: Fold) -> _Predicted:
        """Fit the head on cached feature maps, with the functions of ``braintumor.training``."""
        recipe = cell.recipe
        cached, minutes = feature_maps(
            self._dataset, recipe.backbone, recipe.scaling, weights=self._weights, cache=self._cache
        )
        wall, core = time.monotonic(), time.process_time()
        labels, features = self._dataset.labels, pooled(cached)
        fitted = fit_head(
            recipe,
            views=[features[fold.training]],
            labels=labels[fold.training],
            validation_features=features[fold.validation],
            validation_labels=labels[fold.validation],
        )
        logits = features @ fitted.kernel + fitted.bias
        temperature = fit_temperature(logits[fold.validation], labels[fold.validation])
        spent = minutes[0] + (time.monotonic() - wall) / 60, minutes[1] + (time.process_time() - core) / 60
        by_cell = cached[np.unique(fold.training)].mean(axis=0, dtype=np.float32) @ fitted.kernel
        maps = cached[fold.test].astype(np.float32) @ fitted.kernel - (by_cell - by_cell.mean(axis=(0, 1)))
        return softmax(logits[fold.test] / temperature, axis=1), maps, spent

    def _fine_tuned(self, cell: Cell, number: int, fold: Fold) -> _Predicted:
        """Train with ``braintumor.training.train``, and predict with the model that it exports."""
        _, folder, minutes = self.fine_tune(cell.recipe, cell.by, number)
        outputs = LoadedModel.load(folder / "model").predict(self.frames_of(cell.recipe.image_size)[fold.test])
        rmtree(folder / "checkpoints")
        (folder / "minutes").unlink(missing_ok=True)  # so that a training from the start does not add these minutes
        return outputs.probability, outputs.activation_map, minutes

    def fine_tune(self, recipe: Recipe, by: SplitBy, number: int) -> tuple[TrainedModel, Path, tuple[float, float]]:
        """Train a recipe on training and validation images of fold ``number``. A killed training is continued.

        Returns:
            The trained model, its folder with ``model`` and ``checkpoints``, and the wall and core minutes.
        """
        import keras

        keras.utils.clear_session()
        frames, fold = self.frames_of(recipe.image_size), self._dataset.fold(by, number)
        folder = self._cache / "training" / f"{recipe.name}-{identity(recipe)}-{by.name.lower()}-{number}"
        model = folder / "model"
        rmtree(model, ignore_errors=True)
        model.mkdir(parents=True)
        with _Clock(folder / "minutes") as clock:
            trained = train(
                recipe,
                frames={
                    Split.TRAIN: self._dataset.part(frames, fold.training, Split.TRAIN),
                    Split.VALIDATION: self._dataset.part(frames, fold.validation, Split.VALIDATION),
                },
                snapshot_id=f"{by.name.lower()}-{number}",
                weights=self._weights / mirrored_name(recipe.backbone),
                folder=model,
                checkpoints=folder / "checkpoints",
            )
        return trained, folder, clock.minutes()

    def frames_of(self, size: int) -> NDArray[np.uint8]:
        """Return every image as the input of a model, uint8 (N, S, S, 3). They are read once."""
        if size not in self._frames:
            self._frames[size] = self._dataset.frames(size)
        return self._frames[size]

    def _boxes_of(self, size: int) -> Mapping[int, Box]:
        if size not in self._boxes:
            self._boxes[size] = read_boxes(self._lesions, self._dataset, size)
        return self._boxes[size]


_Predicted = tuple[NDArray[np.floating], NDArray[np.floating], tuple[float, float]]
"""Probabilities (N, 4), activation maps (N, h, w, 4), and the wall minutes and core minutes of the training."""


class _Clock(logging.Handler):
    """Measure the minutes of a training that can be killed and continued.

    Each log line of the training writes the minutes so far to a file. A later clock with this file adds its own minutes
    to them.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._before = tuple(map(float, path.read_text().split())) if path.exists() else (0.0, 0.0)
        self._started = time.monotonic(), time.process_time()

    def minutes(self) -> tuple[float, float]:
        """Return wall minutes and core minutes."""
        wall, core = time.monotonic() - self._started[0], time.process_time() - self._started[1]
        return self._before[0] + wall / 60, self._before[1] + core / 60

    def emit(self, record: logging.LogRecord) -> None:
        self._path.write_text("{} {}".format(*self.minutes()))

    def __enter__(self) -> _Clock:
        logging.getLogger("braintumor.training").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("braintumor.training").removeHandler(self)
