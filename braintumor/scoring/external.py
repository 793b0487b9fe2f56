"""Score files of a folder, outside any ledger: what a person asks of one image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braintumor.imaging.frames import decode
from braintumor.imaging.preprocess import prepare
from braintumor.imaging.rejection import Rejection
from braintumor.labels import CLASSES
from braintumor.serving.answer import Answer, answers
from braintumor.serving.engine import LoadedModel


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """An answer, or why there is none."""

    path: Path
    model_name: str
    result: Answer | Rejection

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
        }


def predict_files(model: LoadedModel, paths: Iterable[Path]) -> Iterator[FileResult]:
    """One result per file, in order, whatever the file holds."""
    for path in paths:
        yield FileResult(path=path, model_name=model.manifest.name, result=_predict(model, path))


def _predict(model: LoadedModel, path: Path) -> Answer | Rejection:
    decoded = decode(path.read_bytes())
    if isinstance(decoded, Rejection):
        return decoded
    frame = prepare(decoded.frames[0].pixels, size=model.manifest.image_size)
    return next(answers(model.predict(np.expand_dims(frame, 0)), model.manifest))
