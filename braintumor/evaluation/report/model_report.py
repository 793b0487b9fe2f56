"""Define the content of one model's report: facts, metrics and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.images.patient_ids import PatientIds, claim_of_patients
from braintumor.errors import EvaluationError
from braintumor.evaluation.gate.gate import Verdict
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.diagnostics import Throughput
from braintumor.evaluation.metrics.occlusion import Occlusion
from braintumor.evaluation.metrics.significance import ClusteredAccuracy
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.evaluation.report import plots
from braintumor.evaluation.report.cam_overlay import Sample
from braintumor.evaluation.report.champion_comparison import ChampionComparison
from braintumor.evaluation.report.formatting import duration, figure, size
from braintumor.evaluation.report.tables import ReportTable, occlusion_table, slices_table

Role = Literal["candidate", "champion", "trained"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class ModelPlots:
    """Hold the plots of one report as PNG bytes. ``None`` leaves a plot out."""

    history: bytes | None = field(default=None, repr=False)
    confusion: bytes | None = field(default=None, repr=False)
    reliability: bytes | None = field(default=None, repr=False)
    roc: bytes | None = field(default=None, repr=False)
    samples: bytes | None = field(default=None, repr=False)
    worst_errors: bytes | None = field(default=None, repr=False)

    @classmethod
    def draw(
        cls,
        *,
        history: Mapping[str, Sequence[float]],
        test: Evaluation,
        labels: NDArray[np.integer],
        probabilities: NDArray[np.floating],
        samples: Sequence[Sample] = (),
        worst_errors: Sequence[Sample] = (),
    ) -> Self:
        """Draw every plot for which there is data, and return the plots.

        ``history`` is as for ``plots.history_plot``, and empty for a model without training. ``labels`` (N,) and
        ``probabilities`` (N, 4) are of the test split, in the order of ``CLASSES``. ``worst_errors`` has wrong
        predictions, the most confident first.
        """
        return cls(
            history=plots.history_plot(history) if history else None,
            confusion=plots.confusion_plot(test),
            reliability=plots.reliability_plot(labels, probabilities),
            roc=plots.roc_plot(labels, probabilities),
            samples=plots.sample_grid(samples) if samples else None,
            worst_errors=plots.sample_grid(worst_errors) if worst_errors else None,
        )


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """Hold the content of one model's report. A value of ``None``, 0 or an empty text means "not recorded".

    Attributes:
        role: ``champion`` if the model scores now, else ``candidate`` if the gate has judged it, else ``trained``.
        status: such as ``champion, overridden``, empty if the model was never promoted.
        image_size: side of the square input in pixels.
        images_per_class: ``train``, ``validation``, ``test`` -> class -> number of images.
        identified: numbers of images with patient identifiers.
        training_seconds: wall time in seconds of the training or export.
        clustered: test accuracy with an interval that keeps the images of one patient together.
        run_key: key of the retrain run of the newest verdict.
        comparison: comparison with the model that was champion at the newest verdict.
        throughput: speed of the served graph on the test split.
        temperature: calibration temperature fitted on validation.
        uncalibrated_error: expected calibration error on test before temperature scaling.
        occlusion: effect of hiding the marked place on test.
        evidence: file name of the evidence report in the same folder.
    """

    name: str
    role: Role
    backbone: str
    recipe: str
    recipe_name: str
    image_size: int
    initialization: str
    dataset: str
    snapshot_id: str
    images_per_class: Mapping[str, Mapping[str, int]]
    identified: PatientIds | None
    training_seconds: float
    device: str
    parameters: int
    artifact_bytes: int
    seed: int
    code_version: str
    library_versions: Mapping[str, str]
    created: str
    validation: Evaluation
    test: Evaluation
    history: Mapping[str, Sequence[float]]
    clustered: ClusteredAccuracy | None = None
    verdict: Verdict | None = None
    run_key: str = ""
    comparison: ChampionComparison | None = None
    status: str = ""
    throughput: Throughput | None = None
    temperature: float | None = None
    uncalibrated_error: float | None = None
    occlusion: Occlusion | None = None
    slices: tuple[SliceResult, ...] = ()
    evidence: str = ""
    artifact_sha256s: Mapping[str, str] = field(default_factory=dict)
    plots: ModelPlots = ModelPlots()
    tables: tuple[ReportTable, ...] = ()

    def __post_init__(self) -> None:
        received = (self.validation.split, self.test.split)
        if received != ("validation", "test"):
            raise EvaluationError(
                "A report needs an evaluation on 'validation' and one on 'test'. "
                f"Received: {received}. Evaluate the model on both."
            )

    @property
    def all_tables(self) -> tuple[ReportTable, ...]:
        """Return the tables of the page and of the card: occlusion, slices, and ``tables``."""
        occlusion = occlusion_table(self.occlusion, image_size=self.image_size)
        return (occlusion, slices_table(self.slices), *self.tables)

    @property
    def marks(self) -> tuple[str, ...]:
        """Return those of the words ``overridden``, ``withdrawn`` and ``pruned`` that the model's status contains."""
        return tuple(word for word in ("overridden", "withdrawn", "pruned") if word in self.status)

    @property
    def images_per_split(self) -> dict[str, int]:
        """Return the number of images of each split."""
        return {split: sum(self.images_per_class.get(split, {}).values()) for split in SPLITS}

    @property
    def provenance(self) -> str:
        """Return the first line of every report: initial weights, dataset and patient independence."""
        return f"Initialization: {self.initialization}. Dataset: {self.dataset}; images: {self.counts}. {self.patients}"

    @property
    def counts(self) -> str:
        """Return the number of images of each split as text."""
        return ", ".join(f"{count:,} {split}" for split, count in self.images_per_split.items())

    @property
    def patients(self) -> str:
        """Return a sentence that says whether a patient can have images in more than one split."""
        return claim_of_patients(self.identified)

    @property
    def test_patients(self) -> str:
        """Return a text with the number of test images of known patients, and the interval clustered by patient."""
        if self.clustered is None:
            return "The patients of the test images were not counted."
        c = self.clustered
        return (
            f"The patient is known for {c.count_known:,} of {c.count:,} test images. With the images of one patient as "
            f"one cluster, and near-duplicates as one where no patient is known, the 95% interval of the test accuracy "
            f"is {figure(c.low)} to {figure(c.high)} ({c.count_cluster:,} clusters, bootstrap)."
        )

    @property
    def rank(self) -> tuple[float, float, str]:
        """Return a sort key that puts the best model on validation first. It uses no test result.

        The key orders by higher validation accuracy, then by lower validation loss, then by name.
        """
        return (-self.validation.accuracy, self.validation.log_loss, self.name)

    @property
    def epochs_run(self) -> int:
        """Return the number of trained epochs."""
        return len(self.history.get("loss", ()))

    @property
    def epochs(self) -> str:
        """Return the number of epochs and the epoch of the kept weights as text."""
        if not self.history:
            return "none"
        return f"{self.epochs_run} run, weights of epoch {plots.best_epoch(self.history)} kept"

    @property
    def calibration(self) -> str:
        """Return a text with the calibration temperature, and the calibration error before and after its use."""
        if self.temperature is None:
            return "none"
        words = f"temperature {figure(self.temperature)}, fitted on validation"
        if self.uncalibrated_error is None:
            return words
        after = figure(self.test.expected_calibration_error)
        return f"{words}; calibration error on test {figure(self.uncalibrated_error)} before, {after} after"

    @property
    def facts(self) -> dict[str, str]:
        """Return the rows of the table of facts, as name and value, in the order of the table."""
        return {
            "Role": self.role,
            "Status": self.status or "never promoted",
            "Backbone": self.backbone,
            "Recipe": self.recipe,
            "Image size": f"{self.image_size} x {self.image_size} pixels",
            "Initialization": self.initialization,
            "Dataset": self.dataset,
            "Snapshot": self.snapshot_id,
            "Images": self.counts,
            "Epochs": self.epochs,
            "Training time": duration(self.training_seconds),
            "Device": self.device,
            "Parameters": f"{self.parameters:,}",
            "Artifact size": size(self.artifact_bytes),
            "Scoring speed": str(self.throughput or "not measured"),
            "Calibration": self.calibration,
            "Seed": str(self.seed),
            "Code": self.code_version,
            "Libraries": ", ".join(f"{name} {version}" for name, version in self.library_versions.items()),
            "Created": self.created,
        }
