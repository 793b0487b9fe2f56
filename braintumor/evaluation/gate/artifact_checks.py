"""Is a registered model whole? Every check of an artifact before it may answer, each with a reason.

::

    artifact_whole    every registered file is stored, and its sha256 is the registry's
    class_order       its manifest lists this project's classes, in this order
    manifest_matches  its manifest says of it what the registry says, and frames are prepared as it was trained
    graph_loads       OpenVINO reads and compiles it
    input_size        it takes uint8 frames of the size that the registry knows
    output_shapes     it answers with probabilities, activation map and embedding of the right shapes
    reference_fits    its reference embeddings, where it has any, can be compared with the graph's
    answers_finite    no NaN, and probabilities that add up to 1, also on a black and on a white frame
    answers_vary      different heads get different answers
    map_explains      softmax(mean(activation map) / temperature) is the probability
    graph_parity      on the same frames Keras says the same, with the registered weights; an int8 export is compared
                      with the model that it came from instead

The files come from where they are stored, not from a cache. After a check that fails the later ones would speak of
nothing and are left out. Run it in a process of its own (``fresh.verify_in_fresh_process``): a graph can end whoever
loads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
"""Of a probability over the phantoms. One that is trained on phantoms spreads by nearly 1, a dead one by 0."""
_SUM_TOLERANCE = 1e-3
_EXPLAINED = 1e-3
"""Between the probability and the one that its map explains; 1e-5 is usual."""
_INT8 = 0.05
"""Between an int8 export and its parent; how many answers may change is bounded where it is made."""


def verify_model(settings: Settings, name: str, *, with_keras: bool = True) -> tuple[RuleOutcome, ...]:
    """Check a registered model, in the order above, up to the first check that fails.

    Raises:
        ConfigurationError: it is to be compared with Keras, and TensorFlow is not installed here.
        ModelIntegrityError: there is no such model.
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
        return tuple(_up_to_the_first_failure(artifact.checks(with_keras=with_keras)))


def require_valid_artifact(settings: Settings, model: ModelVersion) -> None:
    """Check, without Keras, that a model can be loaded and answers: who cannot is promoted by nobody.

    Raises:
        ModelIntegrityError: it is not whole; the message says why.
    """
    failed = [outcome for outcome in verify_model(settings, model.model_name, with_keras=False) if not outcome.passed]
    if failed:
        reasons = "; ".join(f"{outcome.name}: {outcome.reason}" for outcome in failed)
        raise ModelIntegrityError(
            f"{model.model_name} is not promoted, with or without --override, and the champion stays: {reasons}. "
            "Restore its files from a backup, or train it again."
        )


def fixed_frames(size: int) -> NDArray[np.uint8]:
    """What every model is asked, (N, size, size, 3): phantoms of each class, then all black and all white."""
    heads = [letterbox(draw(label, seed=seed).pixels, size=size) for seed in _SEEDS for label in CLASSES]
    return np.stack([*heads, np.zeros_like(heads[0]), np.full_like(heads[0], 255)])


def _up_to_the_first_failure(checks: Iterator[RuleOutcome]) -> Iterator[RuleOutcome]:
    for outcome in checks:
        yield outcome
        if not outcome.passed:
            return


