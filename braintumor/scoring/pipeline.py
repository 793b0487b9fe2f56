"""Read, decode, predict and write scans in steps. Scoring, rescoring and the preview share this pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from braintumor.imaging.model_input import PreparedScan, one_ahead
from braintumor.scoring.reading import Reading, ScanObject, ScanReader
from braintumor.serving.backend import LoadedModel
from braintumor.serving.prediction import Prediction, submit_scans

Scan = TypeVar("Scan")
Outcome = TypeVar("Outcome")

ToPredict: TypeAlias = list[tuple[Scan, PreparedScan]]
"""Scans of one step, each with its frames."""
Predicted: TypeAlias = list[tuple[Scan, tuple[Prediction, ...]]]
"""Scans of one step, each with one prediction per frame."""


@dataclass(kw_only=True)
class Pipeline:
    """Predict scans with one or two models.

    ``seconds`` has the seconds that the pipeline has waited for the stages ``read`` and ``infer``. The stages overlap,
    so the slowest stage has the most.
    """

    reader: ScanReader
    model: LoadedModel
    second: LoadedModel | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "infer": 0.0})

    def run(
        self,
        scans: Sequence[ScanObject],
        prepare: Callable[[list[Reading]], tuple[ToPredict[Scan], list[Outcome]]],
        write: Callable[[list[Outcome], Predicted[Scan]], None],
    ) -> None:
        """Process the scans in steps, and write each step as soon as it is predicted.

        ``prepare`` receives the readings of a step. It returns the scans to predict, and the outcomes of the other
        scans. ``write`` receives the outcomes from ``prepare`` and the predicted scans.

        Raises:
            ObjectStoreUnreachableError: S3 is unreachable. Every step that was read before is written.
        """
        with closing(self.reader.steps(scans)) as steps:
            for wait in one_ahead(self._submit(*prepare(step)) for step in self._timed_steps(steps)):
                with self._timed("infer"):
                    predicted, others = wait()
                write(others, predicted)

    def _submit(
        self, scans: ToPredict[Scan], others: list[Outcome]
    ) -> Callable[[], tuple[Predicted[Scan], list[Outcome]]]:
        with self._timed("infer"):  # because a full queue of the backend makes this wait
            wait = submit_scans(self.model, [frames for _, frames in scans], second=self.second)
        return lambda: (list(zip((scan for scan, _ in scans), wait(), strict=True)), others)

    def _timed_steps(self, steps: Iterator[list[Reading]]) -> Iterator[list[Reading]]:
        while True:
            with self._timed("read"):
                step = next(steps, None)
            if step is None:
                return
            yield step

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] += time.monotonic() - started
