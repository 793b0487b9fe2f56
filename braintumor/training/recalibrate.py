"""Fit the prediction sets of a model again, on blind reviews of the audit sample.

The files that arrive can differ from the validation images, so the sets can miss their coverage there. The audit
sample is a random sample of these files. Its first blind reviews calibrate the sets for the files that arrive. The
weights do not change. The result is a model version of its own, because a prediction names only its model version.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import RecalibrationError
from braintumor.labels import CLASSES, TumorClass
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.artifact import Manifest
from braintumor.serving.prediction_set import SetThresholds
from braintumor.training.conformal import COVERAGE, fit_sets

_log = logging.getLogger(__name__)
AUDIT_SAMPLE = "audit sample"


@dataclass(frozen=True, kw_only=True)
class AuditAnswers:
    """Hold a model's predictions for frames of the audit sample, with the class that blind reviewers found.

    Attributes:
        probability: (N, 4), columns in the order of ``CLASSES``.
        labels: (N,) positions in ``CLASSES``.
        groups: (N,) pseudonym of the patient, or sha256 of the content if no patient is known.
    """

    probability: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: Sequence[str]

    @classmethod
    def load(cls, connection: Connection, model: ModelVersion) -> Self:
        """Load the answers of reviewers about frames that ``model`` predicted, except conflicts and other findings."""
        rows = connection.execute(statement("registry/audit_answers"), {"model": model.model_version_id}).all()
        columns = [f"probability_{label.value}" for label in CLASSES]
        return cls(
            probability=np.array([[getattr(row, name) for name in columns] for row in rows]).reshape(-1, len(CLASSES)),
            labels=np.array([TumorClass(row.finding).position for row in rows], np.int64),
            groups=[row.group_key for row in rows],
        )

    @property
    def fingerprint(self) -> str:
        """Return 12 hex digits that change when a probability, a class or a group changes."""
        content = self.probability.tobytes() + self.labels.tobytes() + "\n".join(self.groups).encode()
        return sha256(content).hexdigest()[:12]

    def fit(self) -> SetThresholds:
        """Return the thresholds fitted on these answers.

        Raises:
            RecalibrationError: a class has answers of too few groups.
        """
        thresholds = fit_sets(self.probability, self.labels, self.groups, fitted_on=AUDIT_SAMPLE)
        if thresholds is None or any(thresholds.guaranteed(label) < COVERAGE for label in CLASSES):
            keys = np.asarray(self.groups, str)
            counts = {label: len(np.unique(keys[self.labels == label.position])) for label in CLASSES}
            raise RecalibrationError(
                f"A coverage of {COVERAGE:.0%} needs 19 patients of each class with a blind review in the audit "
                "sample. A scan of an unknown patient counts as one. Received: "
                + ", ".join(f"{count} {label}" for label, count in counts.items())
                + ". Nothing was registered. Read more of the audit sample."
            )
        return thresholds


def recalibrate(settings: Settings, name: str) -> tuple[ModelVersion, str]:
    """Register a copy of a model whose prediction sets are fitted on the audit sample, and promote nothing.

    Args:
        settings: connections to Postgres and S3.
        name: name or number of the model.

    Returns:
        The copy and its run key. A second call with the same answers returns the same copy, unless it was pruned or
        withdrawn.

    Raises:
        ModelIntegrityError: the model does not exist, or its files have changed.
        RecalibrationError: a class has answers of too few groups.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = model_versions.find_model(engine, name)
    with transaction(engine) as connection:
        answers = AuditAnswers.load(connection, model)
    thresholds = answers.fit()
    key = f"recalibration of {model.model_name} on {len(answers.labels)} frames ({answers.fingerprint})"
    known, run_key = model_versions.derived_model(engine, key)
    if known is not None:
        return known, run_key
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model_versions.fetch_artifact(store, model, folder)
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        replace(Manifest.read(folder), prediction_sets=thresholds, trained_at=now).write(folder)
        made = model_versions.register(
            engine,
            store,
            folder=folder,
            training=replace(model_versions.training_of(engine, model), run_key=run_key),
            models_uri=S3Uri.parse_prefix(settings.require("models_uri")),
            parent=model,
        )
    _log.info("registered %s", made.model_name)
    return made, run_key
