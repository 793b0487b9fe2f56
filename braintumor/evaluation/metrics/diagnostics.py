"""What judging a split finds beside the figures of its answers."""

from __future__ import annotations

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
from braintumor.evaluation.metrics.slices import SliceResult, slices
from braintumor.evaluation.metrics.throughput import Throughput
from braintumor.labels import CLASSES
from braintumor.serving.backend import LoadedModel, Outputs


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Of one model on one split; ``None`` and empty where nothing was looked at.

    Attributes:
        uncalibrated_error: expected calibration error before temperature scaling.
        throughput: speed of the served graph over these images.
        occlusion: what hiding the marked place does, on test.
        slices: accuracy of groups of images, on test.
        neighbors: the training image that each test image resembles most; only while judging, then with its answer.
    """

    uncalibrated_error: float | None = None
    throughput: Throughput | None = None
    occlusion: Occlusion | None = None
    slices: tuple[SliceResult, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()


def diagnose(
    model: LoadedModel,
    *,
    snapshot: Snapshot,
    split: Split,
    frames: FrameArrays,
    outputs: Outputs,
    throughput: Throughput,
) -> Diagnostics:
    """Look at a model's ``outputs`` of ``frames``; hiding, groups and neighbors on the test split only."""
    chances = uncalibrated_probabilities(outputs.activation_map)
    found = Diagnostics(
        uncalibrated_error=expected_calibration_error(calibration_bins(frames.labels, chances)), throughput=throughput
    )
    if split is not Split.TEST:
        return found
    return replace(
        found,
        occlusion=occlude(model, frames=frames.frames, labels=frames.labels, outputs=outputs),
        slices=tuple(slices(answers_frame(frames, outputs.probability))),
        neighbors=tuple(nearest_in_training(snapshot)),
    )


def answers_frame(frames: FrameArrays, probabilities: NDArray[np.floating]) -> pd.DataFrame:
    """One row per image, indexed by its sha256: ``label``, ``predicted``, then every attribute that any image has.

    Raises:
        EvaluationError: an attribute is called ``label`` or ``predicted``.
    """
    known = [image.attributes for image in frames.images]
    names = dict.fromkeys(name for values in known for name in values)
    if {"label", "predicted"} & names.keys():
        raise EvaluationError(
            "Attributes of images may have any name but label and predicted, which are the answers. "
            f"Received: {', '.join(names)}. Rename that attribute."
        )
    return pd.DataFrame(
        {
            "label": [image.label.value for image in frames.images],
            "predicted": [CLASSES[int(best)].value for best in probabilities.argmax(axis=1)],
            **{name: [values.get(name) for values in known] for name in names},
        },
        index=pd.Index([image.image_sha256 for image in frames.images], name="image_sha256"),
    )
