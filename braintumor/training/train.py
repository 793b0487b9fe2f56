"""Train one recipe: frames in, a model folder out.

While the backbone is frozen, one pass over each view of each image computes what every epoch would compute again, and
the head is trained on these cached features. A recipe may then fine-tune the backbone too.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.labels import CLASSES
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, KERAS_WEIGHTS, REFERENCE, Manifest, sha256_of
from braintumor.serving.backend import OpenVinoBackend
from braintumor.serving.out_of_distribution import spread
from braintumor.training.augmentation import augmented_views
from braintumor.training.backbones import BACKBONES, load_weights
from braintumor.training.calibration import Thresholds, fit_thresholds
from braintumor.training.classifier import Classifier
from braintumor.training.device import share_gpu_memory
from braintumor.training.features import FeatureExtractor, as_served
from braintumor.training.fine_tuning import fine_tune, first_layer
from braintumor.training.head import fit_head
from braintumor.training.random_split_baseline import random_split_accuracy
from braintumor.training.recipe import FineTuning, Recipe
from braintumor.training.temperature import fit_temperature

HISTORY = "history.csv"
_PROBES = 8
_NEAR_TIE_BELOW = 0.10


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What a training made.

    Attributes:
        manifest: of the folder's model.
        history: metric name -> one value per epoch.
        seconds: wall time from frames to the weights of the best epoch.
        device: what the backbone ran on.
        grouped_accuracy: what the frozen stage reaches on the validation split.
        naive_accuracy: what it reaches on a random split of the files of train and validation.
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
    training: FrameArrays,
    validation: FrameArrays,
    snapshot_id: str,
    weights: Path | None,
    folder: Path,
    checkpoints: Path,
    say: Callable[[str], None] = lambda _: None,
) -> TrainedModel:
    """Train ``recipe`` and write a model folder.

    Args:
        recipe: what to train.
        training: the only images that weights are fitted to.
        validation: stops the training, picks the epoch, fits the temperature and the thresholds.
        snapshot_id: goes into the manifest.
        weights: a file with the backbone's initial weights; without one, keras.applications is asked for ImageNet's.
        folder: an empty folder for the result.
        checkpoints: a folder that outlives a killed process, for the epochs of a fine-tuning.
        say: is told in words what goes on.

    Raises:
        RecipeError: the backbone has no layer of the name that fine-tuning is to begin with.
        WeightsError: the initial weights cannot be had or do not fit.
        TrainingError: an epoch cannot be kept, or fine-tuning diverges.
        ModelIntegrityError: the exported graph disagrees with Keras.
    """
    started = time.monotonic()
    share_gpu_memory()
    classifier = _initial(recipe, weights)
    say(f"{recipe.name}: {recipe.backbone}, {recipe.initial_weights} weights, {len(training.labels)} training images")
    stage = _frozen_stage(recipe, classifier, training=training, validation=validation, say=say)
    grouped, naive = _frozen_accuracies(recipe, stage, training=training, validation=validation)
    say(f"frozen stage: validation accuracy {grouped:.3f}; {naive:.3f} if the files were split at random")
    if recipe.fine_tuning is not None:
        stage = _fine_tuned_stage(
            recipe,
            recipe.fine_tuning,
            classifier,
            training=training,
            validation=validation,
            checkpoints=checkpoints,
            say=say,
        )
    seconds = time.monotonic() - started
    manifest = _finish(
        recipe,
        classifier,
        stage,
        training=training,
        validation=validation,
        folder=folder,
        snapshot_id=snapshot_id,
        say=say,
    )
    return TrainedModel(
        manifest=manifest,
        history=stage.history,
        seconds=seconds,
        device=stage.device,
        grouped_accuracy=grouped,
        naive_accuracy=naive,
    )


def _initial(recipe: Recipe, weights: Path | None) -> Classifier:
    classifier = Classifier(recipe)
    if recipe.fine_tuning is not None:
        first_layer(classifier.network, recipe.fine_tuning)  # said now, not after the frozen stage
    if weights is not None:
        load_weights(classifier.network, weights)
    elif recipe.initial_weights == "imagenet":
        BACKBONES[recipe.backbone].load_imagenet(classifier.network)
    return classifier


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What a stage leaves beside the weights that it put in place.

    Attributes:
        history: metric name -> one value per epoch.
        mean_map: (S/32, S/32, d), of the training images as they are.
        training_features: (N, d), of the training images as they are.
        validation_features: (V, d).
        device: what the backbone ran on.
    """

    history: dict[str, list[float]]
    mean_map: NDArray[np.float32]
    training_features: NDArray[np.float32]
    validation_features: NDArray[np.float32]
    device: str


