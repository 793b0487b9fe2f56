"""Train one recipe: frames in, a model folder out.

The backbone stays frozen, so one pass over each view of each image computes what every epoch would compute again; the
head is then trained on these cached features.
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

from braintumor.dataset.frameset import FrameSet
from braintumor.imaging.preprocess import PREPROCESSING
from braintumor.labels import CLASSES
from braintumor.modelling.backbone import BACKBONES
from braintumor.modelling.calibration import fit_temperature
from braintumor.modelling.classifier import Classifier
from braintumor.modelling.features import FeatureExtractor
from braintumor.modelling.head import fit_head
from braintumor.modelling.recipe import Recipe
from braintumor.serving.artefact import GRAPH, GRAPH_WEIGHTS, KERAS_WEIGHTS, Manifest, sha256_of

HISTORY = "history.csv"
_PROBES = 8
_LOW_CONFIDENCE_BELOW = 0.60
_NEAR_TIE_BELOW = 0.10


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What a training made.

    Attributes:
        manifest: of the folder's model.
        history: metric name -> one value per epoch.
        seconds: wall time from frames to folder.
        device: what the backbone ran on.
    """

    manifest: Manifest
    history: dict[str, list[float]]
    seconds: float
    device: str


def train(
    recipe: Recipe,
    *,
    training: FrameSet,
    validation: FrameSet,
    snapshot_id: str,
    weights: Path | None,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
) -> TrainedModel:
    """Train ``recipe`` and write a model folder.

    Args:
        recipe: what to train.
        training: the only images that weights are fitted to.
        validation: stops the training, picks the epoch and fits the temperature.
        snapshot_id: goes into the manifest.
        weights: a file with the backbone's ImageNet weights, where a mirror has one.
        folder: an empty folder for the result.
        say: is told in words what goes on.

    Raises:
        WeightsError: the initial weights cannot be had or do not fit.
        ModelIntegrityError: the exported graph disagrees with Keras.
    """
    started = time.monotonic()
    classifier = Classifier(recipe)
    if recipe.initial_weights == "imagenet":
        BACKBONES[recipe.backbone].load_imagenet(classifier.network, weights)
    say(f"{recipe.name}: {recipe.backbone}, {recipe.initial_weights} weights, {len(training.labels)} training images")
    extractor = FeatureExtractor(classifier)
    features, mean_features = _training_features(recipe, training, extractor, say)
    fitted = fit_head(
        recipe,
        features=features,
        labels=np.tile(training.labels, 2 if recipe.flip_views else 1),
        validation_features=extractor.pooled(validation.frames),
        validation_labels=validation.labels,
        say=say,
    )
    classifier.set_head(fitted.kernel, fitted.bias, mean_features=mean_features)
    temperature = fit_temperature(fitted.validation_logits, validation.labels)
    say(f"best epoch {fitted.best_epoch}, temperature {temperature:.3f}; exporting")
    _write_history(folder / HISTORY, fitted.history)
    manifest = _export(
        classifier, recipe, folder, temperature=temperature, probe=validation.frames[:_PROBES], snapshot_id=snapshot_id
    )
    return TrainedModel(
        manifest=manifest, history=fitted.history, seconds=time.monotonic() - started, device=extractor.device
    )


def _training_features(
    recipe: Recipe, training: FrameSet, extractor: FeatureExtractor, say: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pooled features of every view, and the mean feature map of the images as they are."""
    started = time.monotonic()
    features, mean_features = extractor.pooled_and_mean(training.frames)
    if recipe.flip_views:
        features = np.concatenate([features, extractor.pooled(training.frames[:, :, ::-1])])
    say(f"features of {len(features)} views in {time.monotonic() - started:.0f} s")
    return features, mean_features


def _export(
    classifier: Classifier,
    recipe: Recipe,
    folder: Path,
    *,
    temperature: float,
    probe: NDArray[np.uint8],
    snapshot_id: str,
) -> Manifest:
    classifier.export(folder, temperature=temperature, probe=probe)
    classifier.serving_model(temperature).save_weights(folder / KERAS_WEIGHTS)
    manifest = Manifest(
        recipe=recipe.name,
        backbone=recipe.backbone,
        initialisation=recipe.initial_weights,
        snapshot_id=snapshot_id,
        trained_at=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        precision="fp32",
        image_size=recipe.image_size,
        preprocessing=PREPROCESSING,
        classes=CLASSES,
        count_parameter=classifier.count_parameter,
        temperature=temperature,
        low_confidence_below=_LOW_CONFIDENCE_BELOW,
        near_tie_below=_NEAR_TIE_BELOW,
        sha256s={name: sha256_of(folder / name) for name in (GRAPH, GRAPH_WEIGHTS, KERAS_WEIGHTS, HISTORY)},
    )
    manifest.write(folder)
    return manifest


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *(f"{value:.6g}" for value in values)])
