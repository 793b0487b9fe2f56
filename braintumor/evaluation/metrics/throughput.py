"""How fast the served graph answers, measured while it is judged."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braintumor.serving.backend import LoadedModel, Outputs


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """A speed, and on what it was measured.

    Attributes:
        images_per_second: decoded, resized images through the graph, by wall time: other work on the machine lowers it.
        measured_on: engine, processor and threads.
    """

    images_per_second: float
    measured_on: str

    def __str__(self) -> str:
        return f"{self.images_per_second:,.1f} images/s ({self.measured_on})"


def timed_predict(model: LoadedModel, frames: NDArray[np.uint8]) -> tuple[Outputs, Throughput]:
    """``model.predict`` of ``frames`` uint8 (N, S, S, 3), N of 1 or more, and how fast it was."""
    started = time.perf_counter()
    outputs = model.predict(frames)
    seconds = time.perf_counter() - started
    return outputs, Throughput(images_per_second=len(frames) / seconds, measured_on=model.device)
