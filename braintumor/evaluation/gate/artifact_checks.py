"""Check that a registered model's artifact is complete and predicts correctly.

The checks run in this order. The outcome of each check has a reason.

::

    artifact_whole    S3 has every registered file, with the sha256 of the registry, also of the parent model
    class_order       the manifest ``model.json`` lists the classes in the order of ``labels.CLASSES``
    manifest_matches  manifest and registry agree, and this library version preprocesses frames as the model needs
    graph_loads       OpenVINO reads and compiles the graph
    input_size        the graph takes uint8 frames of the registered size
    output_shapes     probability, activation map and embedding have the right shapes
    reference_fits    embeddings for the out-of-distribution score, if any, have the width of the graph's embedding
    answers_finite    outputs contain no NaN and probabilities sum to 1, also for a black and a white frame
    answers_vary      phantoms (synthetic head images) of different classes and seeds get different predictions
    map_explains      softmax(mean(activation map) / temperature) equals the probability
    graph_parity      the graph predicts what Keras predicts with the registered weights. An int8 export is compared
                      with its parent model instead

The files come from S3, not from a cache. The checks stop at the first failure, because later checks need the results of
earlier checks. Run the checks in a separate process (``isolated_check.verify_in_subprocess``), because a corrupt graph
can crash the process that loads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.errors import ModelIntegrityError, RecipeError, WeightsError
from braintumor.evaluation.gate.gate import RuleOutcome
from braintumor.imaging.letterbox import PREPROCESSING, letterbox
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore
from braintumor.serving.artifact import (
    GRAPH,
    KERAS_WEIGHTS,
    MANIFEST,
    PARITY_BOUNDS,
    REFERENCE,
    REQUIRED_FILES,
    Manifest,
)
from braintumor.serving.backend import OpenVinoBackend, Result
from braintumor.serving.out_of_distribution import read_reference
from braintumor.training.export.keras_parity import keras_outputs, require_keras
from braintumor.training.recipe import STRIDE

_SEEDS = (0, 1)
_HEADS = len(_SEEDS) * len(CLASSES)
_LEAST_SPREAD = 1e-3
"""Smallest allowed range of a class probability over the phantoms, for the class with the widest range.

The range is the maximum minus the minimum. A model with a constant output has a range of 0. A model that was trained
on phantoms has a range of nearly 1.
"""
_SUM_TOLERANCE = 1e-3
_EXPLAINED = 1e-3
"""Largest allowed difference between the graph's probability and the one computed from the activation map.

The usual difference is 1e-5.
"""
_INT8 = 0.05
"""Largest allowed mean difference between the probabilities of an int8 export and those of its parent model.

