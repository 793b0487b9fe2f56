"""Train one recipe on frames, and write a model folder.

A view is a plain or augmented copy of all training images. The frozen stage computes the features of each view once,
because they are the same in all epochs. It trains the head on these cached features. A recipe can then fine-tune the
backbone too.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.splits.split import Split
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.labels import CLASSES
from braintumor.progress import progress
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, KERAS_WEIGHTS, REFERENCE, Manifest, sha256_of
from braintumor.serving.backend import OpenVinoBackend
from braintumor.serving.out_of_distribution import spread
from braintumor.training.augmentation import augmented_views
from braintumor.training.backbones import BACKBONES, load_weights
from braintumor.training.calibration import Thresholds, fit_temperature, fit_thresholds
from braintumor.training.checkpoints import Checkpoints
from braintumor.training.classifier import Classifier
from braintumor.training.device import share_gpu_memory
from braintumor.training.features import FeatureExtractor, as_served
from braintumor.training.fine_tuning import fine_tune, first_layer
from braintumor.training.head import fit_head
from braintumor.training.random_split_baseline import plain_accuracy, random_split_accuracy
from braintumor.training.recipe import FineTuning, Recipe

_log = logging.getLogger(__name__)
HISTORY = "history.csv"
_PROBES = 8


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """Hold the results of a training.

    Attributes:
        manifest: the manifest of the model folder.
        history: metric name -> one value per epoch, of the last stage.
        seconds: wall time from frames to the weights of the best epoch, with the epochs of interrupted tries.
        device: the device that ran the backbone.
        grouped_accuracy: accuracy of the frozen stage, without augmented views, on the validation split.
        naive_accuracy: the same on a random split of the files of train and validation.
    """

    manifest: Manifest
    history: dict[str, list[float]]
    seconds: float
    device: str
    grouped_accuracy: float
    naive_accuracy: float


def train(
    recipe: Recipe,
    *,
    frames: Mapping[Split, FrameArrays],
    snapshot_id: str,
    weights: Path | None,
    folder: Path,
    checkpoints: Path,
) -> TrainedModel:
    """Train ``recipe``, and write a model folder.

    Args:
        recipe: the recipe to train.
        frames: images and labels by split. Weights are fitted only to ``Split.TRAIN``. ``Split.VALIDATION`` stops the
            training, picks the epoch, and fits the temperature and the thresholds.
        snapshot_id: the snapshot of the frames, recorded in the manifest.
        weights: a file with the backbone's initial weights. ``None`` means random weights or, if the recipe says
            ``imagenet``, ImageNet weights from keras.applications.
        folder: an empty folder for the model.
        checkpoints: a folder that outlives a killed process, for the epochs of fine-tuning.

    Raises:
        RecipeError: the backbone has no layer ``from_layer``.
        WeightsError: the initial weights are missing or do not fit.
        TrainingError: an epoch cannot be saved, or fine-tuning diverges.
        ModelIntegrityError: the exported graph disagrees with Keras.
    """
    started = time.monotonic()
    share_gpu_memory()
    job = _Training(recipe, weights, frames)
    size, source = len(frames[Split.TRAIN].labels), recipe.initial_weights
    _log.info("%s: %s, %s weights, %d training images", recipe.name, recipe.backbone, source, size)
    stage = job.frozen_stage()
    grouped, naive = job.frozen_accuracies(stage)
    words = "frozen stage without augmented views: validation accuracy %.3f; %.3f if the files were split at random"
    _log.info(words, grouped, naive)
    if recipe.fine_tuning is not None:
        started -= Checkpoints(checkpoints).seconds
        stage = job.fine_tuned_stage(recipe.fine_tuning, checkpoints)
    seconds = time.monotonic() - started
    return TrainedModel(
        manifest=job.finish(stage, folder=folder, snapshot_id=snapshot_id),
        history=stage.history,
        seconds=seconds,
        device=stage.device,
        grouped_accuracy=grouped,
        naive_accuracy=naive,
    )


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """Hold the results of a stage. The weights that the stage has fitted are in the classifier.

    Attributes:
        history: metric name -> one value per epoch.
        mean_map: (S/32, S/32, d), the mean feature map of the training images, not augmented.
        training_features: (N, d), pooled features of the training images, not augmented.
        validation_features: (V, d), pooled features of the validation images.
        device: the device that ran the backbone.
    """

    history: dict[str, list[float]]
    mean_map: NDArray[np.float32]
    training_features: NDArray[np.float32]
    validation_features: NDArray[np.float32]
    device: str


class _Training:
    """Run the stages of one training."""

    def __init__(self, recipe: Recipe, weights: Path | None, frames: Mapping[Split, FrameArrays]) -> None:
        self._recipe, self._training, self._validation = recipe, frames[Split.TRAIN], frames[Split.VALIDATION]
        self._classifier = Classifier(recipe)
        if recipe.fine_tuning is not None:
            first_layer(self._classifier.network, recipe.fine_tuning)  # fail before the frozen stage, not after it
        if weights is not None:
            load_weights(self._classifier.network, weights)
        elif recipe.initial_weights == "imagenet":
            BACKBONES[recipe.backbone].load_imagenet(self._classifier.network)

    def frozen_stage(self) -> _Stage:
        """Fit the head on features of the frozen backbone, and set the head's weights in the classifier."""
        recipe, frames = self._recipe, self._training.frames
        extractor = FeatureExtractor.fastest(self._classifier)
        started = time.monotonic()
        plain = extractor.extract(frames)
        views = [plain.pooled]
        if recipe.flip_views:
            mirrored = extractor.extract(frames[:, :, ::-1], step="Computing features of mirrored images")
            views = [np.concatenate([plain.pooled, mirrored.pooled])]
        elif recipe.augmentation is not None:
            augmented = augmented_views(frames, recipe.augmentation, seed=recipe.seed)
            views += [
                extractor.extract(view, step=f"Computing features of changed view {number}").pooled
                for number, view in enumerate(augmented, start=1)
            ]
        _log.info("features of %d views in %.0f s", sum(map(len, views)), time.monotonic() - started)
        validation_features = self._validation_features(extractor)
        fitted = fit_head(
            recipe,
            views=views,
            labels=np.tile(self._training.labels, 2 if recipe.flip_views else 1),
            validation_features=validation_features,
            validation_labels=self._validation.labels,
            log_epochs=True,
        )
        self._classifier.set_head(fitted.kernel, fitted.bias)
        return _Stage(
            history=fitted.history,
            mean_map=plain.mean_map,
            training_features=plain.pooled,
            validation_features=validation_features,
            device=extractor.device,
        )

    def frozen_accuracies(self, stage: _Stage) -> tuple[float, float]:
        """Return the frozen stage's accuracy on the validation split, and on a random split of the files.

        Both are those of a head that is fitted without augmented views, so only the splits differ.
        """
        naive = random_split_accuracy(
            self._recipe,
            training=self._training,
            validation=self._validation,
            training_features=stage.training_features,
            validation_features=stage.validation_features,
        )
        if self._recipe.flip_views or self._recipe.augmentation is not None:
            training = (stage.training_features, self._training.labels)
            validation = (stage.validation_features, self._validation.labels)
            return plain_accuracy(self._recipe, training=training, validation=validation), naive
        return stage.history["val_accuracy"][int(np.argmin(stage.history["val_loss"]))], naive

    def fine_tuned_stage(self, fine_tuning: FineTuning, checkpoints: Path) -> _Stage:
        """Fine-tune backbone and head, starting from the frozen stage.

        If the backbone has random initial weights, the head starts again from random weights.
        """
        if self._recipe.initial_weights == "random":
            self._classifier.reset_head()
        history = fine_tune(
            self._recipe,
            fine_tuning,
            self._classifier,
            training=self._training,
            validation=self._validation,
            folder=checkpoints,
        )
        extractor = FeatureExtractor.fastest(self._classifier)
        plain = extractor.extract(self._training.frames)
        return _Stage(
            history=history,
            mean_map=plain.mean_map,
            training_features=plain.pooled,
            validation_features=self._validation_features(extractor),
            device=extractor.device,
        )

    def _validation_features(self, extractor: FeatureExtractor) -> NDArray[np.float32]:
        step = "Computing features of validation images"
        return extractor.extract(self._validation.frames, step=step).pooled

    def finish(self, stage: _Stage, *, folder: Path, snapshot_id: str) -> Manifest:
        """Write the model folder, and return its manifest.

        The temperature is fitted on validation before the export. The thresholds are fitted after the export, on the
        embeddings of the exported graph.
        """
        classifier, validation = self._classifier, self._validation
        classifier.set_baseline(stage.mean_map)
        kernel, bias = classifier.head_weights()
        logits = stage.validation_features @ kernel + bias
        temperature = fit_temperature(logits, validation.labels)
        best = int(np.argmin(stage.history["val_loss"])) + 1
        _log.info("best epoch %d, temperature %.3f; exporting", best, temperature)
        _write_history(folder / HISTORY, stage.history)
        with progress("Exporting the graph"):
            classifier.export(folder, temperature=temperature, probe=validation.frames[:_PROBES])
            classifier.serving_model(temperature).save_weights(folder / KERAS_WEIGHTS)
        backend, kept = OpenVinoBackend(folder / GRAPH), spread(self._training.labels)
        thresholds = fit_thresholds(
            folder,
            reference=as_served(backend, self._training.frames[kept], stage.training_features[kept]),
            embeddings=as_served(backend, validation.frames, stage.validation_features),
            probability=softmax(logits / temperature, axis=1),
            labels=validation.labels,
            groups=validation.groups,
        )
        manifest = _manifest(
            self._recipe, classifier, folder, thresholds, temperature=temperature, snapshot_id=snapshot_id
        )
        manifest.write(folder)
        return manifest


def _manifest(
    recipe: Recipe,
    classifier: Classifier,
    folder: Path,
    thresholds: Thresholds,
    *,
    temperature: float,
    snapshot_id: str,
) -> Manifest:
    return Manifest(
        recipe=recipe.name,
        backbone=recipe.backbone,
        initialization=recipe.initial_weights,
        snapshot_id=snapshot_id,
        trained_at=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        precision="fp32",
        image_size=recipe.image_size,
        preprocessing=PREPROCESSING,
        classes=CLASSES,
        count_parameter=classifier.count_parameter,
        temperature=temperature,
        out_of_distribution_above=thresholds.out_of_distribution_above,
        prediction_sets=thresholds.prediction_sets,
        sha256s={name: sha256_of(folder / name) for name in (GRAPH, GRAPH_WEIGHTS, REFERENCE, KERAS_WEIGHTS, HISTORY)},
    )


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *(f"{value:.6g}" for value in values)])
