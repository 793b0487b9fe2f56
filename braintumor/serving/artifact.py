"""Read, write and verify a model folder: the exported graph, its weights and a manifest.

::

    model.json          the ``Manifest``
    model.xml, .bin     the OpenVINO graph, which includes preprocessing and temperature
    reference.npy       embeddings of training images, for the module ``out_of_distribution``
    model.weights.h5    Keras weights, for evaluation and fine-tuning
    history.csv         metrics of the training, one line per epoch
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
from braintumor.serving.prediction_set import SetThresholds

MANIFEST = "model.json"
GRAPH = "model.xml"
GRAPH_WEIGHTS = "model.bin"
KERAS_WEIGHTS = "model.weights.h5"
REFERENCE = "reference.npy"
REQUIRED_FILES = (MANIFEST, GRAPH, GRAPH_WEIGHTS)
SERVING_FILES = (*REQUIRED_FILES, REFERENCE)
"""Files that scoring needs. A model that an earlier version of this library registered has no ``reference.npy``."""
_FORMER_FIELDS = ("low_confidence_below", "near_tie_below")
"""Fields of the manifests of earlier versions, which are ignored. Prediction sets replace these thresholds."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Metadata of a model. The model folder contains it, because prediction must work without a database.

    Attributes:
        initialization: origin of the initial weights: ``imagenet`` or ``random``.
        trained_at: time of the training (UTC), such as ``20260131T235959Z``.
        image_size: S, height and width of a frame in pixels.
        classes: the classes in the order of the graph's outputs.
        preprocessing: version of the conversion to model input, as ``letterbox.PREPROCESSING``.
        temperature: temperature of the calibration. The graph already applies it.
        sha256s: hex sha256, by file name, of every other file that scoring or retraining needs.
        out_of_distribution_above: the distance from the training images above which a prediction is reviewed. ``None``
            if the model has no ``reference.npy``.
        prediction_sets: thresholds of the prediction sets. ``None`` if validation had no image of a class, or if an
            earlier version trained the model. Then predictions have no set.
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
    sha256s: dict[str, str]
    out_of_distribution_above: float | None = None
    prediction_sets: SetThresholds | None = None

    @property
    def name(self) -> str:
        """Return the unique name: recipe, time of training (UTC), and 6 hex digits of the graph weights' sha256."""
        return f"{self.recipe}-{self.trained_at}-{self.sha256s[GRAPH_WEIGHTS][:6]}"

    def write(self, folder: Path) -> None:
        """Write this manifest to ``model.json`` in ``folder``."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the validated manifest from ``model.json`` in ``folder``.

        Raises:
            ModelIntegrityError: the file is missing or invalid, its classes are not ``CLASSES`` in this order, or only
                one of ``out_of_distribution_above`` and the sha256 of ``reference.npy`` is given.
        """
        try:
            values: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
            sets = values.get("prediction_sets")
            parsed = {
                "classes": tuple(values["classes"]),
                "sha256s": dict(values["sha256s"]),
                "prediction_sets": None if sets is None else SetThresholds.of_values(sets),
            }
            manifest = cls(**{name: value for name, value in values.items() if name not in _FORMER_FIELDS} | parsed)
        except FileNotFoundError as exc:
            raise ModelIntegrityError(
                f"{folder} is not a model folder: it has no {MANIFEST}. Give the folder that `braintumor train` wrote."
            ) from exc
        except (AttributeError, ValueError, KeyError, TypeError) as exc:
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

    def require_sha256s(self, registered: dict[str, str]) -> None:
        """Check that this manifest gives the registry's sha256s for the files that scoring needs.

        Raises ``ModelIntegrityError`` if one of them differs or is not ``registered``.
        """
        for name, digest in serving_sha256s(self.sha256s).items():
            if digest != registered.get(name):
                raise ModelIntegrityError(
                    f"{MANIFEST} of {self.recipe} gives {name} the sha256 {digest[:12]}..., the registry "
                    f"{registered.get(name, 'none')[:12]}.... Both must be the same. Train the model again."
                )


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def verify(folder: Path, sha256s: dict[str, str]) -> None:
    """Check the files of a folder against their hex sha256s by file name. Call this function before parsing a file.

    Raises ``ModelIntegrityError`` if a file is missing, or its sha256 differs.
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
    """Return the entries of ``sha256s`` for the files that scoring needs."""
    return {name: digest for name, digest in sha256s.items() if name in SERVING_FILES}


PARITY_BOUNDS: Mapping[str, float] = {"fp32": 2e-3}
"""Largest difference of a probability between Keras and the exported graph, by precision.

The usual difference in fp32 is 5e-5. A model whose precision is not listed does not pass the comparison.
"""
