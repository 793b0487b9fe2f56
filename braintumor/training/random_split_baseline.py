"""Measure the accuracy that a random split of the files would report, with the same frozen stage.

The report compares this accuracy with the grouped one, to show the leak. Public datasets contain duplicates, mirrored
duplicates and neighboring slices. A random split puts many of them in both parts, which inflates accuracy (Kapoor and
Narayanan 2023). Only the files of train and validation are split again, never those of test. The head is discarded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.training.head import fit_head
from braintumor.training.recipe import Recipe


def random_split_accuracy(
    recipe: Recipe,
    *,
    training: FrameArrays,
    validation: FrameArrays,
    training_features: NDArray[np.float32],
    validation_features: NDArray[np.float32],
) -> float:
    """Return the accuracy on the held-out files of a random split, whose held-out share is that of validation.

    Args:
        recipe: its frozen stage is fitted, without augmented views.
        training: the training images, each with the number of its files.
        validation: the validation images, likewise.
        training_features: pooled features (N, d) of the images, not augmented.
        validation_features: pooled features (V, d).
    """
    counts = [image.count_file for part in (training, validation) for image in part.images]
    of_file = np.repeat(np.arange(len(counts)), counts)  # one entry per file: the position of its image
    features = np.concatenate([training_features, validation_features])
    labels = np.concatenate([training.labels, validation.labels])
    fitted, held_out = split_randomly(of_file, share=len(validation.labels) / len(labels), seed=recipe.seed)
    head = fit_head(
        recipe,
        views=[features[fitted]],
        labels=labels[fitted],
        validation_features=features[held_out],
        validation_labels=labels[held_out],
    )
    predicted = (features[held_out] @ head.kernel + head.bias).argmax(axis=1)
    return float((predicted == labels[held_out]).mean())


def split_randomly(files: NDArray[np.intp], *, share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split ``files`` (N,) at random into a fitted part and a held-out part, which is ``share`` of them."""
    order = np.random.default_rng(seed).permutation(files)
    held_out, fitted = np.split(order, [round(len(order) * share)])
    return fitted, held_out
