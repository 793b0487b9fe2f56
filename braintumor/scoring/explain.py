"""Why a row says what it says: the chain from object and model to answer, and whether it still gives that answer."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.errors import (
    ModelIntegrityError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectRefusedError,
    ScoringRunError,
)
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.imaging.model_input import to_model_input
from braintumor.labels import CLASSES
from braintumor.registry.model_versions import find_model, load_model
from braintumor.s3 import ObjectStore
from braintumor.scoring.scored_scans import find_scans

TOLERANCE = 1e-3
"""Largest difference of a probability that is a match: other processors add in another order."""


def explain(engine: Engine, scan_id: int, *, frame: int = 0, model: str | None = None) -> dict[str, Any]:
    """The chain behind one answer: without ``model``, behind the one that stands. The key is not in it.

    Raises:
        ScoringRunError: there is no such answer.
    """
    with transaction(engine) as connection:
        row = connection.execute(text(_CHAIN), {"scan": scan_id, "frame": frame, "model": model}).one_or_none()
    if row is None:
        whose = f" by {model}" if model else ""
        raise ScoringRunError(
            f"Scan {scan_id} has no answer{whose} for frame {frame}. `braintumor scan show {scan_id}` says what it has."
        )
    return dict(row._mapping)


def replay(settings: Settings, engine: Engine, store: ObjectStore, chain: dict[str, Any]) -> list[str]:
    """Fetch object and model afresh and score again; the links that changed, none for a match within ``TOLERANCE``.

    Raises:
        ObjectStoreUnreachableError: S3 did not answer, so nothing can be said.
    """
    data, found = _fetched(store, engine, chain)
    if chain["preprocessing"] != PREPROCESSING:
        found.insert(0, f"preprocessing: {chain['preprocessing']} then, {PREPROCESSING} today")
    try:
        with TemporaryDirectory(prefix="braintumor-replay-") as folder:
            fresh = replace(settings, cache_folder=folder)
            model = load_model(store, fresh, find_model(engine, chain["model_name"]))
    except ModelIntegrityError as error:
        return [*found, f"model: {error}"]
    if found:
        return found
    decoded = decode(data, limits=Limits())
    if isinstance(decoded, Rejection):
        return [f"decoding: the scan is rejected today: {decoded.reason}"]
    pixels = to_model_input(decoded, size=model.manifest.image_size).frame(chain["frame_index"])
    if pixels is None:
        return [f"decoding: frame {chain['frame_index']} is not scored today"]
    answer = model.predict(pixels[np.newaxis]).probability[0]
    recorded = [chain[f"probability_{name.value}"] for name in CLASSES]
    distance = float(np.abs(answer - np.array(recorded)).max())
    return [] if distance <= TOLERANCE else [f"answer: a probability differs by {distance:.4f}"]


def _fetched(store: ObjectStore, engine: Engine, chain: dict[str, Any]) -> tuple[bytes, list[str]]:
    """The object as it is today, and what is another with it."""
    (scan,) = find_scans(engine, [chain["scan_id"]])
    try:
        data = store.read(scan.location, etag=scan.etag, max_bytes=Limits().max_bytes)
    except ObjectMissingError:
        return b"", ["object: gone"]
    except ObjectChangedError:
        return b"", ["object: overwritten since it was scored"]
    except ObjectRefusedError:
        return b"", ["object: S3 refuses to hand it out"]
    is_same = sha256(data).hexdigest() == chain["content_sha256"]
    return data, [] if is_same else ["object: its sha256 differs"]


_CHAIN = """
    select
        prediction.scan_id,
        prediction.frame_index,
        prediction.predicted_class::text as predicted_class,
        prediction.confidence,
        prediction.probability_glioma,
        prediction.probability_meningioma,
        prediction.probability_normal,
        prediction.probability_pituitary,
        prediction.out_of_distribution,
        prediction.review_reasons,
        scan_location.etag,
        scan.size_bytes,
        scan.content_sha256,
        prediction.preprocessing,
        model_version.model_name,
        model_version.artifact_sha256s,
        training_run.snapshot_id,
        training_run.recipe_name,
        training_run.recipe_override,
        training_run.code_version,
        scoring_run.scoring_run_id,
        scoring_run.run_key,
        prediction.engine,
        prediction.copied_from_scan_id,
        prediction.scored_at,
        promotion.action::text as promotion_action,
        promotion.actor as promotion_actor,
        promotion.reason as promotion_reason,
        promotion.is_override,
        promotion.promoted_at,
        gate_verdict.is_passed as is_gate_passed,
        gate_verdict.summary as gate_summary
    from prediction
    join scan using (scan_id)
    join scan_location using (scan_id)
    join model_version using (model_version_id)
    join training_run using (training_run_id)
    join scoring_run on scoring_run.scoring_run_id = prediction.scoring_run_id
    left join lateral (
        select * from promotion
        where promotion.model_version_id = prediction.model_version_id and promoted_at <= scoring_run.started_at
        order by promotion_id desc limit 1) as promotion on true
    left join gate_verdict using (gate_verdict_id)
    where prediction.scan_id = :scan and prediction.frame_index = :frame
      and model_version.model_name = coalesce(
        cast(:model as text),
        (select model_name from current_prediction where scan_id = :scan and frame_index = :frame))"""
