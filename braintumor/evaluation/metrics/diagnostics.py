"""Measure more than accuracy on one split: calibration, speed, occlusion, slices and nearest training images.

Occlusion hides parts of an image. A slice has the images with a common attribute.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.snapshot import Snapshot
from braintumor.dataset.splits.split import Split
from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.calibration import (
    calibration_bins,
    expected_calibration_error,
    uncalibrated_probabilities,
)
from braintumor.evaluation.metrics.leakage import Neighbor, nearest_in_training
from braintumor.evaluation.metrics.occlusion import Occlusion, occlude
from braintumor.evaluation.metrics.slices import PREDICTION, SliceResult, slices
from braintumor.labels import CLASSES
from braintumor.serving.backend import LoadedModel, Outputs


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Hold the scoring speed of the served graph, and the hardware of the measurement.

    Attributes:
        images_per_second: predicted images per second of wall time, without decoding and resizing. Other work on the
            machine lowers the number.
        measured_on: backend, processor and threads.
    """

    images_per_second: float
    measured_on: str

    def __str__(self) -> str:
        return f"{self.images_per_second:,.1f} images/s ({self.measured_on})"


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Hold the diagnostics of one model on one split. A field is ``None`` or empty if it was not computed.

    Attributes:
        uncalibrated_error: expected calibration error before temperature scaling.
        throughput: speed of the served graph.
        occlusion: effect of hiding the place that the activation map marks, on test only.
        slices: accuracy of images with a common attribute, on test only.
        neighbors: the training image nearest to each test image. Each neighbor is stored with the prediction, and
            ``load_diagnostics`` does not load it.
    """

    uncalibrated_error: float | None = None
    throughput: Throughput | None = None
    occlusion: Occlusion | None = None
    slices: tuple[SliceResult, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()


def timed_predict(model: LoadedModel, frames: NDArray[np.uint8]) -> tuple[Outputs, Throughput]:
    """Return the model's outputs for ``frames``, uint8 (N, S, S, 3), N >= 1, and the speed of the prediction."""
    started = time.perf_counter()
    outputs = model.predict(frames)
    seconds = time.perf_counter() - started
    return outputs, Throughput(images_per_second=len(frames) / seconds, measured_on=model.device)


def diagnose(
    model: LoadedModel,
    *,
    snapshot: Snapshot,
    split: Split,
    frames: FrameArrays,
    outputs: Outputs,
    throughput: Throughput,
) -> Diagnostics:
    """Return the diagnostics of a model on one split: calibration error, speed, occlusion, slices and neighbors.

    Occlusion, slices and neighbors are computed only for the test split.

    Args:
        model: the loaded model.
        snapshot: the snapshot of the split.
        split: the split of ``frames``.
        frames: images and labels of the split.
        outputs: the model's outputs for ``frames``.
        throughput: measured speed, as ``timed_predict`` returns it.
    """
    chances = uncalibrated_probabilities(outputs.activation_map)
    diagnostics = Diagnostics(
        uncalibrated_error=expected_calibration_error(calibration_bins(frames.labels, chances)), throughput=throughput
    )
    if split is not Split.TEST:
        return diagnostics
    return replace(
        diagnostics,
        occlusion=occlude(model, frames=frames.frames, labels=frames.labels, outputs=outputs),
        slices=tuple(slices(predictions_frame(frames, outputs.probability))),
        neighbors=tuple(nearest_in_training(snapshot)),
    )


def predictions_frame(frames: FrameArrays, probabilities: NDArray[np.floating]) -> pd.DataFrame:
    """Return a DataFrame with one row per image, indexed by sha256: label, predicted class, group and attributes.

    The columns are ``label``, ``predicted``, ``group_key``, and one column for each attribute that any image has.

    Args:
        frames: N images with labels and attributes.
        probabilities: (N, 4), columns in the order of ``CLASSES``.

    Raises:
        EvaluationError: an attribute is named ``label``, ``predicted`` or ``group_key``.
    """
    known = [image.attributes for image in frames.images]
    names = dict.fromkeys(name for values in known for name in values)
    if names.keys() & set(PREDICTION):
        raise EvaluationError(
            f"Attributes of images must not be named {', '.join(PREDICTION)}. "
            f"Received: {', '.join(names)}. Rename that attribute."
        )
    return pd.DataFrame(
        {
            "label": [image.label.value for image in frames.images],
            "predicted": [CLASSES[int(best)].value for best in probabilities.argmax(axis=1)],
            "group_key": frames.groups,
            **{name: [values.get(name) for values in known] for name in names},
        },
        index=pd.Index([image.image_sha256 for image in frames.images], name="image_sha256"),
    )
