"""Score files of a folder, outside any ledger: what a person asks of one image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.guard import shared_guard
from braintumor.imaging.rejection import Rejection
from braintumor.labels import CLASSES
from braintumor.serving.answer import Answer, answers, of_scan
from braintumor.serving.engine import LoadedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class FileResult:
    """An answer, or why there is none; ``frame`` uint8 (S, S, 3) is what the model saw, ``None`` where rejected.

    ``is_volume``: the file holds several frames, of which this is one.
    """

    path: Path
    model_name: str
    result: Answer | Rejection
    is_volume: bool = False
    frame: NDArray[np.uint8] | None = field(default=None, repr=False)

    def to_values(self) -> dict[str, Any]:
        """Plain values, as ``braintumor predict --json`` prints them."""
        if isinstance(self.result, Rejection):
            return {"path": str(self.path), "rejected": self.result.reason.value, "detail": self.result.detail}
        return {
            "path": str(self.path),
            "predicted_class": self.result.predicted_class.value,
            "confidence": self.result.confidence,
            "probabilities": dict(zip((c.value for c in CLASSES), self.result.probabilities, strict=True)),
            "model_version": self.model_name,
            "out_of_distribution": self.result.out_of_distribution,
            "review_reasons": [*self.result.review_reasons],
            **({"frame_index": self.result.frame_index} if self.is_volume else {}),
        }


def predict_files(model: LoadedModel, paths: Iterable[Path]) -> Iterator[FileResult]:
    """One result per frame, or one per file that is rejected, in order, whatever the files hold."""
    for path in paths:
        yield from _predict(model, path)


def _predict(model: LoadedModel, path: Path) -> Iterator[FileResult]:
    name = model.manifest.name
    read = shared_guard().read(path.read_bytes(), size=model.manifest.image_size)
    if isinstance(read, Rejection):
        yield FileResult(path=path, model_name=name, result=read)
        return
    scan = replace(read.scan, content_sha256=None)  # in no ledger, so in no audit sample
    found = of_scan(answers(model.predict(scan.pixels), model.manifest), scan)
    for frame, answer in zip(scan.pixels, found, strict=True):
        yield FileResult(path=path, model_name=name, result=answer, is_volume=scan.is_volume, frame=frame)
