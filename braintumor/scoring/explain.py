"""Explain a prediction: return the object, model and runs behind it, and repeat the prediction to compare."""

from __future__ import annotations

from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import (
    ModelIntegrityError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectRefusedError,
    ObjectStoreError,
    ScoringRunError,
)
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.imaging.model_input import PreparedFile
from braintumor.labels import CLASSES
from braintumor.registry.model_versions import find_model, load_model
from braintumor.s3 import ObjectStore
from braintumor.scoring.reading import Reading, ScanReader
from braintumor.scoring.scored_scans import find_scans

_REJECTED = """
    select reason from rejection join scan using (scan_id)
    where scan_id = :scan and state = 'rejected' order by rejection.scoring_run_id desc limit 1"""
TOLERANCE = 1e-3
"""Largest accepted difference between stored and repeated probability. Processors add in different orders."""


def explain(engine: Engine, scan_id: int, *, frame: int = 0, model: str | None = None) -> dict[str, Any]:
    """Return the prediction for a frame of a scan with its object version, model and runs, without the object key.

    ``frame`` is the index of the frame. ``model`` is a model name. ``None`` means the model of the current prediction.
    Raises ``ScoringRunError`` if there is no such prediction.
    """
    values = {"scan": scan_id, "frame": frame, "model": model}
    with transaction(engine) as connection:
        row = connection.execute(statement("scoring/explain"), values).one_or_none()
        rejected = connection.scalar(text(_REJECTED), values) if row is None else None
    if row is not None:
        return dict(row._mapping)
    if rejected is not None:
        reason = RejectionReason(rejected)
        raise ScoringRunError(f"Scan {scan_id} was rejected ({reason}). {reason.explanation} {reason.remedy}")
    by_model = f" by {model}" if model else ""
    raise ScoringRunError(
        f"Scan {scan_id} has no prediction{by_model} for frame {frame}. See its predictions: `braintumor scan show "
        f"{scan_id}`."
    )


def replay(settings: Settings, engine: Engine, store: ObjectStore, chain: dict[str, Any]) -> list[str]:
    """Repeat a prediction from its object and model in S3, and return the differences, one text each.

    ``chain`` is the result of ``explain``. The list is empty if no probability differs by more than ``TOLERANCE``.
    Raises ``ObjectStoreUnreachableError`` if S3 does not deliver the object or the model.
    """
    registered = find_model(engine, chain["model_name"])
    (scan,) = find_scans(engine, [chain["scan_id"]])
    reading = ScanReader(store=store, size=registered.image_size).read(scan)
    differences = _changed_object(reading, chain)
    if chain["preprocessing"] != PREPROCESSING:
        differences.insert(0, f"preprocessing: {chain['preprocessing']} then, {PREPROCESSING} now")
    try:
        with TemporaryDirectory(prefix="braintumor-replay-") as folder:
            model = load_model(store, replace(settings, cache_folder=folder), registered)
    except ModelIntegrityError as error:
        return [*differences, f"model: {error}"]
    if differences:
        return differences
    if isinstance(reading.result, Rejection):
        return [f"decoding: the scan is rejected now: {reading.result.reason}"]
    pixels = reading.frames.frame(chain["frame_index"]) if reading.frames else None
    if pixels is None:
        return [f"decoding: frame {chain['frame_index']} is not scored now"]
    probability = model.predict(pixels[np.newaxis]).probability[0]
    recorded = [chain[f"probability_{name.value}"] for name in CLASSES]
    distance = float(np.abs(probability - np.array(recorded)).max())
    return [] if distance <= TOLERANCE else [f"prediction: a probability differs by {distance:.4f}"]


def _changed_object(reading: Reading, chain: dict[str, Any]) -> list[str]:
    """Return one text about how the object differs from the scored version, or an empty list if it is equal."""
    match reading.result:
        case ObjectMissingError():
            return ["object: gone"]
        case ObjectChangedError():
            return ["object: overwritten since it was scored"]
        case ObjectRefusedError():
            return ["object: refused by S3"]
        case ObjectStoreError() as error:
            raise error
        case PreparedFile(scan=scan) if scan.content_sha256 != chain["content_sha256"]:
            return ["object: its sha256 differs"]
    return []
