"""Fixtures: models, evaluations and reports with known values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from braintumor.config.settings import Settings
from braintumor.dataset.images.patient_ids import PatientIds
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.gate.gate import judge
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.metrics.classification import Evaluation, evaluate
from braintumor.evaluation.metrics.diagnostics import Throughput
from braintumor.evaluation.metrics.occlusion import HidingEffect, Occlusion
from braintumor.evaluation.metrics.significance import ClusteredAccuracy
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.evaluation.report.cam_overlay import Sample
from braintumor.evaluation.report.model_report import ModelPlots, ModelReport
from braintumor.evaluation.report.tables import ReportTable
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.labels import CLASSES
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, Manifest, sha256_of
from braintumor.serving.backend import LoadedModel
from devstack.stack import Stack
from tests.conftest import copied
from tests.evaluation.judging import JudgedRun, judged, set_validation, with_lenient_rules
from tests.models import RUN, add_model, copy_evaluations
from tests.sql import change

Confusion = list[list[int]]


@pytest.fixture(scope="session")
def evaluated_once(stack: Stack, seeded: Settings) -> Iterator[Settings]:
    """Create a database with an evaluation of the champion on both splits."""
    with copied(stack, seeded) as settings:
        evaluate_model(settings, "1", access_key="once")
        yield settings


@pytest.fixture
def evaluated(stack: Stack, evaluated_once: Settings) -> Iterator[Settings]:
    """Copy ``evaluated_once``, so that a test may change it."""
    with copied(stack, evaluated_once) as settings:
        yield settings


@pytest.fixture(scope="session")
def evaluation_of() -> Callable[..., Evaluation]:
    """Returns a function that builds the evaluation of a confusion matrix, with one confidence for all predictions."""

    def build(confusion: Confusion, *, confidence: float = 0.91, split: str = "test") -> Evaluation:
        cells = [(t, p) for t in range(4) for p in range(4) for _ in range(confusion[t][p])]
        truth, predicted = (np.array(part) for part in zip(*cells, strict=True))
        probabilities = np.full((len(cells), 4), (1 - confidence) / 3)
        probabilities[np.arange(len(cells)), predicted] = confidence
        return evaluate(labels=truth, probabilities=probabilities, split=split)

    return build


@pytest.fixture(scope="session")
def good(evaluation_of: Callable[..., Evaluation]) -> Evaluation:
    """200 test images, accuracy 0.915, well calibrated."""
    return evaluation_of([[45, 3, 1, 1], [2, 45, 2, 1], [1, 1, 47, 1], [1, 1, 2, 46]])


@pytest.fixture(scope="session")
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Labels (120,) and probabilities (120, 4) of a mediocre model."""
    random = np.random.default_rng(7)
    labels = np.repeat(np.arange(4), 30)
    logits = random.normal(size=(120, 4))
    logits[np.arange(120), labels] += 2.0
    exponents = np.exp(logits)
    return labels, exponents / exponents.sum(axis=1, keepdims=True)


