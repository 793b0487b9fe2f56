"""What a naive split would have claimed: the same frozen stage, its files dealt out at random.

Half of the leak receipt. Public sets hold copies, mirrored copies and neighboring slices; dealt out one by one, much
of what is held out has a twin in training. The test split has no part in it: only the files of train and validation
are dealt out anew, and the head that comes of it is thrown away.
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
    """Accuracy on the held-out files of a random split with as large a share held out as validation has.

    Args:
        recipe: whose frozen stage is fitted, without augmented views.
        training: its images, with how many files show each.
        validation: likewise.
        training_features: pooled, (N, d), of the images as they are.
        validation_features: pooled, (V, d).
    """
    copies = [image.count_file for part in (training, validation) for image in part.images]
    of_file = np.repeat(np.arange(len(copies)), copies)  # one entry a file: the position of what it shows
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
    answers = (features[held_out] @ head.kernel + head.bias).argmax(axis=1)
    return float((answers == labels[held_out]).mean())


def split_randomly(files: NDArray[np.intp], *, share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A random split of ``files`` (N,), one by one: what is fitted, and ``share`` of them that is held out."""
    order = np.random.default_rng(seed).permutation(files)
    held_out, fitted = np.split(order, [round(len(order) * share)])
    return fitted, held_out
