"""Check and load the models of a run for the inference backend that the run uses."""

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


def chosen_backend(settings: Settings) -> BackendName:
    """Return the inference backend for new runs. Raises ``ConfigurationError`` if the setting names no backend."""
    name = settings.require("backend")
    try:
        return BackendName(name)
    except ValueError as exc:
        known = " or ".join(BackendName)
        raise ConfigurationError(f"BRAINTUMOR_BACKEND is {name!r}. Set it to {known}.") from exc


def require_comparable(model: ModelVersion, second: ModelVersion) -> None:
    """Check that the champion ``model`` and the second model ``second`` can predict the same preprocessed frames.

    Raises:
        ConfigurationError: the models need different inputs, the second model's files were pruned, or both are the same
            model.
    """
    if second.model_version_id == model.model_version_id:
        why = "it is the champion"
    elif second.pruned_at is not None:
        why = "its files were pruned"
    elif second.preprocessing != model.preprocessing:
        why = f"its preprocessing is {second.preprocessing}, the champion's is {model.preprocessing}"
    elif second.image_size != model.image_size:
        why = f"its input has {second.image_size} pixels, the champion's has {model.image_size}"
    else:
        return
    raise ConfigurationError(
        f"{second.model_name} cannot be the second model next to the champion {model.model_name}: {why}. Set "
        "another second model, or none (BRAINTUMOR_SECOND_MODEL)."
    )


def require_runnable(model: ModelVersion, backend: BackendName) -> None:
    """Check that the backend can run the model's numeric precision. Raises ``ConfigurationError`` if it cannot."""
    if backend is BackendName.XLA and model.precision != "fp32":
        raise ConfigurationError(
            f"The model {model.model_name} has precision {model.precision}, which only {BackendName.OPENVINO} "
            f"runs. Set BRAINTUMOR_BACKEND={BackendName.OPENVINO}, or use the model that it was exported from."
        )


def open_model(
    engine: Engine, store: ObjectStore, settings: Settings, model: ModelVersion, backend: BackendName
) -> LoadedModel:
    """Download a model's files from S3, check them, and return the model compiled for a backend.

    Raises:
        ModelIntegrityError: a file is missing or damaged, or the model was pruned.
        ConfigurationError: the backend is not installed on this machine.
    """
    if backend is BackendName.OPENVINO:
        return model_versions.load_model(store, settings, model)
    from braintumor.training.export.keras_parity import require_keras
    from braintumor.training.export.xla_engine import XlaBackend

    require_keras()
    recipe = model_versions.training_of(engine, model).recipe
    folder = model_versions.fetch_model(store, settings, model, also=(KERAS_WEIGHTS,))
    return LoadedModel.load(folder, verified=model.artifact_sha256s, open_backend=partial(XlaBackend, recipe=recipe))
