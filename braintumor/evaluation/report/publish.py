"""Store a model's report, card and plots in S3, next to the model's files."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from braintumor.dataset.erased_subjects import writing_images
from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.splits.split import Split
from braintumor.db.database import transaction
from braintumor.errors import BrainTumorError, ObjectMissingError
from braintumor.evaluation.gate.gate import Verdict
from braintumor.evaluation.report.build import build_model_report
from braintumor.evaluation.report.cam_overlay import Sample
from braintumor.evaluation.report.html import CARD, model_report
from braintumor.evaluation.report.model_card import model_card
from braintumor.evaluation.report.model_report import ModelPlots
from braintumor.evaluation.store import SplitEvaluation, load_evaluation
from braintumor.labels import CLASSES
from braintumor.registry.model_versions import ModelVersion, find_model, stored_files
from braintumor.reports.paths import write_page
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.backend import Outputs

MARKDOWN = "text/markdown; charset=utf-8"
_SAMPLES = 12
_WORST = 8


def publish_plots(engine: Engine, store: ObjectStore, model: ModelVersion, test: SplitEvaluation) -> None:
    """Draw the plots of a model's predictions on the test split, and store each plot as a PNG."""
    frames, outputs = test.frames, test.outputs
    plots = ModelPlots.draw(
        history=build_model_report(engine, model).history,
        test=test.evaluation,
        labels=frames.labels,
        probabilities=outputs.probability,
        samples=[_sample(frames, outputs, index) for index in _first_of_each_class(frames.labels)],
        worst_errors=[_sample(frames, outputs, index) for index in _worst_errors(frames, outputs)],
    )
    for name in ModelPlots.__dataclass_fields__:
        plot: bytes | None = getattr(plots, name)
        if plot is not None:
            store.write(_plot_uri(model, name), plot, content_type="image/png")


def publish_report(engine: Engine, store: ObjectStore, model: ModelVersion, *, verdict: Verdict | None = None) -> S3Uri:
    """Write a model's report page and model card to S3, and return the address of the page.

    The content comes from Postgres and from the plots in S3. If ``verdict`` is ``None``, the page shows the newest
    stored verdict on the model, if there is one.
    """
    folder = S3Uri.parse(model.artifact_uri)
    with writing_images(engine):
        plots = ModelPlots(**{name: _stored(store, _plot_uri(model, name)) for name in ModelPlots.__dataclass_fields__})
        report = build_model_report(
            engine, model, plots=plots, verdict=verdict, artifact_bytes=artifact_bytes(store, model)
        )
        store.write(folder / CARD, model_card(report).encode(), content_type=MARKDOWN)
        write_page(store, folder / "report.html", model_report(report))
    return folder / "report.html"


def refresh_reports(engine: Engine, store: ObjectStore, models: Iterable[ModelVersion]) -> list[str]:
    """Rewrite the reports of those ``models`` that were evaluated.

    Return a message for each report that could not be written. Such a report raises no error, because the change of
    the model's status is already committed.
    """
    problems = []
    for name in dict.fromkeys(model.model_name for model in models):
        try:
            current = find_model(engine, name)
            with transaction(engine) as connection:
                is_evaluated = load_evaluation(connection, current, current.snapshot_id, Split.TEST) is not None
            if is_evaluated:
                publish_report(engine, store, current)
        except BrainTumorError as error:
            problems.append(f"The report of {name} still shows its earlier status: {error}")
    return problems


def card_of(engine: Engine, store: ObjectStore, model: ModelVersion) -> str:
    """Return a model's card in Markdown. A model without an evaluation raises ``ModelIntegrityError``."""
    return model_card(build_model_report(engine, model, artifact_bytes=artifact_bytes(store, model)))


def artifact_bytes(store: ObjectStore, model: ModelVersion) -> int:
    """Return the size of the model's registered files in bytes, without reports and plots."""
    return sum(entry.size for entry in stored_files(store, model))


def _plot_uri(model: ModelVersion, name: str) -> S3Uri:
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


def _first_of_each_class(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the positions of the first three images of each class. The order by sha256 makes the choice unbiased."""
    by_class = [np.flatnonzero(labels == label)[: _SAMPLES // len(CLASSES)] for label in range(len(CLASSES))]
    return np.concatenate(by_class)


def _worst_errors(frames: FrameArrays, outputs: Outputs) -> NDArray[np.intp]:
    """Return the positions of the eight most confident wrong predictions, the most confident first."""
    wrong = np.flatnonzero(outputs.probability.argmax(axis=1) != frames.labels)
    order: NDArray[np.intp] = wrong[np.argsort(-outputs.probability[wrong].max(axis=1), kind="stable")][:_WORST]
    return order
