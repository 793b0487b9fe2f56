"""Let a model answer scans in the shadow: rows that no reader of answers ever sees.

A retry scores only what is missing. Reading runs ahead in threads, a bounded number of scans at a time, and each step
is written in one transaction, so memory does not grow with the number of scans and nothing is lost with a worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ObjectStoreUnreachableError
from braintumor.imaging.model_input import PreparedScan, take_step
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore
from braintumor.scoring.scored_scans import ScoredScan, Unread, read_frames
from braintumor.serving.backend import LoadedModel
from braintumor.serving.prediction import Prediction, take_predictions, to_predictions


def score_in_shadow(
    engine: Engine,
    store: ObjectStore,
    model: ModelVersion,
    loaded: LoadedModel,
    scans: Sequence[ScoredScan],
    *,
    run_key: str,
) -> Counter[Unread]:
    """Give every scan of ``scans`` its shadow predictions by ``model``; returns those that could not be read.

    Raises:
        ObjectStoreUnreachableError: S3 delivered nothing of a whole step, so it is S3 that is away.
    """
    missing = _without_shadow(engine, model, scans)
    size = loaded.manifest.image_size
    readings = store.concurrently(lambda scan: (scan, read_frames(store, scan, size=size)), missing)
    unread: Counter[Unread] = Counter()
    while step := take_step(readings, lambda reading: None if isinstance(reading[1], Unread) else reading[1]):
        failed = [reading for _, reading in step if isinstance(reading, Unread)]
        if failed.count(Unread.UNDELIVERED) == len(step):
            raise ObjectStoreUnreachableError(
                f"S3 delivered none of {len(step)} scans in a row for the preview of {model.model_name}. What was "
                "scored is kept: try again when S3 answers."
            )
        unread.update(failed)
        readable = [(scan, reading) for scan, reading in step if not isinstance(reading, Unread)]
        if readable:
            _write(engine, model, run_key, _infer(loaded, readable))
    return unread


def _without_shadow(engine: Engine, model: ModelVersion, scans: Sequence[ScoredScan]) -> list[ScoredScan]:
    with transaction(engine) as connection:
        known = connection.scalars(
            text("select scan_id from shadow_prediction where model_version_id = :model and scan_id = any(:scans)"),
            {"model": model.model_version_id, "scans": [scan.scan_id for scan in scans]},
        )
        has_shadow = set(known)
    return [scan for scan in scans if scan.scan_id not in has_shadow]


def _infer(
    loaded: LoadedModel, readable: Sequence[tuple[ScoredScan, PreparedScan]]
) -> Iterator[tuple[int, Prediction]]:
    """Scan id and answer of every frame, inferred in one go."""
    stream = to_predictions(loaded.predict(np.concatenate([frames.pixels for _, frames in readable])), loaded.manifest)
    for scan, frames in readable:
        for answer in take_predictions(stream, frames):
            yield scan.scan_id, answer


def _write(engine: Engine, model: ModelVersion, run_key: str, shadows: Iterator[tuple[int, Prediction]]) -> None:
    rows: list[dict[str, Any]] = [
        {
            "scan": scan_id,
            "frame": answer.frame_index,
            "model": model.model_version_id,
            "run_key": run_key,
            "predicted_class": answer.predicted_class.value,
            "confidence": answer.confidence,
            **dict(zip(("p0", "p1", "p2", "p3"), answer.probabilities, strict=True)),
            "activation_map": answer.activation_map.astype("<f2").tobytes(),
            "out_of_distribution": answer.out_of_distribution,
        }
        for scan_id, answer in shadows
    ]
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into shadow_prediction (
                scan_id, frame_index, model_version_id, run_key, predicted_class, confidence, probability_glioma,
                probability_meningioma, probability_normal, probability_pituitary, activation_map, out_of_distribution)
            values (
                :scan, :frame, :model, :run_key, :predicted_class, :confidence, :p0, :p1, :p2, :p3, :activation_map,
                :out_of_distribution)
            on conflict do nothing"""),
            rows,
        )