The command ``model quantize`` also limits the share of changed predictions.
"""


def verify_model(settings: Settings, name: str, *, with_keras: bool = True) -> tuple[RuleOutcome, ...]:
    """Return the outcomes of the checks on a registered model, up to the first failed check.

    Args:
        settings: connections to Postgres and S3.
        name: name or number of the model.
        with_keras: whether to compare the graph's outputs with those of Keras. An int8 export is always compared with
            its parent model instead.

    Raises:
        ConfigurationError: ``with_keras`` is set, and TensorFlow is not installed.
        ModelIntegrityError: no model has this name.
    """
    if with_keras:
        require_keras()
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = model_versions.find_model(engine, name)
    with transaction(engine) as connection:
        record = connection.execute(
            text("""
            select temperature, parent_model_version_id as parent from model_version where model_version_id = :id"""),
            {"id": model.model_version_id},
        ).one()
    with TemporaryDirectory() as scratch:
        artifact = _Artifact(
            store=store,
            model=model,
            parent=None if record.parent is None else model_versions.find_model(engine, str(record.parent)),
            folder=Path(scratch) / "model",
            recipe=model_versions.training_of(engine, model).recipe,
            temperature=record.temperature,
            frames=fixed_frames(model.image_size),
        )
        return artifact.run_checks(with_keras=with_keras)


def require_valid_artifact(settings: Settings, model: ModelVersion) -> None:
    """Check a model's artifact before a promotion. The checks need no Keras.

    Raises:
        ModelIntegrityError: a check failed, so the model must not be promoted. The message gives the reason.
    """
    failed = [outcome for outcome in verify_model(settings, model.model_name, with_keras=False) if not outcome.passed]
    if failed:
        reasons = "; ".join(f"{outcome.name}: {outcome.reason}" for outcome in failed)
        raise ModelIntegrityError(
            f"{model.model_name} is not promoted, with or without --override, and the champion stays: {reasons}. "
            "Restore its files from a backup, or train it again."
        )


def fixed_frames(size: int) -> NDArray[np.uint8]:
    """Return the frames that the model predicts in the checks, uint8 (N, size, size, 3), with ``size`` in pixels.

    The frames are two phantoms (synthetic head images) of each class, one black frame and one white frame.
    """
    heads = [letterbox(draw(label, seed=seed).pixels, size=size) for seed in _SEEDS for label in CLASSES]
    return np.stack([*heads, np.zeros_like(heads[0]), np.full_like(heads[0], 255)])


@dataclass(kw_only=True)
class _Artifact:
    """Hold the downloaded files of a model and the model's registry entry, and run the checks.

    A check that measures a value returns a ``RuleOutcome``. Any other check returns the reason why it passed, or raises
    ``ModelIntegrityError`` with the reason why it failed.
    """

    store: ObjectStore
    model: ModelVersion
    parent: ModelVersion | None
    folder: Path
    recipe: dict[str, Any]
    temperature: float
    frames: NDArray[np.uint8]

    def run_checks(self, *, with_keras: bool) -> tuple[RuleOutcome, ...]:
        checks: dict[str, Callable[[], str | RuleOutcome]] = {
            "artifact_whole": self._fetch,
            "class_order": self._class_order,
            "manifest_matches": self._manifest,
            "graph_loads": self._load,
            "input_size": self._input,
            "output_shapes": self._shapes,
            "reference_fits": self._reference,
            "answers_finite": self._finite,
            "answers_vary": self._vary,
            "map_explains": self._explained,
        }
        if self.parent is not None:
            checks["graph_parity"] = partial(self._parent_parity, self.parent)
        elif with_keras:
            checks["graph_parity"] = self._keras_parity
        outcomes = []
        for name, check in checks.items():
            outcomes.append(_outcome_of(name, check))
            if not outcomes[-1].passed:
                break
        return tuple(outcomes)

    @property
    def _parent_folder(self) -> Path:
        return self.folder.with_name("parent")

    @cached_property
    def backend(self) -> OpenVinoBackend:
        return OpenVinoBackend(self.folder / GRAPH)

    @cached_property
    def outputs(self) -> Result:
        return self.backend.run(self.frames)

    def _fetch(self) -> str:
        sha256s = self.model.artifact_sha256s
        needed = REQUIRED_FILES if self.parent is not None else (*REQUIRED_FILES, KERAS_WEIGHTS)
        missing = [name for name in needed if name not in sha256s]
        if missing:
            raise ModelIntegrityError(f"the registry has no {', '.join(missing)} for it")
        model_versions.fetch_artifact(self.store, self.model, self.folder)
        if self.parent is not None:
            model_versions.fetch_artifact(self.store, self.parent, self._parent_folder)
        return f"all {len(sha256s)} registered files are stored, each with its sha256"

    def _class_order(self) -> str:
        try:
            listed = list(json.loads((self.folder / MANIFEST).read_text())["classes"])
        except (ValueError, KeyError, TypeError) as exc:
            raise ModelIntegrityError(f"{MANIFEST} lists no classes ({exc!r})") from exc
        if listed != list(CLASSES):
            raise ModelIntegrityError(f"its class order is {', '.join(map(str, listed))}, not {_order()}")
        return f"its classes are {_order()}, in this order"

    def _manifest(self) -> str:
        manifest = Manifest.read(self.folder)
        known = {
            "image_size": self.model.image_size,
            "precision": self.model.precision,
            "preprocessing": self.model.preprocessing,
            "temperature": self.temperature,
        }
        other = {name: getattr(manifest, name) for name, value in known.items() if getattr(manifest, name) != value}
        if other:
            expected = {name: known[name] for name in other}
            raise ModelIntegrityError(f"{MANIFEST} has {other}, the registry {expected}")
        if manifest.preprocessing != PREPROCESSING:
            raise ModelIntegrityError(
                f"it was trained with the preprocessing {manifest.preprocessing!r}, this version has {PREPROCESSING!r}"
            )
        return f"{MANIFEST} and registry agree on {', '.join(known)}"

    def _load(self) -> str:
        try:
            return f"read and compiled ({self.backend.device})"
        except RuntimeError as exc:  # the backend wraps read errors, but not compile errors
            raise ModelIntegrityError(f"OpenVINO cannot compile it: {str(exc).splitlines()[0]}") from exc

    def _input(self) -> str:
        size = self.model.image_size
        expected, received = ("u8", (None, size, size, 3)), (self.backend.input_type, self.backend.input_shape)
        if received != expected:
            raise ModelIntegrityError(f"the graph takes {_shaped(*received)}, the registry has {_shaped(*expected)}")
        return f"the graph takes {_shaped(*received)}"

    def _shapes(self) -> str:
        outputs = self.outputs
        count, cells = len(self.frames), self.model.image_size // STRIDE
        received = {name: values.shape for name, values in outputs.items()}
        width = outputs["embedding"].shape[-1] if "embedding" in outputs else 0
        expected = {
            "probability": (count, len(CLASSES)),
            "activation_map": (count, cells, cells, len(CLASSES)),
            "embedding": (count, width),
        }
        if received != expected:
            raise ModelIntegrityError(f"its outputs are {received}, they must be {expected}")
        return f"{len(CLASSES)} probabilities, a map of {cells} x {cells} cells, an embedding of {width}"

    def _reference(self) -> str:
        if REFERENCE not in Manifest.read(self.folder).sha256s:
            return "it has no reference embeddings, so its predictions have no out-of-distribution score"
        width = self.outputs["embedding"].shape[1]
        count, received = read_reference(self.folder / REFERENCE).shape
        if received != width:
            raise ModelIntegrityError(f"its {REFERENCE} has rows of {received} values, its embedding {width}")
        return f"{count} reference embeddings of {width} values"

    def _finite(self) -> str:
        broken = {name: int((~np.isfinite(values)).sum()) for name, values in self.outputs.items()}
        if any(broken.values()):
            counts = ", ".join(f"{count} of {name}" for name, count in broken.items() if count)
            raise ModelIntegrityError(f"values that are not finite numbers: {counts}; look for NaN weights")
        probability = self.outputs["probability"].astype(float)
        if (probability < 0).any() or np.abs(probability.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
            raise ModelIntegrityError(f"its probabilities do not sum to 1: {probability[0].tolist()}")
        return f"all outputs for {len(probability)} fixed frames are finite, and probabilities sum to 1"

    def _vary(self) -> RuleOutcome:
        spread = float(np.ptp(self.outputs["probability"][:_HEADS], axis=0).max())
        passed = spread >= _LEAST_SPREAD
        words = "different heads get different predictions" if passed else "every head gets the same prediction"
        reason = f"{words}: a probability has a range of {spread:.2g} on {_HEADS} phantoms, {_LEAST_SPREAD} is required"
        return RuleOutcome(name="answers_vary", passed=passed, bound=_LEAST_SPREAD, value=spread, reason=reason)

    def _explained(self) -> RuleOutcome:
        explained = softmax(self.outputs["activation_map"].mean(axis=(1, 2)) / self.temperature, axis=1)
        words = f"between its probabilities and those computed from its maps at temperature {self.temperature:.3f}"
        difference = _largest_difference(self.outputs["probability"], explained)
        return _agreement("map_explains", difference, _EXPLAINED, words)

    def _parent_parity(self, parent: ModelVersion) -> RuleOutcome:
        try:
            expected = OpenVinoBackend(self._parent_folder / GRAPH).run(self.frames)["probability"]
        except ModelIntegrityError as exc:
            return RuleOutcome(name="graph_parity", passed=False, bound=_INT8, value=None, reason=str(exc))
        difference = float(np.abs(self.outputs["probability"] - expected).mean())
        words = f"of a mean probability between {parent.model_name} and this export, on {len(expected)} frames"
        return _agreement("graph_parity", difference, _INT8, words)

    def _keras_parity(self) -> RuleOutcome:
        bound = PARITY_BOUNDS.get(self.model.precision)
        if bound is None:
            reason = f"no bound is known for the precision {self.model.precision}; known: {', '.join(PARITY_BOUNDS)}"
            return RuleOutcome(name="graph_parity", passed=False, bound=0, value=None, reason=reason)
        weights = self.folder / KERAS_WEIGHTS
        try:
            expected = keras_outputs(self.recipe, weights, self.frames, temperature=self.temperature)
        except (WeightsError, RecipeError) as exc:
            return RuleOutcome(name="graph_parity", passed=False, bound=bound, value=None, reason=str(exc))
        words = f"of a probability between Keras and the graph, on {len(self.frames)} fixed frames"
        difference = _largest_difference(self.outputs["probability"], expected["probability"])
        return _agreement("graph_parity", difference, bound, words)


def _outcome_of(name: str, check: Callable[[], str | RuleOutcome]) -> RuleOutcome:
    try:
        result = check()
    except ModelIntegrityError as exc:
        return RuleOutcome(name=name, passed=False, bound=0, value=1, reason=str(exc))
    if isinstance(result, RuleOutcome):
        return result
    return RuleOutcome(name=name, passed=True, bound=0, value=0, reason=result)


def _agreement(name: str, difference: float, bound: float, words: str) -> RuleOutcome:
    passed = difference <= bound  # NaN must not pass
    value = difference if np.isfinite(difference) else None
    reason = f"a difference of at most {difference:.2g} {words}; {bound} is allowed"
    return RuleOutcome(name=name, passed=passed, bound=bound, value=value, reason=reason)


def _largest_difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max())


def _shaped(kind: str, shape: tuple[int | None, ...]) -> str:
    return f"{kind} ({', '.join('N' if side is None else str(side) for side in shape)})"


def _order() -> str:
    return ", ".join(CLASSES)
