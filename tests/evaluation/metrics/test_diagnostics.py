"""Tests of the diagnostics of an evaluation: computed on the served graph, stored and shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import FrameArrays, load_frames
from braintumor.dataset.images.perceptual_hash import NEAR
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.errors import EvaluationError
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.metrics.calibration import uncalibrated_probabilities
from braintumor.evaluation.metrics.classification import evaluate
from braintumor.evaluation.metrics.diagnostics import Diagnostics, predictions_frame
from braintumor.evaluation.metrics.occlusion import occlude
from braintumor.evaluation.metrics.slices import slices
from braintumor.evaluation.report.build import build_model_report
from braintumor.evaluation.store import load_diagnostics
from braintumor.registry import model_versions
from braintumor.registry.model_versions import load_model
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.backend import LoadedModel


def stored(settings: Settings, split: Split) -> Diagnostics:
    engine = database.connect(settings)
    model = model_versions.champion(engine)
    with transaction(engine) as connection:
        diagnostics = load_diagnostics(connection, model, model.snapshot_id, split)
    engine.dispose()
    return diagnostics


def test_uncalibrated_probabilities_are_those_of_the_logits(brightness_model: LoadedModel) -> None:
    frames = np.random.default_rng(2).integers(0, 200, (5, 128, 128, 3), dtype=np.uint8)
    outputs = brightness_model.predict(frames)
    before = uncalibrated_probabilities(outputs.activation_map)
    calibrated = np.sqrt(before) / np.sqrt(before).sum(axis=1, keepdims=True)  # a temperature of 2 halves the logits
    np.testing.assert_allclose(calibrated, outputs.probability, atol=1e-5)
    assert (before.max(axis=1) > outputs.probability.max(axis=1)).all()


@pytest.mark.parametrize("shape", [(5, 4), (5, 2, 2, 3), (2, 2, 4)])
def test_an_activation_map_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvaluationError, match=r"shape \(N, h, w, 4\)"):
        uncalibrated_probabilities(np.zeros(shape, np.float32))


def test_without_an_evaluation_diagnostics_are_empty(settings: Settings) -> None:
    assert stored(settings, Split.TEST) == Diagnostics()


def test_diagnostics_of_an_evaluation_are_stored(evaluated: Settings) -> None:
    engine, store = database.connect(evaluated), ObjectStore.connect(evaluated)
    model, diagnostics = model_versions.champion(engine), stored(evaluated, Split.TEST)
    loaded = load_model(store, evaluated, model)
    frames = load_frames(store, load_snapshot(engine, model.snapshot_id), Split.TEST, size=model.image_size)
    outputs = loaded.predict(frames.frames)
    before = evaluate(
        labels=frames.labels, probabilities=uncalibrated_probabilities(outputs.activation_map), split="test"
    )
    assert diagnostics.uncalibrated_error == pytest.approx(before.expected_calibration_error, abs=1e-6)
    assert diagnostics.occlusion is not None
    again = occlude(loaded, frames=frames.frames, labels=frames.labels, outputs=outputs)
    assert again is not None and again.marked.count == diagnostics.occlusion.marked.count
    assert again.elsewhere.mean_drop == pytest.approx(diagnostics.occlusion.elsewhere.mean_drop, abs=1e-5)
    assert diagnostics.throughput is not None and diagnostics.throughput.images_per_second > 1
    assert diagnostics.throughput.measured_on == loaded.device
    by_format = {s.value: s.count for s in diagnostics.slices if s.attribute == "format"}
    assert set(by_format) <= {"png", "dicom", "jpeg"} and sum(by_format.values()) == len(frames.labels)
    assert {s.value for s in diagnostics.slices if s.attribute == "color"} == {"gray"}
    engine.dispose()


def test_validation_has_no_occlusion_and_no_slices(evaluated: Settings) -> None:
    diagnostics = stored(evaluated, Split.VALIDATION)
    assert diagnostics.uncalibrated_error is not None and diagnostics.throughput is not None
    assert (diagnostics.occlusion, diagnostics.slices) == (None, ())


def test_a_second_evaluation_replaces_the_slices(evaluated: Settings) -> None:
    engine = database.connect(evaluated)
    images = load_snapshot(engine, model_versions.champion(engine).snapshot_id).of_split(Split.TEST)
    with transaction(engine) as connection:
        connection.execute(
            text("""
            update snapshot_image set attributes = attributes || '{"scanner": "A"}' where image_sha256 <> :first"""),
            {"first": images[0].image_sha256},
        )
    evaluate_model(evaluated, "1", access_key="twice")
    slices_stored = stored(evaluated, Split.TEST).slices
    engine.dispose()
    assert {s.attribute for s in slices_stored} == {"format", "color", "long_side", "scanner", "source"}
    by_scanner = {s.value: s.count for s in slices_stored if s.attribute == "scanner"}
    assert by_scanner == {"A": len(images) - 1, "not given": 1}
    assert sum(s.count for s in slices_stored if s.attribute == "format") == len(images)
    (gray,) = (s for s in slices_stored if s.attribute == "color")
    assert gray.count_group == len({image.group_key for image in images})


def test_report_and_leaderboard_show_the_diagnostics(settings: Settings) -> None:
    evaluate_model(settings, "1", access_key="once")
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = model_versions.champion(engine)
    page = store.read(S3Uri.parse(model.artifact_uri) / "report.html").decode()
    report, snapshot = build_model_report(engine, model), load_snapshot(engine, model.snapshot_id)
    with transaction(engine) as connection:
        speed = connection.scalar(text("select images_per_second from model_leaderboard where split = 'test'"))
    engine.dispose()
    assert report.throughput is not None and report.throughput.images_per_second == speed
    for words in (
        report.throughput.measured_on,
        report.calibration,
        "the marked place",
        "long_side",
        "model_card.md",
        "Similarity of test and training images",
        "Missed tumors against reading time",
    ):
        assert words in page
    assert report.images_per_split == {split.value: len(snapshot.of_split(split)) for split in Split}


def test_a_report_without_stored_diagnostics_is_built(evaluated: Settings) -> None:
    engine = database.connect(evaluated)
    with transaction(engine) as connection:
        connection.execute(
            text("update evaluation set uncalibrated_error = null, images_per_second = null, measured_on = null")
        )
        connection.execute(text("delete from evaluation_occlusion"))
        connection.execute(text("delete from evaluation_slice"))
    report = build_model_report(engine, model_versions.champion(engine))
    engine.dispose()
    assert (report.throughput, report.uncalibrated_error, report.occlusion, report.slices) == (None, None, None, ())


def test_an_attribute_named_label_is_refused(settings: Settings) -> None:
    engine = database.connect(settings)
    snapshot = load_snapshot(engine, model_versions.champion(engine).snapshot_id)
    frames = load_frames(ObjectStore.connect(settings), snapshot, Split.TEST, size=64)
    engine.dispose()
    chances = np.tile(np.float32([0.7, 0.1, 0.1, 0.1]), (len(frames.images), 1))
    plain = [replace(image, attributes={}) for image in frames.images]

    def with_first(attributes: dict[str, str]) -> FrameArrays:
        return replace(frames, images=(replace(plain[0], attributes=attributes), *plain[1:]))

    with pytest.raises(EvaluationError, match="Received: label"):
        predictions_frame(with_first({"label": "glioma"}), chances)
    table = predictions_frame(with_first({"scanner": "A"}), chances)
    assert list(table.columns) == ["label", "predicted", "group_key", "scanner"]
    assert [s.value for s in slices(table)] == ["A", "not given"]


def test_each_test_image_has_its_nearest_training_image(evaluated: Settings) -> None:
    engine = database.connect(evaluated)
    model = model_versions.champion(engine)
    snapshot = load_snapshot(engine, model.snapshot_id)
    with transaction(engine) as connection:
        rows = connection.execute(
            text("""
            select image_sha256, nearest_training_sha256, nearest_distance from test_prediction
            join evaluation using (evaluation_id) where split = 'test'""")
        ).all()
    *_, table = build_model_report(engine, model).tables
    engine.dispose()
    training = {image.image_sha256 for image in snapshot.of_split(Split.TRAIN)}
    assert {row.image_sha256 for row in rows} == {image.image_sha256 for image in snapshot.of_split(Split.TEST)}
    assert all(row.nearest_training_sha256 in training and row.nearest_distance > NEAR for row in rows)
    counts = [int(count) for _, count, _ in table.rows if count]
    assert counts[0] == 0 and sum(counts) == len(rows)
    assert [name for name, _, _ in table.rows[-2:]] == [
        "frozen stage, validation split",
        "frozen stage, random split of the files",
    ]