def _frozen_stage(
    recipe: Recipe,
    classifier: Classifier,
    *,
    training: FrameArrays,
    validation: FrameArrays,
    say: Callable[[str], None],
) -> _Stage:
    """Fit the head on features of the frozen backbone, and put it in place."""
    extractor = FeatureExtractor.fastest(classifier)
    started = time.monotonic()
    plain = extractor.extract(training.frames)
    views = [plain.pooled]
    if recipe.flip_views:
        views = [np.concatenate([plain.pooled, extractor.extract(training.frames[:, :, ::-1]).pooled])]
    elif recipe.augmentation is not None:
        changed = augmented_views(training.frames, recipe.augmentation, seed=recipe.seed)
        views += [extractor.extract(view).pooled for view in changed]
    say(f"features of {sum(map(len, views))} views in {time.monotonic() - started:.0f} s")
    validation_features = extractor.extract(validation.frames).pooled
    fitted = fit_head(
        recipe,
        views=views,
        labels=np.tile(training.labels, 2 if recipe.flip_views else 1),
        validation_features=validation_features,
        validation_labels=validation.labels,
        say=say,
    )
    classifier.set_head(fitted.kernel, fitted.bias)
    return _Stage(
        history=fitted.history,
        mean_map=plain.mean_map,
        training_features=plain.pooled,
        validation_features=validation_features,
        device=extractor.device,
    )


def _frozen_accuracies(
    recipe: Recipe, stage: _Stage, *, training: FrameArrays, validation: FrameArrays
) -> tuple[float, float]:
    """What the frozen stage reaches on the validation split, and on files that were split at random."""
    naive = random_split_accuracy(
        recipe,
        training=training,
        validation=validation,
        training_features=stage.training_features,
        validation_features=stage.validation_features,
    )
    return stage.history["val_accuracy"][int(np.argmin(stage.history["val_loss"]))], naive


def _fine_tuned_stage(
    recipe: Recipe,
    fine_tuning: FineTuning,
    classifier: Classifier,
    *,
    training: FrameArrays,
    validation: FrameArrays,
    checkpoints: Path,
    say: Callable[[str], None],
) -> _Stage:
    """Train on from the frozen stage; a head that was fitted to random features is begun anew."""
    if recipe.initial_weights == "random":
        classifier.reset_head()
    history = fine_tune(
        recipe, fine_tuning, classifier, training=training, validation=validation, folder=checkpoints, say=say
    )
    extractor = FeatureExtractor.fastest(classifier)
    plain = extractor.extract(training.frames)
    return _Stage(
        history=history,
        mean_map=plain.mean_map,
        training_features=plain.pooled,
        validation_features=extractor.extract(validation.frames).pooled,
        device=extractor.device,
    )


def _finish(
    recipe: Recipe,
    classifier: Classifier,
    stage: _Stage,
    *,
    training: FrameArrays,
    validation: FrameArrays,
    folder: Path,
    snapshot_id: str,
    say: Callable[[str], None],
) -> Manifest:
    """Calibrate on validation, export, and fit the thresholds on what the export says."""
    classifier.set_baseline(stage.mean_map)
    kernel, bias = classifier.head_weights()
    logits = stage.validation_features @ kernel + bias
    temperature = fit_temperature(logits, validation.labels)
    say(f"best epoch {int(np.argmin(stage.history['val_loss'])) + 1}, temperature {temperature:.3f}; exporting")
    _write_history(folder / HISTORY, stage.history)
    classifier.export(folder, temperature=temperature, probe=validation.frames[:_PROBES])
    classifier.serving_model(temperature).save_weights(folder / KERAS_WEIGHTS)
    engine, kept = OpenVinoBackend(folder / GRAPH), spread(training.labels)
    thresholds = fit_thresholds(
        folder,
        reference=as_served(engine, training.frames[kept], stage.training_features[kept]),
        embeddings=as_served(engine, validation.frames, stage.validation_features),
        logits=logits,
        temperature=temperature,
        labels=validation.labels,
    )
    manifest = _manifest(recipe, classifier, folder, thresholds, temperature=temperature, snapshot_id=snapshot_id)
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
        low_confidence_below=thresholds.low_confidence_below,
        near_tie_below=_NEAR_TIE_BELOW,
        out_of_distribution_above=thresholds.out_of_distribution_above,
        sha256s={name: sha256_of(folder / name) for name in (GRAPH, GRAPH_WEIGHTS, REFERENCE, KERAS_WEIGHTS, HISTORY)},
    )


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *(f"{value:.6g}" for value in values)])
