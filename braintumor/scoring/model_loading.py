"""The model of a run, made ready on the engine that the run is pinned to."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.errors import ConfigurationError
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore
from braintumor.serving.artifact import KERAS_WEIGHTS
from braintumor.serving.backend import BackendName, LoadedModel


def chosen_engine(settings: Settings) -> BackendName:
    """The engine of runs to come.

    Raises:
        ConfigurationError: the setting names none.
    """
    name = settings.require("backend")
    try:
        return BackendName(name)
    except ValueError as exc:
        known = " or ".join(BackendName)
        raise ConfigurationError(f"BRAINTUMOR_BACKEND is {name!r}. Set it to {known}.") from exc


def require_comparable(model: ModelVersion, second: ModelVersion) -> None:
    """Check that two models can be asked about the same prepared frames.

    Raises:
        ConfigurationError: they cannot, or it is the same model twice.
    """
    if second.model_version_id == model.model_version_id:
        why = "it is the champion itself"
    elif second.pruned_at is not None:
        why = "its files were pruned"
    elif second.preprocessing != model.preprocessing:
        why = f"its frames are prepared as {second.preprocessing}, the champion's as {model.preprocessing}"
    elif second.image_size != model.image_size:
        why = f"it wants frames of {second.image_size} pixels, the champion of {model.image_size}"
    else:
        return
    raise ConfigurationError(
        f"{second.model_name} cannot be asked beside the champion {model.model_name}: {why}. Name another second "
        "model, or none (BRAINTUMOR_SECOND_MODEL)."
    )


def require_runnable(model: ModelVersion, engine: BackendName) -> None:
    """Check that the engine runs such a model at all.

    Raises:
        ConfigurationError: it does not.
    """
    if engine is BackendName.XLA and model.precision != "fp32":
        raise ConfigurationError(
            f"The model {model.model_name} is of precision {model.precision}, which only {BackendName.OPENVINO} "
            f"runs. Set BRAINTUMOR_BACKEND={BackendName.OPENVINO}, or use the model that it was made from."
        )


def open_model(
    database: Engine, store: ObjectStore, settings: Settings, model: ModelVersion, engine: BackendName
) -> LoadedModel:
    """Fetch, check and compile.

    Raises:
        ModelIntegrityError: a file is missing or damaged, or the model was pruned.
        ConfigurationError: this machine has no such engine.
    """
    if engine is BackendName.OPENVINO:
        return model_versions.load_model(store, settings, model)
    from braintumor.training.export.keras_parity import require_keras
    from braintumor.training.export.xla_engine import XlaBackend

    require_keras()
    recipe = model_versions.training_of(database, model).recipe
    folder = model_versions.fetch_model(store, settings, model, also=(KERAS_WEIGHTS,))
    return LoadedModel.load(folder, sha256s=model.artifact_sha256s, open_engine=partial(XlaBackend, recipe=recipe))
