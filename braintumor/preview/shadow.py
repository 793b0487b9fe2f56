"""Score scans with a candidate, and store shadow predictions, which no reader of predictions sees.

A retry scores only scans without shadow predictions. A step is a few scans that are predicted together. Each step
commits in one transaction, so a crash loses no committed step. Memory does not grow with the number of scans.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore
from braintumor.scoring.reading import ReadFailure, ScanObject, ScanReader
from braintumor.serving.backend import LoadedModel
from braintumor.serving.prediction import Prediction, submit_scans


def score_in_shadow(
    engine: Engine,
    store: ObjectStore,
    model: ModelVersion,
    loaded: LoadedModel,
    scans: Sequence[ScanObject],
    *,
    run_key: str,
) -> Counter[ReadFailure]:
    """Write the shadow predictions of ``model`` for the scans, and return the number of unread scans per reason.

    ``loaded`` is the compiled ``model``. ``run_key`` identifies the retrain run.

    Raises:
        ObjectStoreUnreachableError: S3 delivered no scan of a whole step. The committed steps are kept.
    """
    missing = _without_shadow(engine, model, scans)
    reader = ScanReader(store=store, size=loaded.manifest.image_size, seconds=math.inf, max_errors=1)
    failures: Counter[ReadFailure] = Counter()
    with closing(reader.steps(missing)) as steps:
        for step in steps:
            failures.update(reading.failure for reading in step if reading.failure)
            readable = [(reading.scan_id, reading.frames) for reading in step if reading.frames]
            predictions = submit_scans(loaded, [frames for _, frames in readable])()
            scan_ids = [scan_id for scan_id, _ in readable]
            _write(engine, model, run_key, zip(scan_ids, predictions, strict=True))
    return failures


def _without_shadow(engine: Engine, model: ModelVersion, scans: Sequence[ScanObject]) -> list[ScanObject]:
    with transaction(engine) as connection:
        known = connection.scalars(
            text("select scan_id from shadow_prediction where model_version_id = :model and scan_id = any(:scans)"),
            {"model": model.model_version_id, "scans": [scan.scan_id for scan in scans]},
        )
        has_shadow = set(known)
    return [scan for scan in scans if scan.scan_id not in has_shadow]


def _write(
    engine: Engine, model: ModelVersion, run_key: str, scans: Iterable[tuple[int, Sequence[Prediction]]]
) -> None:
    rows: list[dict[str, Any]] = [
        {
            "scan": scan_id,
            "frame": prediction.frame_index,
            "model": model.model_version_id,
            "run_key": run_key,
            "predicted_class": prediction.predicted_class.value,
            "confidence": prediction.confidence,
            **dict(zip(("p0", "p1", "p2", "p3"), prediction.probabilities, strict=True)),
            "activation_map": prediction.activation_map.astype("<f2").tobytes(),
            "out_of_distribution": prediction.out_of_distribution,
        }
        for scan_id, predictions in scans
        for prediction in predictions
    ]
    if not rows:
        return
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
