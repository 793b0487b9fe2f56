"""What Keras says with a registered model's weights: the other half of its exported graph.

The network is built anew by this code from the recipe on record; only weights are read.
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
    """Check that this machine can answer through Keras at all.

    Raises:
        ConfigurationError: TensorFlow is not installed.
    """
    if find_spec("keras") is None or find_spec("tensorflow") is None:
        raise ConfigurationError(
            "TensorFlow is not installed here, so Keras cannot answer. Run this where the extra `train` or `gpu` is "
            "installed (the workers of the queue gpu). Without it: `model verify --no-parity`, "
            "BRAINTUMOR_BACKEND=openvino-cpu."
        )


def keras_outputs(
    recipe: Mapping[str, Any], weights: Path, frames: NDArray[np.uint8], *, temperature: float
) -> dict[str, NDArray[np.float32]]:
    """Every output for ``frames`` (N, S, S, 3), as the graph has them, on whatever device Keras prefers.

    The activation map lacks the baseline, which is no weight: it is the same for every image, and its mean is 0.

    Raises:
        WeightsError: the file is not a weights file, or not one of this recipe.
        RecipeError: the recipe on record is none that this version can build.
    """
    model = recorded_model(recipe, weights, temperature=temperature)
    return {name: np.asarray(values) for name, values in model.predict(frames, verbose=0).items()}


def recorded_model(recipe: Mapping[str, Any], weights: Path, *, temperature: float) -> Any:
    """The serving model as Keras builds it from the recipe on record, with the weights of the file.

    Raises:
        WeightsError: as of ``keras_outputs``.
        RecipeError: as of ``keras_outputs``.
    """
    from braintumor.training.backbones import load_weights
    from braintumor.training.classifier import Classifier

    model = Classifier(Recipe.from_values(recipe)).serving_model(temperature)
    model.set_weights([np.zeros_like(values) for values in model.get_weights()])  # what the file lacks stays 0: found
    load_weights(model, weights)
    return model
