"""Judge a registered model on the splits of its snapshot, with the engine that will serve it, and report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from braintumor import database
from braintumor.database import transaction
from braintumor.dataset.frameset import FrameSet, load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.split import Split
from braintumor.evaluation.dossier import dossier
from braintumor.evaluation.metrics import Evaluation, evaluate
from braintumor.evaluation.overlay import Sample
from braintumor.evaluation.record import record_evaluation
from braintumor.evaluation.report import ModelPictures, model_report
from braintumor.labels import CLASSES
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.registry import ModelVersion, find_model, load_model
from braintumor.serving.engine import LoadedModel, Outputs
from braintumor.settings import Settings

_SAMPLES = 12
_WORST = 8


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model's outputs on one split, and what they are worth."""

    frames: FrameSet
    outputs: Outputs
    evaluation: Evaluation
    count_look: int


def evaluate_model(settings: Settings, name: str, *, say: Callable[[str], None] = lambda _: None) -> str:
    """Judge a model on validation and test, record it, and put its report beside its files; returns its name."""
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = find_model(engine, name)
    loaded = load_model(store, settings, model)
    for split in (Split.VALIDATION, Split.TEST):
        judged = judge_split(engine, store, model, loaded, snapshot_id=model.snapshot_id, split=split)
        figures = judged.evaluation
        say(
            f"{name} on {split}: accuracy {figures.accuracy:.3f} ({figures.accuracy_low:.3f} to "
            f"{figures.accuracy_high:.3f}), macro F1 {figures.macro_f1:.3f}, {figures.count} images, "
            f"look {judged.count_look}"
        )
    address = _publish(engine, store, model, judged)
    say(f"report: {address}")
    return name


def judge_split(
    engine: Engine, store: ObjectStore, model: ModelVersion, loaded: LoadedModel, *, snapshot_id: str, split: Split
) -> Judged:
    """Score every image of a split, and record the figures and each answer."""
    frames = load_frames(store, load_snapshot(engine, snapshot_id), split, size=model.image_size)
    outputs = loaded.predict(frames.frames)
    evaluation = evaluate(labels=frames.labels, probabilities=outputs.probability, split=split)
    with transaction(engine) as connection:
        looks = record_evaluation(
            connection, model, snapshot_id, evaluation, frames=frames, probabilities=outputs.probability
        )
    return Judged(frames=frames, outputs=outputs, evaluation=evaluation, count_look=looks)


def _publish(engine: Engine, store: ObjectStore, model: ModelVersion, test: Judged) -> S3Uri:
    """Write the report and its pictures beside the model's files; returns the report's address."""
    folder = S3Uri.parse(model.artefact_uri)
    size = sum(entry.size for entry in store.list(folder) if entry.key.rpartition("/")[2] in model.artefact_sha256s)
    facts = dossier(engine, model)
    pictures = ModelPictures.draw(
        history=facts.history,
        test=test.evaluation,
        labels=test.frames.labels,
        probabilities=test.outputs.probability,
        samples=_samples(test, _spread(test.frames.labels)),
        worst_errors=_samples(test, _worst(test)),
    )
    for name in pictures.__dataclass_fields__:
        picture: bytes | None = getattr(pictures, name)
        if picture is not None:
            store.write(folder / f"plots/{name}.png", picture, content_type="image/png")
    page = model_report(dossier(engine, model, pictures=pictures, artefact_bytes=size))
    store.write(folder / "report.html", page.encode(), content_type="text/html; charset=utf-8")
    return folder / "report.html"


def _samples(judged: Judged, indexes: NDArray[np.intp]) -> list[Sample]:
    return [_sample(judged, int(index)) for index in indexes]


def _sample(judged: Judged, index: int) -> Sample:
    chances = judged.outputs.probability[index]
    best = int(chances.argmax())
    return Sample(
        name=judged.frames.images[index].image_sha256[:8],
        frame=judged.frames.frames[index],
        truth=CLASSES[judged.frames.labels[index]],
        predicted=CLASSES[best],
        confidence=float(chances[best]),
        activation_map=judged.outputs.activation_map[index, :, :, best],
    )


def _spread(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """The first images of each class in turn: chosen by hash order, not by what looks good."""
    by_class = [np.flatnonzero(labels == label)[: _SAMPLES // len(CLASSES)] for label in range(len(CLASSES))]
    return np.concatenate(by_class)


def _worst(judged: Judged) -> NDArray[np.intp]:
    """Wrong answers, the most confident first."""
    probability = judged.outputs.probability
    wrong = np.flatnonzero(probability.argmax(axis=1) != judged.frames.labels)
    order: NDArray[np.intp] = wrong[np.argsort(-probability[wrong].max(axis=1), kind="stable")][:_WORST]
    return order
