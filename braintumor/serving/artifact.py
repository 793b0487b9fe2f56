"""Read, write and verify a model folder: the exported graph, its weights and a manifest.

::

    model.json          this module's ``Manifest``
    model.xml, .bin     the OpenVINO graph, preprocessing and temperature inside
    reference.npy       embeddings of training images, for ``out_of_distribution``
    model.weights.h5    Keras weights, for evaluation and fine-tuning
    history.csv         one line per epoch
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import file_digest
from pathlib import Path
from typing import Any, Self

from braintumor.errors import ModelIntegrityError
from braintumor.labels import CLASSES

MANIFEST = "model.json"
GRAPH = "model.xml"
GRAPH_WEIGHTS = "model.bin"
KERAS_WEIGHTS = "model.weights.h5"
REFERENCE = "reference.npy"
REQUIRED_FILES = (MANIFEST, GRAPH, GRAPH_WEIGHTS)
SERVING_FILES = (*REQUIRED_FILES, REFERENCE)
"""Folders of models registered by earlier versions have no ``reference.npy``."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Metadata of a model. The model folder contains it, because prediction must work without a database.

    Attributes:
        temperature: of the calibration. The graph already applies it.
        low_confidence_below: a confidence for each predicted class.
        out_of_distribution_above: ``None`` without a ``reference.npy``.
        sha256s: of every other file of the folder that running or retraining needs.
    """

    recipe: str
    backbone: str
    initialization: str
    snapshot_id: str
    trained_at: str
    precision: str
    image_size: int
    preprocessing: str
    classes: tuple[str, ...]
    count_parameter: int
    temperature: float
    low_confidence_below: dict[str, float]
    near_tie_below: float
    sha256s: dict[str, str]
    out_of_distribution_above: float | None = None

    @property
    def name(self) -> str:
        """Unique name: recipe, time of training (UTC), first digits of the graph weights' sha256."""
        return f"{self.recipe}-{self.trained_at}-{self.sha256s[GRAPH_WEIGHTS][:6]}"

    def write(self, folder: Path) -> None:
        """Write ``model.json``."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Load and validate ``model.json``.

        Raises:
            ModelIntegrityError: it is missing, not JSON, lacks a field, or does not list ``CLASSES`` in their order.
        """
        try:
            values: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
            of_classes = {
                "classes": tuple(values["classes"]),
                "low_confidence_below": _by_class(values["low_confidence_below"]),
            }
            manifest = cls(**{**values, **of_classes})
        except FileNotFoundError as exc:
            raise ModelIntegrityError(
                f"{folder} is not a model folder: it has no {MANIFEST}. Give the folder that `braintumor train` wrote."
            ) from exc
        except (ValueError, KeyError, TypeError) as exc:
            allowed = ", ".join(f.name for f in fields(cls))
            raise ModelIntegrityError(f"{folder / MANIFEST} is not a manifest ({exc}). Its fields: {allowed}.") from exc
        if manifest.classes != CLASSES:
            raise ModelIntegrityError(
                f"{folder / MANIFEST} lists the classes {list(manifest.classes)}. This version scores "
                f"{list(CLASSES)} in this order. Train the model again."
            )
        if (manifest.out_of_distribution_above is None) != (REFERENCE not in manifest.sha256s):
            raise ModelIntegrityError(
                f"{folder / MANIFEST} must give out_of_distribution_above together with the sha256 of {REFERENCE}, or "
                "neither of them. Restore it from a copy, or train the model again."
            )
        return manifest


def _by_class(value: float | dict[str, float]) -> dict[str, float]:
    """Return a threshold for each class. Manifests of earlier versions have one number for all classes."""
    if isinstance(value, dict):
        return {label.value: float(value[label]) for label in CLASSES}
    return {label.value: float(value) for label in CLASSES}


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def verify(folder: Path, sha256s: dict[str, str]) -> None:
    """Check the sha256 of files of a folder, before any of them is parsed.

    Raises:
        ModelIntegrityError: a file is missing or differs.
    """
    for name, expected in sha256s.items():
        path = folder / name
        if not path.is_file():
            raise ModelIntegrityError(f"{path} is missing. Copy the whole model folder, or train the model again.")
        received = sha256_of(path)
        if received != expected:
            raise ModelIntegrityError(
                f"{path} is not the file that was registered: sha256 {received[:12]}..., expected {expected[:12]}.... "
                "It was damaged or changed. Restore it from a copy, or train the model again."
            )


def serving_sha256s(sha256s: dict[str, str]) -> dict[str, str]:
    """Return the entries of the files that scoring needs."""
    return {name: digest for name, digest in sha256s.items() if name in SERVING_FILES}


PARITY_BOUNDS: Mapping[str, float] = {"fp32": 2e-3}
"""Largest difference of a probability between Keras and the exported graph, by precision. 5e-5 is usual in fp32.

No model of another precision passes.
"""
