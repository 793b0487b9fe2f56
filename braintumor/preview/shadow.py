"""Score scans with a candidate, and store shadow predictions, which are never shown to reviewers.

The scans are scored in steps of limited size. Each step is committed in one transaction. A retry scores only scans
without shadow predictions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore
from braintumor.scoring.pipeline import Pipeline, Predicted, ToPredict
from braintumor.scoring.predictions import frame_values
from braintumor.scoring.reading import ReadFailure, Reading, ScanObject, ScanReader
from braintumor.serving.backend import LoadedModel


def score_in_shadow(
    engine: Engine,
    store: ObjectStore,
    model: ModelVersion,
    loaded: LoadedModel,
    scans: Sequence[ScanObject],
    *,
    run_key: str,
) -> Counter[ReadFailure]:
    """Write the shadow predictions of ``model`` for the scans, and return how many scans could not be read, by reason.

    ``loaded`` is ``model``, loaded for prediction. ``run_key`` identifies the retrain run.

    Raises:
        ObjectStoreUnreachableError: S3 delivered no scan of a whole step. The committed steps are kept.
    """
    reader = ScanReader(store=store, size=loaded.manifest.image_size, seconds=math.inf, max_errors=1)
    failures: Counter[ReadFailure] = Counter()

    def write(unread: list[ReadFailure], predicted: Predicted[int]) -> None:
        failures.update(unread)
        _write(engine, model, run_key, predicted)

    Pipeline(reader=reader, model=loaded).run(_without_shadow(engine, model, scans), _prepare, write)
    return failures


def _prepare(step: Sequence[Reading]) -> tuple[ToPredict[int], list[ReadFailure]]:
    readable = [(reading.scan_id, reading.frames) for reading in step if reading.frames]
    return readable, [reading.failure for reading in step if reading.failure]


def _without_shadow(engine: Engine, model: ModelVersion, scans: Sequence[ScanObject]) -> list[ScanObject]:
    with transaction(engine) as connection:
        known = connection.scalars(
            text("select scan_id from shadow_prediction where model_version_id = :model and scan_id = any(:scans)"),
            {"model": model.model_version_id, "scans": [scan.scan_id for scan in scans]},
        )
        has_shadow = set(known)
    return [scan for scan in scans if scan.scan_id not in has_shadow]


def _write(engine: Engine, model: ModelVersion, run_key: str, scans: Predicted[int]) -> None:
    rows = [
        {"scan_id": scan_id, "model": model.model_version_id, "run_key": run_key, **frame_values(prediction)}
        for scan_id, predictions in scans
        for prediction in predictions
    ]
    if not rows:
        return
    with transaction(engine) as connection:
        connection.execute(statement("preview/write_shadow"), rows)
