"""Cache the outputs of the backbone's frozen layers, so that an epoch of fine-tuning computes only the layers above.

The outputs are cached for the plain training images, for some augmented copies (views) of them, and for the validation
images. They are stored as float16 files in the folder of the checkpoints, so a killed training does not compute them
again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import RecipeError, TrainingError
from braintumor.training.augmentation import augmented_views
from braintumor.training.backbones import KerasModel
from braintumor.training.classifier import Classifier
from braintumor.training.features import fastest_embed, to_float16
from braintumor.training.recipe import FineTuning, Recipe

_log = logging.getLogger(__name__)
_PART = 64
"""Frames whose outputs are in memory at a time."""

Cached = NDArray[np.float16]


class LowerLayers:
    """Divide a backbone before ``from_layer`` into two parts, and run the lower part once for each view."""

    def __init__(self, classifier: Classifier, plan: FineTuning) -> None:
        """Divide the classifier's network. Both parts share their layers with the network.

        Raises:
            RecipeError: some path through the network does not pass ``from_layer``.
        """
        import keras

        network, size = classifier.network, classifier.network.input_shape[1]
        cut = network.get_layer(plan.from_layer).input
        upper = _upper(network, cut, plan)
        step = 2 if _is_every_other_cell_read(network, cut) else 1
        image = keras.Input((size, size, 3), dtype="uint8")
        frozen = keras.Model(network.input, cut)(classifier.preprocess(keras.ops.cast(image, "float32")))
        read = keras.layers.Identity(name="read")(frozen[:, ::step, ::step])
        self._lower = keras.Model(image, {"read": read})
        self._shape = tuple(read.shape[1:])
        cached = keras.Input(self._shape)
        spread = keras.layers.UpSampling2D(step)(cached) if step > 1 else cached
        self.upper: KerasModel = keras.Model(cached, upper(spread))
        """Maps cached outputs (B, h, w, c) to the last feature map (B, S/32, S/32, d)."""

    def cache_views(self, recipe: Recipe, plan: FineTuning, frames: NDArray[np.uint8], folder: Path) -> list[Cached]:
        """Return one array of outputs (N, h, w, c) for the plain frames, and one for each of the ``cached_views``."""
        plain = self.cache(frames, folder / "lower-00.npy")
        if recipe.augmentation is None:
            return [plain]
        views = augmented_views(
            frames, recipe.augmentation.model_copy(update={"views": plan.cached_views}), seed=recipe.seed
        )
        return [plain, *(self.cache(view, folder / f"lower-{n:02}.npy") for n, view in enumerate(views, start=1))]

    def cache(self, frames: NDArray[np.uint8], path: Path) -> Cached:
        """Return the outputs (N, h, w, c) for ``frames``, from the file ``path`` if it exists.

        Raises:
            TrainingError: the disk is full, or the folder is not writable.
        """
        if not path.exists():
            started = time.monotonic()
            try:
                self._write(frames, path)
            except OSError as exc:
                raise TrainingError(
                    f"The frozen layers' outputs cannot be kept in {path.parent}: {exc.strerror or exc}. Free disk "
                    "space, set BRAINTUMOR_CACHE_FOLDER to a folder on another disk, or lower cached_views."
                ) from exc
            _log.info("outputs of the frozen layers for %d images in %.0f s", len(frames), time.monotonic() - started)
        outputs: Cached = np.load(path, mmap_mode="r")
        return outputs

    def _write(self, frames: NDArray[np.uint8], path: Path) -> None:
        """Write without a memory map, because a full disk ends a process that writes through a map."""
        path.parent.mkdir(parents=True, exist_ok=True)
        embed = fastest_embed(self._lower)
        shape = (len(frames), *self._shape)
        temporary = path.with_name(f"temporary-{path.name}")
        try:
            with temporary.open("wb") as stream:
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(stream, header)
                for start in range(0, len(frames), _PART):
                    (part,) = embed(np.ascontiguousarray(frames[start : start + _PART])).values()
                    stream.write(to_float16(part).astype("<f2").tobytes())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _upper(network: KerasModel, cut: object, plan: FineTuning) -> KerasModel:
    import keras

    try:
        if not isinstance(cut, list):
            return keras.Model(cut, network.output)
    except ValueError:  # a path does not pass the layer
        pass
    raise RecipeError(
        f"cached_views needs a from_layer that every path through the backbone passes. Received: {plan.from_layer!r}. "
        "Give the first layer of a block, or set cached_views to 0."
    )


def _is_every_other_cell_read(network: KerasModel, cut: object) -> bool:
    """Return whether every layer that reads ``cut`` is a convolution of one cell with a stride of 2.

    The stages of ResNet50 begin with such layers. They never read three quarters of the cells, so these cells need not
    be cached.
    """
    readers = [layer for layer in network.layers if any(tensor is cut for tensor in _inputs(layer))]
    return all(
        getattr(layer, "kernel_size", None) == (1, 1) and getattr(layer, "strides", None) == (2, 2) for layer in readers
    )


def _inputs(layer: KerasModel) -> Sequence[object]:
    return layer.input if isinstance(layer.input, list) else [layer.input]