@dataclass(kw_only=True)
class _Artifact:
    """A model's files in a folder of this check's own, and what the registry says of them."""

    store: ObjectStore
    model: ModelVersion
    parent: ModelVersion | None
    folder: Path
    recipe: dict[str, Any]
    temperature: float
    frames: NDArray[np.uint8]

    def checks(self, *, with_keras: bool) -> Iterator[RuleOutcome]:
        """Each check when it is asked for; none is run before the one in front of it has passed."""
        yield _said("artifact_whole", self._fetch)
        yield _said("class_order", self._class_order)
        yield _said("manifest_matches", self._manifest)
        engines: list[OpenVinoBackend] = []
        yield _said("graph_loads", lambda: self._load(engines))
        engine = engines[0]
        yield _said("input_size", lambda: self._input(engine))
        outputs = engine.run(self.frames)
        yield _said("output_shapes", lambda: self._shapes(outputs))
        yield _said("reference_fits", lambda: self._reference(outputs["embedding"].shape[1]))
        yield _said("answers_finite", lambda: _finite(outputs))
        yield _vary(outputs["probability"][:_HEADS])
        yield self._explained(outputs)
        if self.parent is not None:
            yield self._parent_parity(self.parent, outputs)
        elif with_keras:
            yield self._parity(outputs)

    def _fetch(self) -> str:
        sha256s = self.model.artifact_sha256s
        needed = REQUIRED_FILES if self.parent is not None else (*REQUIRED_FILES, KERAS_WEIGHTS)
        missing = [name for name in needed if name not in sha256s]
        if missing:
            raise ModelIntegrityError(f"the registry knows no {', '.join(missing)} of it")
        model_versions.fetch_artifact(self.store, self.model, self.folder)
        return f"all {len(sha256s)} registered files are stored, each with its sha256"

    def _class_order(self) -> str:
        try:
            listed = list(json.loads((self.folder / MANIFEST).read_text())["classes"])
        except (ValueError, KeyError, TypeError) as exc:
            raise ModelIntegrityError(f"{MANIFEST} lists no classes ({exc!r})") from exc
        if listed != list(CLASSES):
            raise ModelIntegrityError(f"it answers in the order {', '.join(map(str, listed))}, not {_order()}")
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
            raise ModelIntegrityError(f"{MANIFEST} says {other}, the registry {expected}")
        if manifest.preprocessing != PREPROCESSING:
            raise ModelIntegrityError(
                f"it was trained on frames prepared as {manifest.preprocessing!r}, and here they are {PREPROCESSING!r}"
            )
        return f"{MANIFEST} and registry agree on {', '.join(known)}"

    def _load(self, engines: list[OpenVinoBackend]) -> str:
        try:
            engines.append(OpenVinoBackend(self.folder / GRAPH))
        except RuntimeError as exc:  # reading is wrapped in an error of ours; compiling is not
            raise ModelIntegrityError(f"OpenVINO cannot compile it: {str(exc).splitlines()[0]}") from exc
        return f"read and compiled ({engines[0].device})"

    def _input(self, engine: OpenVinoBackend) -> str:
        size = self.model.image_size
        expected, received = ("u8", (None, size, size, 3)), (engine.input_type, engine.input_shape)
        if received != expected:
            raise ModelIntegrityError(f"the graph takes {_shaped(*received)}, the registry says {_shaped(*expected)}")
        return f"the graph takes {_shaped(*received)}"

    def _shapes(self, outputs: Result) -> str:
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

    def _reference(self, width: int) -> str:
        if REFERENCE not in Manifest.read(self.folder).sha256s:
            return "it has no reference embeddings: its answers have no out-of-distribution score"
        count, received = read_reference(self.folder / REFERENCE).shape
        if received != width:
            raise ModelIntegrityError(f"its {REFERENCE} has rows of {received} values, its embedding {width}")
        return f"{count} reference embeddings of {width} values"

    def _explained(self, outputs: Result) -> RuleOutcome:
        explained = softmax(outputs["activation_map"].mean(axis=(1, 2)) / self.temperature, axis=1)
        words = f"between its probabilities and those that its maps explain at temperature {self.temperature:.3f}"
        return _agreement("map_explains", _apart(outputs["probability"], explained), _EXPLAINED, words)

    def _parent_parity(self, parent: ModelVersion, outputs: Result) -> RuleOutcome:
        folder = self.folder.with_name("parent")
        try:
            model_versions.fetch_artifact(self.store, parent, folder)
            expected = OpenVinoBackend(folder / GRAPH).run(self.frames)["probability"]
        except ModelIntegrityError as exc:
            return RuleOutcome(name="graph_parity", passed=False, bound=_INT8, value=None, reason=str(exc))
        difference = float(np.abs(outputs["probability"] - expected).mean())
        words = f"of a probability on average between {parent.model_name} and this export, on {len(expected)} frames"
        return _agreement("graph_parity", difference, _INT8, words)

    def _parity(self, outputs: Result) -> RuleOutcome:
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
        return _agreement("graph_parity", _apart(outputs["probability"], expected["probability"]), bound, words)


def _said(name: str, check: Callable[[], str]) -> RuleOutcome:
    """A check that passes with words, or raises with the reason."""
    try:
        return RuleOutcome(name=name, passed=True, bound=0, value=0, reason=check())
    except ModelIntegrityError as exc:
        return RuleOutcome(name=name, passed=False, bound=0, value=1, reason=str(exc))


def _finite(outputs: Result) -> str:
    broken = {name: int((~np.isfinite(values)).sum()) for name, values in outputs.items()}
    if any(broken.values()):
        counts = ", ".join(f"{count} of {name}" for name, count in broken.items() if count)
        raise ModelIntegrityError(f"values that are no finite numbers: {counts}; look for NaN weights")
    probability = outputs["probability"].astype(float)
    if (probability < 0).any() or np.abs(probability.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        raise ModelIntegrityError(f"its probabilities do not add up to 1: {probability[0].tolist()}")
    return f"all outputs for {len(probability)} fixed frames are finite, and probabilities add up to 1"


def _vary(probability: NDArray[np.float32]) -> RuleOutcome:
    spread = float(np.ptp(probability, axis=0).max())
    passed = spread >= _LEAST_SPREAD
    words = "different heads get different answers" if passed else "it says the same of every head"
    reason = (
        f"{words}: a probability spreads over {spread:.2g} on {len(probability)} phantoms, {_LEAST_SPREAD} is least"
    )
    return RuleOutcome(name="answers_vary", passed=passed, bound=_LEAST_SPREAD, value=spread, reason=reason)


def _agreement(name: str, difference: float, bound: float, words: str) -> RuleOutcome:
    passed = difference <= bound  # NaN must not pass
    value = difference if np.isfinite(difference) else None
    reason = f"a difference of at most {difference:.2g} {words}; {bound} is allowed"
    return RuleOutcome(name=name, passed=passed, bound=bound, value=value, reason=reason)


def _apart(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(ours - theirs).max())


def _shaped(kind: str, shape: tuple[int | None, ...]) -> str:
    return f"{kind} ({', '.join('N' if side is None else str(side) for side in shape)})"


def _order() -> str:
    return ", ".join(CLASSES)