@pytest.fixture(scope="session")
def history() -> dict[str, list[float]]:
    """Four epochs. The third is the best on validation."""
    return {
        "accuracy": [0.5, 0.7, 0.8, 0.9],
        "val_accuracy": [0.5, 0.65, 0.75, 0.74],
        "loss": [1.2, 0.8, 0.5, 0.3],
        "val_loss": [1.2, 0.9, 0.7, 0.8],
    }


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Five frames of noise. The first has no activation map, the last has a wrong prediction."""
    random = np.random.default_rng(3)
    return [
        Sample(
            name=f"frame $_{i} <b>.png",
            frame=random.integers(0, 255, (64, 48, 3), dtype=np.uint8),
            truth=CLASSES[i % 4],
            predicted=CLASSES[i % 4 if i < 4 else 2],
            confidence=0.8,
            activation_map=random.normal(size=(7, 7)) if i else None,
        )
        for i in range(5)
    ]


@pytest.fixture(scope="session")
def report(
    good: Evaluation, history: dict[str, list[float]], predictions: tuple[np.ndarray, np.ndarray], samples: list[Sample]
) -> ModelReport:
    """Return the report of a candidate with all possible contents."""
    labels, chances = predictions
    return ModelReport(
        name="resnet50-2026w47",
        role="candidate",
        backbone="ResNet50",
        recipe="resnet50 v3",
        recipe_name="resnet50",
        image_size=224,
        initialization="imagenet (keras.applications)",
        dataset="phantoms, grouped 70/15/15",
        snapshot_id="snap-9f31",
        images_per_class={
            "train": {"glioma": 571, "meningioma": 571, "normal": 571, "pituitary": 572},
            "validation": {"glioma": 122, "meningioma": 122, "normal": 122, "pituitary": 123},
            "test": dict.fromkeys(CLASSES, 50),
        },
        identified=PatientIds(count_image=2974, count_identified=0, count_patient=0),
        training_seconds=1630,
        device="2 CPU cores",
        parameters=23_595_908,
        artifact_bytes=94_600_000,
        seed=7,
        code_version="build-7a592c8",
        library_versions={"keras": "3.15.0", "numpy": "2.4.6"},
        created="2026-11-23",
        validation=replace(good, split="validation"),
        test=good,
        clustered=ClusteredAccuracy(
            count=200, count_known=120, count_cluster=77, accuracy=0.915, low=0.851, high=0.963
        ),
        history=history,
        verdict=judge(good, GateRules.load()),
        throughput=Throughput(images_per_second=37.25, measured_on="openvino-cpu, two old cores, 2 threads"),
        temperature=1.312,
        uncalibrated_error=0.131,
        occlusion=Occlusion(
            marked=HidingEffect(count=60, count_changed=18, mean_drop=0.312),
            elsewhere=HidingEffect(count=60, count_changed=3, mean_drop=0.021),
        ),
        slices=(
            SliceResult(
                attribute="format", value="jpeg", count=120, count_group=60, count_correct=110, interval=(0.84, 0.97)
            ),
            SliceResult(attribute="format", value="png", count=80, count_group=19, count_correct=73, interval=None),
        ),
        artifact_sha256s={"model.xml": "ab" * 32, "model.bin": "cd" * 32},
        plots=ModelPlots.draw(
            history=history, test=good, labels=labels, probabilities=chances, samples=samples, worst_errors=samples[-1:]
        ),
        tables=(ReportTable(title="Slices", note="Small ones left out.", columns=("slice",), rows=(("gray",),)),),
    )


@pytest.fixture(scope="session")
def brightness_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Write a model folder whose graph predicts glioma from brightness.

    Each cell of 32 x 32 pixels has a logit of a tenth of its brightness for glioma, 1.8 for normal, 0 for the others.
    The temperature is 2.
    """
    folder = tmp_path_factory.mktemp("brightness")
    openvino.save_model(_brightness_graph(temperature=2.0), folder / GRAPH, compress_to_fp16=False)
    manifest = Manifest(
        recipe="brightness",
        backbone="none",
        initialization="by hand",
        snapshot_id="none",
        trained_at="20261123T000000Z",
        precision="fp32",
        image_size=128,
        preprocessing=PREPROCESSING,
        classes=CLASSES,
        count_parameter=8,
        temperature=2.0,
        sha256s={name: sha256_of(folder / name) for name in (GRAPH, GRAPH_WEIGHTS)},
    )
    manifest.write(folder)
    return LoadedModel.load(folder)


def _brightness_graph(*, temperature: float) -> openvino.Model:
    image = ops.parameter([-1, 128, 128, 3], np.uint8, name="image")
    channels_first = ops.transpose(ops.convert(image, np.float32), [0, 3, 1, 2])
    cells = ops.avg_pool(channels_first, [32, 32], [0, 0], [0, 0], [32, 32], exclude_pad=True)  # (N, 3, 4, 4)
    gray = ops.transpose(ops.reduce_mean(cells, [1], keep_dims=True), [0, 2, 3, 1])  # (N, 4, 4, 1)
    maps = ops.add(ops.multiply(gray, np.float32([0.1, 0, 0, 0])), np.float32([0, 0, 1.8, 0]))  # (N, 4, 4, 4)
    logits = ops.reduce_mean(maps, [1, 2])
    outputs = {
        "probability": ops.softmax(ops.divide(logits, np.float32(temperature)), 1),
        "activation_map": maps,
        "embedding": ops.reduce_mean(cells, [2, 3]),
    }
    for name, node in outputs.items():
        node.output(0).tensor.set_names({name})
    return openvino.Model([ops.result(node) for node in outputs.values()], [image])


@pytest.fixture
def lenient(settings: Settings, tmp_path: Path) -> Settings:
    return with_lenient_rules(settings, tmp_path)


@pytest.fixture(scope="package")
def two_once(stack: Stack, evaluated_once: Settings) -> Iterator[Settings]:
    """Create a run with two evaluated models and a champion without evaluation. `first` has the better validation."""
    with copied(stack, evaluated_once) as settings:
        first, second = (add_model(settings, name, own_graph=True) for name in ("first", "second"))
        copy_evaluations(settings, first.model_name)
        change(
            settings,
            "update evaluation set model_version_id = :id where model_version_id = 1",
            id=second.model_version_id,
        )
        set_validation(settings, "first", 0.9)
        set_validation(settings, "second", 0.8)
        yield settings


@pytest.fixture
def two(stack: Stack, two_once: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Copy ``two_once``, so that a test may change it."""
    with copied(stack, two_once) as settings:
        yield with_lenient_rules(settings, tmp_path)


@pytest.fixture(scope="package")
def judged_once(stack: Stack, two_once: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgedRun]:
    """Judge the run of ``two_once``, and return the database and the verdict."""
    with copied(stack, two_once) as prepared:
        settings = with_lenient_rules(prepared, tmp_path_factory.mktemp("rules"))
        yield settings, judged(settings, RUN)


@pytest.fixture
def judged_two(stack: Stack, judged_once: JudgedRun) -> Iterator[JudgedRun]:
    """Copy the database of ``judged_once``, so that a test may change it."""
    prepared, verdict = judged_once
    with copied(stack, prepared) as settings:
        yield settings, verdict
