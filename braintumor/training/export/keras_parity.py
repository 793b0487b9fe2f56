"""Run a registered model's weights in Keras, for a comparison with the exported graph.

The network is built from the recorded recipe. Only the weights come from the file of the Keras weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import ConfigurationError
from braintumor.training.recipe import Recipe


def require_keras() -> None:
    """Check that Keras is installed.

    Raises:
        ConfigurationError: TensorFlow is not installed.
    """
    if find_spec("keras") is None or find_spec("tensorflow") is None:
        raise ConfigurationError(
            "TensorFlow is not installed on this machine, so Keras cannot predict. Use a worker of the queue gpu, "
            "which has the extra `train` or `gpu`. Without it, use `model verify --no-parity` or "
            "BRAINTUMOR_BACKEND=openvino-cpu."
        )


def keras_outputs(
    recipe: Mapping[str, Any], weights: Path, frames: NDArray[np.uint8], *, temperature: float
) -> dict[str, NDArray[np.float32]]:
    """Return the outputs that Keras computes for ``frames``, by the names of the graph's outputs.

    Keras uses its preferred device. The activation map lacks the baseline, because the baseline is not a weight. The
    baseline is the same for all images, and its mean is 0.

    Args:
        recipe: values of the recorded recipe.
        weights: file of the Keras weights.
        frames: uint8 (N, S, S, 3).
        temperature: number by which the model divides the logits.

    Raises:
        WeightsError: the file is not a weights file, or its weights do not fit the recipe.
        RecipeError: this version cannot build the recorded recipe.
    """
    model = recorded_model(recipe, weights, temperature=temperature)
    return {name: np.asarray(values) for name, values in model.predict(frames, verbose=0).items()}


def recorded_model(recipe: Mapping[str, Any], weights: Path, *, temperature: float) -> Any:
    """Build the serving model from the recorded recipe, with the weights of the file ``weights``.

    Args:
        recipe: values of the recorded recipe.
        weights: file of the Keras weights.
        temperature: number by which the model divides the logits.

    Raises:
        WeightsError: the file is not a weights file, or its weights do not fit the recipe.
        RecipeError: this version cannot build the recorded recipe.
    """
    from braintumor.training.backbones import load_weights
    from braintumor.training.classifier import Classifier

    model = Classifier(Recipe.from_values(recipe)).serving_model(temperature)
    model.set_weights(
        [np.zeros_like(values) for values in model.get_weights()]
    )  # weights that the file lacks stay 0, so the comparison finds them
    load_weights(model, weights)
    return model
