"""Define the convolutional backbones and their preprocessing, which is part of the exported graph.

To add a backbone of ``keras.applications``, add an entry here and its name to ``recipe.BackboneName``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from braintumor.errors import WeightsError
from braintumor.progress import progress
from braintumor.training.recipe import BackboneName

Tensor = Any
KerasModel = Any

_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
"""ImageNet means of blue, green and red in 0..255, the channel order in which VGG16 and ResNet50 were trained."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Describe one backbone, and build its network.

    Attributes:
        application: name of the backbone in ``keras.applications``.
        preprocess: maps RGB in 0..255, a float tensor (B, S, S, 3), to the input of the pretrained network.
    """

    application: str
    preprocess: Callable[[Tensor], Tensor]

    def build(self, image_size: int) -> KerasModel:
        """Return the randomly initialized network without its classification layers (top).

        The network maps (B, S, S, 3) to (B, S/32, S/32, d), where S is ``image_size`` in pixels.
        """
        import keras

        build = getattr(keras.applications, self.application)
        return build(weights=None, include_top=False, input_shape=(image_size, image_size, 3), name="backbone")

    def load_imagenet(self, network: KerasModel) -> None:
        """Load ImageNet weights into ``network``, from the cache of keras.applications or by download.

        Raises:
            WeightsError: the download failed.
        """
        import keras

        try:
            with progress(f"Loading the ImageNet weights of {self.application}"), redirect_stdout(StringIO()):
                source = getattr(keras.applications, self.application)(weights="imagenet", include_top=False)
        except Exception as exc:  # keras raises a bare Exception when a download fails
            raise WeightsError(
                f"ImageNet weights of {self.application} cannot be loaded: {str(exc).splitlines()[0][:200]}. Three "
                "remedies: let this machine reach the weights' download address once, so that keras caches them; run "
                "`braintumor weights add FILE` to put a copy into the mirror (BRAINTUMOR_WEIGHTS_URI); or train a "
                "recipe whose initial_weights is random."
            ) from exc
        network.set_weights(source.get_weights())


def load_weights(network: KerasModel, path: Path) -> None:
    """Load a complete ``.weights.h5`` file, or a ``.h5`` file of Keras 2, into a network of the same architecture.

    Raises:
        WeightsError: the file is not a weights file, belongs to another architecture, or lacks values of some kernels.
    """
    before = network.get_weights()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns about nested containers, and the check below is enough
            _load(network, path)
    except (OSError, ValueError, KeyError) as exc:
        raise WeightsError(
            f"{path.name} does not fit this backbone: {str(exc).splitlines()[0][:200]}. "
            "Give the weights file of the same architecture, without its top."
        ) from exc
    kernels = [(old, new) for old, new in zip(before, network.get_weights(), strict=True) if old.ndim > 1]
    untouched = sum(bool((old == new).all()) for old, new in kernels)
    if untouched:
        raise WeightsError(
            f"{path.name} has no values for {untouched} of the {len(kernels)} kernels of this backbone. "
            "Give the weights file of the same architecture, without its top."
        )


def _load(network: KerasModel, path: Path) -> None:
    """Load weights through a link with the right suffix, because Keras derives the file format from the file name."""
    import h5py

    with h5py.File(path) as file:
        suffix = ".h5" if "layer_names" in file.attrs else ".weights.h5"
    with TemporaryDirectory() as scratch:
        named = Path(scratch) / f"initial{suffix}"
        named.symlink_to(path.resolve())
        network.load_weights(named)


def _caffe(x: Tensor) -> Tensor:
    import keras

    return x[..., ::-1] - keras.ops.convert_to_tensor(_CAFFE_MEAN_BGR, dtype="float32")


def _minus_one_to_one(x: Tensor) -> Tensor:
    return x / 127.5 - 1.0


def to_unit(x: Tensor) -> Tensor:
    """Scale pixels from 0..255 to 0..1. The paper that this project follows did so for every backbone."""
    return x / 255.0


BACKBONES: dict[BackboneName, Backbone] = {
    "vgg16": Backbone(application="VGG16", preprocess=_caffe),
    "resnet50": Backbone(application="ResNet50", preprocess=_caffe),
    "mobilenet_v2": Backbone(application="MobileNetV2", preprocess=_minus_one_to_one),
}
