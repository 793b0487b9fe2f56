"""Measure the accuracy of the frozen stage with a random split of the files.

The report compares this accuracy with the accuracy on the validation split, to show the leak of a random split. Public
datasets contain duplicates, mirrored duplicates and neighboring slices. A random split puts many of these related files
in both parts, which inflates accuracy (Kapoor and Narayanan 2023). The split covers only the files of train and
validation, never the files of test. The fitted head is discarded.
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
    """Return the accuracy of the frozen stage on the held-out part of a random split of the files.

    The held-out share of the files is the share of validation among the train and validation images.

    Args:
        recipe: the recipe of the frozen stage, which is fitted without augmented views.
        training: the training images, each with its number of files.
        validation: the validation images, each with its number of files.
        training_features: pooled features (N, d) of the training images, not augmented.
        validation_features: pooled features (V, d) of the validation images.
    """
    counts = [image.count_file for part in (training, validation) for image in part.images]
    of_file = np.repeat(np.arange(len(counts)), counts)  # one entry per file: the position of its image
    features = np.concatenate([training_features, validation_features])
    labels = np.concatenate([training.labels, validation.labels])
    fitted, held_out = split_randomly(of_file, share=len(validation.labels) / len(labels), seed=recipe.seed)
    return plain_accuracy(
        recipe,
        training=(features[fitted], labels[fitted]),
        validation=(features[held_out], labels[held_out]),
    )


def plain_accuracy(
    recipe: Recipe,
    *,
    training: tuple[NDArray[np.float32], NDArray[np.int64]],
    validation: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> float:
    """Return the accuracy of a head that is fitted without augmented views.

    Args:
        recipe: the recipe of the frozen stage.
        training: pooled features (N, d) of the fitted images, and their labels (N,).
        validation: pooled features (V, d) of the held-out images, and their labels (V,).
    """
    (features, labels), (held_out, held_out_labels) = training, validation
    head = fit_head(
        recipe, views=[features], labels=labels, validation_features=held_out, validation_labels=held_out_labels
    )
    predicted = (held_out @ head.kernel + head.bias).argmax(axis=1)
    return float((predicted == held_out_labels).mean())


def split_randomly(files: NDArray[np.intp], *, share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split files at random, and return the fitted part and the held-out part, in this order.

    Args:
        files: (N,), one entry per file: the position of the file's image.
        share: share of the files in the held-out part, 0 to 1.
        seed: seed of the random order.
    """
    order = np.random.default_rng(seed).permutation(files)
    held_out, fitted = np.split(order, [round(len(order) * share)])
    return fitted, held_out
