"""Predict local files, without writing to the database."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.filenames import as_utf8
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.labels import CLASSES
from braintumor.serving.backend import LoadedModel
from braintumor.serving.prediction import Prediction, submit_scans


@dataclass(frozen=True, kw_only=True, eq=False)
class FileResult:
    """Hold the prediction of one frame, or the rejection of a file.

    ``is_volume`` says whether the file has several frames. ``frame`` is the model's input, a uint8 array of shape
    (size, size, 3). For a rejection, ``frame`` is ``None``.
    """

    path: Path
    model_name: str
    result: Prediction | Rejection
    is_volume: bool = False
    frame: NDArray[np.uint8] | None = field(default=None, repr=False)

    def to_values(self) -> dict[str, Any]:
        """Return the result as plain values, as ``braintumor predict --json`` prints them."""
        if isinstance(self.result, Rejection):
            return {"path": as_utf8(self.path), "rejected": self.result.reason.value, "detail": self.result.detail}
        return {
            "path": as_utf8(self.path),
            "predicted_class": self.result.predicted_class.value,
            "confidence": self.result.confidence,
            "probabilities": dict(zip((c.value for c in CLASSES), self.result.probabilities, strict=True)),
            "prediction_set": self.result.prediction_set,
            "model_version": self.model_name,
            "out_of_distribution": self.result.out_of_distribution,
            "review_reasons": [*self.result.review_reasons],
            **({"frame_index": self.result.frame_index} if self.is_volume else {}),
        }


def predict_files(model: LoadedModel, paths: Iterable[Path]) -> Iterator[FileResult]:
    """Yield one result per frame, or one per rejected file, in the order of ``paths``."""
    for path in paths:
        yield from _predict(model, path)


def _predict(model: LoadedModel, path: Path) -> Iterator[FileResult]:
    name = model.manifest.name
    data = _read_file(path)
    read = data if isinstance(data, Rejection) else default_pool().read(data, size=model.manifest.image_size)
    if isinstance(read, Rejection):
        yield FileResult(path=path, model_name=name, result=read)
        return
    scan = replace(read.scan, content_sha256=None)  # files outside the scan table are not audited
    (predictions,) = submit_scans(model, [scan])()
    for frame, prediction in zip(scan.pixels, predictions, strict=True):
        yield FileResult(path=path, model_name=name, result=prediction, is_volume=scan.is_volume, frame=frame)


def _read_file(path: Path) -> bytes | Rejection:
    """Return the bytes of a regular file, or a rejection of any other file. Reading a pipe could wait forever."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a special file")
            return Rejection(reason=RejectionReason.UNSUPPORTED_FORMAT, detail=f"{kind}; only regular files are read")
        with path.open("rb") as stream:
            return stream.read(Limits().max_bytes + 1)
    except OSError as exc:
        detail = f"the file cannot be opened: {exc.strerror}"
        return Rejection(reason=RejectionReason.ACCESS_DENIED, detail=detail)


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
