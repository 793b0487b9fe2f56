"""Compute the last feature map of every image with a frozen backbone once, and keep it in a cache folder."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.data import Dataset
from braintumor.training.backbones import load_weights
from braintumor.training.classifier import Classifier
from braintumor.training.features import through_openvino, to_float16
from braintumor.training.pretrained_weights import mirrored_name
from braintumor.training.recipe import BackboneName, Recipe, Scaling

_PART = 64

Maps = NDArray[np.float16]


def feature_maps(
    dataset: Dataset, backbone: BackboneName, scaling: Scaling, *, weights: Path, cache: Path
) -> tuple[Maps, tuple[float, float]]:
    """Return the feature maps (N, S/32, S/32, d) of all images, and the wall and core minutes of their computation.

    Args:
        dataset: the images.
        backbone: the network.
        scaling: scaling of the pixels.
        weights: folder with the ImageNet weights of the backbones.
        cache: folder for the feature maps. A killed computation continues after the last 64 images that it stored.
    """
    path = cache / f"maps-{backbone}-{scaling}-{dataset.identity}.npy"
    progress = path.with_suffix(".progress")
    if not progress.exists() or _read(progress)[0] < len(dataset.images):
        _compute(dataset, _classifier(backbone, scaling, weights), path, progress)
    _, wall, core = _read(progress)
    return np.load(path, mmap_mode="r"), (wall, core)


def pooled(maps: Maps) -> NDArray[np.float32]:
    """Return the mean over the cells of maps (N, h, w, d), as (N, d)."""
    return np.stack([part.mean(axis=(0, 1), dtype=np.float32) for part in maps])


def _read(progress: Path) -> tuple[int, float, float]:
    """Return the number of finished images, and the wall minutes and core minutes that they took."""
    count, wall, core = progress.read_text().split()
    return int(count), float(wall), float(core)


def _classifier(backbone: BackboneName, scaling: Scaling, weights: Path) -> Classifier:
    recipe = Recipe.load("mobilenet_v2").override(backbone=backbone, scaling=scaling)
    classifier = Classifier(recipe)
    load_weights(classifier.network, weights / mirrored_name(backbone))
    return classifier


def _compute(dataset: Dataset, classifier: Classifier, path: Path, progress: Path) -> None:
    count, embed = len(dataset.images), through_openvino(classifier.embedder)
    at, wall, core = _read(progress) if progress.exists() else (0, 0.0, 0.0)
    shape = (count, *classifier.network.output_shape[1:])
    maps = np.lib.format.open_memmap(path, "r+" if at else "w+", dtype=np.float16, shape=shape)
    frames = dataset.frames(classifier.network.input_shape[1])
    started = time.monotonic() - wall * 60, time.process_time() - core * 60
    for start in range(at, count, _PART):
        part = embed(frames[start : start + _PART])["features"]
        maps[start : start + _PART] = to_float16(part)
        maps.flush()
        wall, core = (time.monotonic() - started[0]) / 60, (time.process_time() - started[1]) / 60
        done = min(start + _PART, count)
        progress.write_text(f"{done} {wall:.3f} {core:.3f}")
        left = wall / done * (count - done)
        print(f"{path.stem}: {done} of {count} images, about {left:.0f} minutes left", flush=True)
