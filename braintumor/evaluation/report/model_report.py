"""What a report says about one model: facts, figures and pictures, before any page is laid out."""

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
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.evaluation.report import plots
from braintumor.evaluation.report.cam_overlay import Sample
from braintumor.evaluation.report.formatting import duration, figure, size
from braintumor.evaluation.report.tables import ReportTable

Role = Literal["candidate", "champion", "trained"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class ModelPictures:
    """The pictures of one report as PNG bytes; ``None`` leaves one out."""

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
        """Draw every picture that there is data for.

        Args:
            history: as for ``plots.history_plot``; empty where the model was not trained, such as an int8 export.
            test: the evaluation on the test split.
            labels: (N,) of the test split.
            probabilities: (N, 4) of the test split.
            samples: frames to show as they come.
            worst_errors: wrong answers, the most confident first.
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
    """All that a report says about one model.

    Attributes:
        name: of the model version.
        role: ``candidate`` is the one that validation picked, ``champion`` the one that scores at night.
        standing: in the ledger, in words such as ``champion, overridden``; empty where it was never promoted.
        backbone: such as ``VGG16``.
        recipe: name and version.
        recipe_name: the name alone.
        image_size: side of the square input in pixels.
        initialization: which weights it started from, in words.
        dataset: what the images are, in words.
        snapshot_id: of the dataset.
        images_per_class: ``train``, ``validation``, ``test`` -> class -> number of images.
        identified: how many images say whose they are; ``None`` where nobody counted.
        training_seconds: wall time of the training or export; 0 where there was none.
        device: that trained it.
        parameters: number of weights.
        artifact_bytes: size of the exported model; 0 where not recorded.
        seed: of initialization, order and augmentation.
        code_version: of this library.
        library_versions: library -> version.
        created: when, in words or ISO 8601.
        validation: figures that picked the candidate.
        test: figures that pass or refuse it.
        history: as Keras's ``History.history``, one number per epoch; empty where nothing was trained.
        verdict: of the gate, if it was asked.
        throughput: of the served graph on the test split; ``None`` where not measured.
        temperature: of the calibration, fitted on validation; ``None`` where there is none.
        uncalibrated_error: expected calibration error on test before temperature scaling.
        occlusion: what hiding the marked place did on test; ``None`` where not assessed.
        slices: accuracy of groups of test images.
        artifact_sha256s: file name -> sha256.
        pictures: PNGs.
        tables: more tables, shown as they are.
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
    verdict: Verdict | None = None
    standing: str = ""
    throughput: Throughput | None = None
    temperature: float | None = None
    uncalibrated_error: float | None = None
    occlusion: Occlusion | None = None
    slices: tuple[SliceResult, ...] = ()
    artifact_sha256s: Mapping[str, str] = field(default_factory=dict)
    pictures: ModelPictures = ModelPictures()
    tables: tuple[ReportTable, ...] = ()

    def __post_init__(self) -> None:
        received = (self.validation.split, self.test.split)
        if received != ("validation", "test"):
            raise EvaluationError(
                "A report needs an evaluation on 'validation' and one on 'test'. "
                f"Received: {received}. Evaluate the model on both."
            )

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader must not overlook in where it stands: overridden, withdrawn, pruned."""
        return tuple(word for word in ("overridden", "withdrawn", "pruned") if word in self.standing)

    @property
    def images_per_split(self) -> dict[str, int]:
        """``train``, ``validation``, ``test`` -> number of images."""
        return {split: sum(self.images_per_class.get(split, {}).values()) for split in SPLITS}

    @property
    def provenance(self) -> str:
        """The first line of every report: where model and figures come from, and what cannot be claimed."""
        return f"Initialization: {self.initialization}. Dataset: {self.dataset}; images: {self.counts}. {self.patients}"

    @property
    def counts(self) -> str:
        """Images of each split, in words."""
        return ", ".join(f"{count:,} {split}" for split, count in self.images_per_split.items())

    @property
    def patients(self) -> str:
        """What can be claimed of patients, and what cannot."""
        return claim_of_patients(self.identified)

    @property
    def rank(self) -> tuple[float, float, str]:
        """Best validation accuracy first, then the lower loss, then the name. Nothing of the test split."""
        return (-self.validation.accuracy, self.validation.log_loss, self.name)

    @property
    def epochs_run(self) -> int:
        """Epochs that were trained before the budget or early stopping ended it."""
        return len(self.history.get("loss", ()))

    @property
    def epochs(self) -> str:
        """What was trained and what was kept, in words."""
        if not self.history:
            return "none"
        return f"{self.epochs_run} run, weights of epoch {plots.best_epoch(self.history)} kept"

    @property
    def calibration(self) -> str:
        """The temperature and what it changed, in words."""
        if self.temperature is None:
            return "none"
        words = f"temperature {figure(self.temperature)}, fitted on validation"
        if self.uncalibrated_error is None:
            return words
        after = figure(self.test.expected_calibration_error)
        return f"{words}; calibration error on test {figure(self.uncalibrated_error)} before, {after} after"

    @property
    def facts(self) -> dict[str, str]:
        """Fact -> value, in the order of the facts table."""
        return {
            "Role": self.role,
            "Standing": self.standing or "never promoted",
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
