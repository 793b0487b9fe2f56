"""Judge a registered model on the splits of its snapshot, with the engine that will serve it, and report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import writing_images
from braintumor.dataset.frame_arrays import FrameArrays, load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.evaluation.metrics.classification import Evaluation, evaluate
from braintumor.evaluation.metrics.diagnostics import diagnose
from braintumor.evaluation.metrics.throughput import timed_predict
from braintumor.evaluation.report.publish import publish_pictures, publish_report
from braintumor.evaluation.store import record_evaluation
from braintumor.registry.model_versions import ModelVersion, find_model, load_model
from braintumor.s3 import ObjectStore
from braintumor.serving.backend import LoadedModel, Outputs


@dataclass(frozen=True, kw_only=True)
class SplitEvaluation:
    """A model's outputs on one split, and what they are worth."""

    frames: FrameArrays
    outputs: Outputs
    evaluation: Evaluation
    count_access: int


def evaluate_model(
    settings: Settings,
    name: str,
    *,
    access_key: str,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Judge a model on validation and test, record it, and put its report beside its files; returns its name.

    ``access_key`` names the look: a retry under the same key is no second one.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = find_model(engine, name)
    loaded = load_model(store, settings, model)
    with writing_images(engine):
        for split in (Split.VALIDATION, Split.TEST):
            judged = judge_split(
                engine,
                store,
                model,
                loaded,
                snapshot_id=model.snapshot_id,
                split=split,
                access_key=access_key,
            )
            figures = judged.evaluation
            say(
                f"{name} on {split}: accuracy {figures.accuracy:.3f} ({figures.accuracy_low:.3f} to "
                f"{figures.accuracy_high:.3f}), macro F1 {figures.macro_f1:.3f}, {figures.count} images, "
                f"look {judged.count_access}"
            )
        publish_pictures(engine, store, model, frames=judged.frames, outputs=judged.outputs, test=judged.evaluation)
        say(f"report: {publish_report(engine, store, model)}")
    return model.model_name


def evaluate_on(settings: Settings, name: str, snapshot_id: str, *, access_key: str) -> SplitEvaluation:
    """Judge a model on the test split of another snapshot, so that it can be compared with that one's models.

    An image never changes its split, so no test image of any snapshot is one that it was trained on.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = find_model(engine, name)
    loaded = load_model(store, settings, model)
    return judge_split(engine, store, model, loaded, snapshot_id=snapshot_id, split=Split.TEST, access_key=access_key)


def judge_split(
    engine: Engine,
    store: ObjectStore,
    model: ModelVersion,
    loaded: LoadedModel,
    *,
    snapshot_id: str,
    split: Split,
    access_key: str,
) -> SplitEvaluation:
    """Score every image of a split, and record the figures, the findings and each answer."""
    with writing_images(engine):
        snapshot = load_snapshot(engine, snapshot_id)
        frames = load_frames(store, snapshot, split, size=model.image_size)
        outputs, throughput = timed_predict(loaded, frames.frames)
        findings = diagnose(
            loaded, snapshot=snapshot, split=split, frames=frames, outputs=outputs, throughput=throughput
        )
        evaluation = evaluate(labels=frames.labels, probabilities=outputs.probability, split=split)
        with transaction(engine) as connection:
            looks = record_evaluation(
                connection,
                model,
                snapshot_id,
                evaluation,
                frames=frames,
                probabilities=outputs.probability,
                findings=findings,
                access_key=access_key,
            )
    return SplitEvaluation(frames=frames, outputs=outputs, evaluation=evaluation, count_access=looks)
