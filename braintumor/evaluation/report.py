"""Reports as one self-contained HTML page each: a model by itself, and all models of a run beside each other.

Pictures are data URIs and nothing is fetched, so that a page can be mailed, archived and opened without a network.
Every text is escaped: file names and labels come from outside.

>>> page = model_report(report)
>>> Path("report.html").write_text(page, encoding="utf-8")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from braintumor.errors import EvaluationError
from braintumor.evaluation import plots
from braintumor.evaluation.gate import Verdict
from braintumor.evaluation.metrics import Evaluation
from braintumor.evaluation.overlay import Sample
from braintumor.pages.environment import page_environment

Role = Literal["candidate", "champion", "trained"]
_SPLITS = ("train", "validation", "test")


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
class ReportTable:
    """One more table for a report, such as slices by source folder or the leak receipt."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """All that a report says about one model.

    Attributes:
        name: of the model version.
        role: ``candidate`` is the one that validation picked, ``champion`` the one that scores at night.
        backbone: such as ``VGG16``.
        recipe: name and version.
        image_size: side of the square input in pixels.
        initialisation: which weights it started from, in words.
        dataset: what the images are, in words.
        snapshot_id: of the dataset.
        images_per_split: ``train``, ``validation``, ``test`` -> number of images.
        has_patient_identifiers: whether the splits were made with patients or studies kept together.
        training_seconds: wall time; 0 where nothing was trained.
        device: that trained it.
        parameters: number of weights.
        artefact_bytes: size of the exported model; 0 where not recorded.
        seeds: of initialisation, order and augmentation.
        commit: of the code.
        library_versions: library -> version.
        created: when, in words or ISO 8601.
        validation: figures that picked the candidate.
        test: figures that pass or refuse it.
        history: as Keras's ``History.history``, one number per epoch; empty where nothing was trained.
        verdict: of the gate, if it was asked.
        images_per_second: scoring speed; ``None`` where not measured.
        temperature: of the calibration, fitted on validation; ``None`` where there is none.
        uncalibrated_error: expected calibration error on test before temperature scaling.
        pictures: PNGs.
        tables: more tables, shown as they are.
    """

    name: str
    role: Role
    backbone: str
    recipe: str
    image_size: int
    initialisation: str
    dataset: str
    snapshot_id: str
    images_per_split: Mapping[str, int]
    has_patient_identifiers: bool
    training_seconds: float
    device: str
    parameters: int
    artefact_bytes: int
    seeds: tuple[int, ...]
    commit: str
    library_versions: Mapping[str, str]
    created: str
    validation: Evaluation
    test: Evaluation
    history: Mapping[str, Sequence[float]]
    verdict: Verdict | None = None
    images_per_second: float | None = None
    temperature: float | None = None
    uncalibrated_error: float | None = None
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
    def provenance(self) -> str:
        """The first line of every report: where model and figures come from, and what cannot be claimed."""
        counts = ", ".join(f"{self.images_per_split.get(s, 0):,} {s}" for s in _SPLITS)
        patients = "Patients are kept together: no patient's images are in two splits."
        if not self.has_patient_identifiers:
            patients = "Patient independence cannot be verified: the images carry no patient identifiers."
        return f"Initialisation: {self.initialisation}. Dataset: {self.dataset}; images: {counts}. {patients}"

    @property
    def epochs_run(self) -> int:
        """Epochs that were trained before the budget or early stopping ended it."""
        return len(self.history.get("loss", ()))

    @property
    def facts(self) -> dict[str, str]:
        """Fact -> value, in the order of the facts table."""
        return {
            "Role": self.role,
            "Backbone": self.backbone,
            "Recipe": self.recipe,
            "Image size": f"{self.image_size} x {self.image_size} pixels",
            "Initialisation": self.initialisation,
            "Dataset": self.dataset,
            "Snapshot": self.snapshot_id,
            "Images": ", ".join(f"{self.images_per_split.get(s, 0):,} {s}" for s in _SPLITS),
            "Epochs": _epochs(self),
            "Training time": duration(self.training_seconds),
            "Device": self.device,
            "Parameters": f"{self.parameters:,}",
            "Artefact size": size(self.artefact_bytes),
            "Scoring speed": _speed(self.images_per_second),
            "Calibration": _calibration(self),
            "Seeds": ", ".join(map(str, self.seeds)) or "none",
            "Commit": self.commit,
            "Libraries": ", ".join(f"{name} {version}" for name, version in self.library_versions.items()),
            "Created": self.created,
        }


def model_report(report: ModelReport) -> str:
    """The page of one model: provenance, verdict, facts, figures, pictures."""
    return _environment().get_template("model.html").render(report=report, evaluations=(report.validation, report.test))


def comparison_report(
    models: Sequence[ModelReport], *, title: str = "Models of one run", tables: Sequence[ReportTable] = ()
) -> str:
    """One page that sets all models of a run beside each other, the best validation accuracy first.

    Args:
        models: one or more, with different names.
        title: of the page.
        tables: more tables, such as a paper's published results.

    Raises:
        EvaluationError: there are no models, or two of one name.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) != len(names):
        raise EvaluationError(
            f"A comparison needs one model or more, each with its own name. Received: {names}. Name them apart."
        )
    ranked = sorted(models, key=lambda model: (-model.validation.accuracy, model.validation.log_loss, model.name))
    picture = plots.accuracy_plot({model.name: (model.validation, model.test) for model in ranked})
    page = _environment().get_template("comparison.html")
    return page.render(title=title, models=ranked, picture_png=picture, tables=tables, warnings=_warnings(ranked))


def duration(seconds: float) -> str:
    """Wall time for people: ``duration(3725) == "1 h 2 min"``."""
    if seconds <= 0:
        return "not trained"
    minutes = round(seconds / 60)
    if minutes < 2:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def size(count: int) -> str:
    """Bytes for people, in powers of ten: ``size(58_900_000) == "58.9 MB"``."""
    if count <= 0:
        return "not recorded"
    number, units = float(count), ["B", "kB", "MB", "GB"]
    while number >= 999.95 and len(units) > 1:  # noqa: PLR2004  # would be shown as 1000.0
        number /= 1000
        units.pop(0)
    return f"{number:.0f} B" if units[0] == "B" else f"{number:.1f} {units[0]}"


def _epochs(report: ModelReport) -> str:
    if not report.history:
        return "none"
    return f"{report.epochs_run} run, weights of epoch {plots.best_epoch(report.history)} kept"


def _speed(images_per_second: float | None) -> str:
    return "not measured" if images_per_second is None else f"{images_per_second:,.1f} images/s"


def _calibration(report: ModelReport) -> str:
    if report.temperature is None:
        return "none"
    words = f"temperature {report.temperature:.3f}, fitted on validation"
    if report.uncalibrated_error is None:
        return words
    after = report.test.expected_calibration_error
    return f"{words}; calibration error on test {report.uncalibrated_error:.3f} before, {after:.3f} after"


def _warnings(models: Sequence[ModelReport]) -> list[str]:
    """What keeps the figures of these models from being compared."""
    found = []
    if len({model.snapshot_id for model in models}) > 1:
        found.append("These models come from different snapshots: their figures are not of the same images.")
    if len({tuple(m.support for m in model.test.per_class) for model in models}) > 1:
        found.append("The test splits differ in size: their figures are not of the same images.")
    return found


@cache
def _environment() -> Environment:
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters |= {"figure": _figure, "duration": duration, "size": size}
    return environment


def _figure(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"
