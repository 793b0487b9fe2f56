"""Evaluate a registered model on validation and test with the serving backend, and publish the model's report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import writing_images
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.evaluation.metrics.classification import evaluate
from braintumor.evaluation.metrics.diagnostics import diagnose, timed_predict
from braintumor.evaluation.report.publish import publish_plots, publish_report
from braintumor.evaluation.store import SplitEvaluation, record_evaluation
from braintumor.registry.model_versions import ModelVersion, find_model, load_model
from braintumor.s3 import ObjectStore
from braintumor.serving.backend import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Evaluate one loaded model, and record the results."""

    engine: Engine
    store: ObjectStore
    model: ModelVersion
    loaded: LoadedModel

    @classmethod
    def open(cls, settings: Settings, name: str) -> Self:
        """Return an evaluator of the model ``name``, with the model loaded.

        Raises:
            ModelIntegrityError: no model has this name, or the model's files differ from the registry.
        """
        engine, store = database.connect(settings), ObjectStore.connect(settings)
        model = find_model(engine, name)
        return cls(engine=engine, store=store, model=model, loaded=load_model(store, settings, model))

    def evaluate_split(self, snapshot_id: str, split: Split, *, access_key: str) -> SplitEvaluation:
        """Predict every image of a split, record metrics, diagnostics and predictions, and return them.

        ``access_key`` identifies the caller, such as a DAG run. An evaluation with a known key is a retry, and is not
        counted again as a test-set access.
        """
        with writing_images(self.engine):
            snapshot = load_snapshot(self.engine, snapshot_id)
            frames = load_frames(self.store, snapshot, split, size=self.model.image_size)
            outputs, throughput = timed_predict(self.loaded, frames.frames)
            diagnostics = diagnose(
                self.loaded, snapshot=snapshot, split=split, frames=frames, outputs=outputs, throughput=throughput
            )
            evaluation = evaluate(labels=frames.labels, probabilities=outputs.probability, split=split)
            result = SplitEvaluation(frames=frames, outputs=outputs, evaluation=evaluation, diagnostics=diagnostics)
            with transaction(self.engine) as connection:
                count = record_evaluation(connection, self.model, snapshot_id, result, access_key=access_key)
        return replace(result, count_access=count)


def evaluate_model(
    settings: Settings, name: str, *, access_key: str, progress: Callable[[str], None] = lambda _: None
) -> str:
    """Evaluate a model on validation and test, record the results, publish its report, and return its name.

    ``name`` is the name or number of the model. ``access_key`` identifies the caller, such as a DAG run. An evaluation
    with a known key is a retry, and is not counted again as a test-set access. ``progress`` receives one line per
    split, then the S3 address of the report.
    """
    evaluator = Evaluator.open(settings, name)
    engine, store, model = evaluator.engine, evaluator.store, evaluator.model
    with writing_images(engine):
        for split in (Split.VALIDATION, Split.TEST):
            result = evaluator.evaluate_split(model.snapshot_id, split, access_key=access_key)
            metrics = result.evaluation
            progress(
                f"{name} on {split}: accuracy {metrics.accuracy:.3f} ({metrics.accuracy_low:.3f} to "
                f"{metrics.accuracy_high:.3f}), macro F1 {metrics.macro_f1:.3f}, {metrics.count} images, "
                f"evaluation {result.count_access} on this split"
            )
        publish_plots(engine, store, model, result)
        progress(f"report: {publish_report(engine, store, model)}")
    return model.model_name


def evaluate_on(settings: Settings, name: str, snapshot_id: str, *, access_key: str) -> SplitEvaluation:
    """Evaluate a model on the test split of another snapshot, for a comparison with the models of that snapshot.

    An image has the same split in every snapshot, so the model was not trained on a test image of any snapshot.
    ``name`` and ``access_key`` are as for ``evaluate_model``.
    """
    return Evaluator.open(settings, name).evaluate_split(snapshot_id, Split.TEST, access_key=access_key)
