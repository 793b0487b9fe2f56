"""Reports and pictures in S3, beside the files of the model that they speak of."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from braintumor.dataset.erased_subjects import writing_images
from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.splits.split import Split
from braintumor.db.database import transaction
from braintumor.errors import ModelIntegrityError, ObjectMissingError, ObjectStoreError
from braintumor.evaluation.gate.gate import Verdict
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.report.build import build_model_report
from braintumor.evaluation.report.cam_overlay import Sample
from braintumor.evaluation.report.html import CARD, model_report
from braintumor.evaluation.report.model_card import model_card
from braintumor.evaluation.report.model_report import ModelPictures
from braintumor.evaluation.store import load_evaluation
from braintumor.labels import CLASSES
from braintumor.registry.model_versions import ModelVersion, find_model, stored_files
from braintumor.reports.store import write_page
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.backend import Outputs

MARKDOWN = "text/markdown; charset=utf-8"
_SAMPLES = 12
_WORST = 8


def publish_pictures(
    engine: Engine, store: ObjectStore, model: ModelVersion, *, frames: FrameArrays, outputs: Outputs, test: Evaluation
) -> None:
    """Draw the plots of a model's answers on the test split, and store each as a PNG."""
    pictures = ModelPictures.draw(
        history=build_model_report(engine, model).history,
        test=test,
        labels=frames.labels,
        probabilities=outputs.probability,
        samples=[_sample(frames, outputs, index) for index in _spread(frames.labels)],
        worst_errors=[_sample(frames, outputs, index) for index in _worst(frames, outputs)],
    )
    for name in ModelPictures.__dataclass_fields__:
        picture: bytes | None = getattr(pictures, name)
        if picture is not None:
            store.write(_picture(model, name), picture, content_type="image/png")


def publish_report(engine: Engine, store: ObjectStore, model: ModelVersion, *, verdict: Verdict | None = None) -> S3Uri:
    """Write a model's page and card from its facts and stored pictures; returns the page's address."""
    folder = S3Uri.parse(model.artifact_uri)
    with writing_images(engine):
        pictures = ModelPictures(
            **{name: _stored(store, _picture(model, name)) for name in ModelPictures.__dataclass_fields__}
        )
        report = build_model_report(
            engine, model, pictures=pictures, verdict=verdict, artifact_bytes=artifact_bytes(store, model)
        )
        store.write(folder / CARD, model_card(report).encode(), content_type=MARKDOWN)
        write_page(store, folder / "report.html", model_report(report))
    return folder / "report.html"


def refresh_reports(engine: Engine, store: ObjectStore, models: Iterable[ModelVersion]) -> list[str]:
    """Write the reports of models anew whose standing has changed; those that were never evaluated have none.

    The ledger has committed by now, so a report that cannot be written is no failure: returns its words for people.
    """
    problems = []
    for name in {model.model_name: None for model in models}:
        model = find_model(engine, name)
        with transaction(engine) as connection:
            is_judged = load_evaluation(connection, model, model.snapshot_id, Split.TEST) is not None
        try:
            if is_judged:
                publish_report(engine, store, model)
        except (ObjectStoreError, ModelIntegrityError) as error:
            problems.append(f"The report of {name} still shows how it stood before: {error}")
    return problems


def card_of(engine: Engine, store: ObjectStore, model: ModelVersion) -> str:
    """A model's card as its facts are now.

    Raises:
        ModelIntegrityError: the model has not been evaluated.
    """
    return model_card(build_model_report(engine, model, artifact_bytes=artifact_bytes(store, model)))


def artifact_bytes(store: ObjectStore, model: ModelVersion) -> int:
    """Size of the model's registered files; reports and pictures beside them do not count."""
    return sum(entry.size for entry in stored_files(store, model))


def _picture(model: ModelVersion, name: str) -> S3Uri:
    return S3Uri.parse(model.artifact_uri) / f"plots/{name}.png"


def _stored(store: ObjectStore, uri: S3Uri) -> bytes | None:
    try:
        return store.read(uri)
    except ObjectMissingError:
        return None


def _sample(frames: FrameArrays, outputs: Outputs, index: np.intp) -> Sample:
    chances = outputs.probability[index]
    best = int(chances.argmax())
    return Sample(
        name=frames.images[index].image_sha256[:8],
        frame=frames.frames[index],
        truth=CLASSES[frames.labels[index]],
        predicted=CLASSES[best],
        confidence=float(chances[best]),
        activation_map=outputs.activation_map[index, :, :, best],
    )


def _spread(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """The first images of each class: in the order of their hashes, not by what looks good."""
    by_class = [np.flatnonzero(labels == label)[: _SAMPLES // len(CLASSES)] for label in range(len(CLASSES))]
    return np.concatenate(by_class)


def _worst(frames: FrameArrays, outputs: Outputs) -> NDArray[np.intp]:
    """Wrong answers, the most confident first."""
    wrong = np.flatnonzero(outputs.probability.argmax(axis=1) != frames.labels)
    order: NDArray[np.intp] = wrong[np.argsort(-outputs.probability[wrong].max(axis=1), kind="stable")][:_WORST]
    return order
