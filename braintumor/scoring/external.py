"""Score files of a folder, outside any ledger: what a person asks of one image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.frames import decode
from braintumor.imaging.preprocess import prepare
from braintumor.imaging.rejection import Rejection
from braintumor.labels import CLASSES
from braintumor.serving.answer import Answer, answers
from braintumor.serving.engine import LoadedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class FileResult:
    """An answer, or why there is none; ``frame`` uint8 (S, S, 3) is what the model saw, ``None`` where rejected."""

    path: Path
    model_name: str
    result: Answer | Rejection
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
        }


def predict_files(model: LoadedModel, paths: Iterable[Path]) -> Iterator[FileResult]:
    """One result per file, in order, whatever the file holds."""
    for path in paths:
        yield _predict(model, path)


def _predict(model: LoadedModel, path: Path) -> FileResult:
    name, decoded = model.manifest.name, decode(path.read_bytes())
    if isinstance(decoded, Rejection):
        return FileResult(path=path, model_name=name, result=decoded)
    frame = prepare(decoded.frames[0].pixels, size=model.manifest.image_size)
    answer = next(answers(model.predict(np.expand_dims(frame, 0)), model.manifest))
    return FileResult(path=path, model_name=name, result=answer, frame=frame)
