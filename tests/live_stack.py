"""Start a complete stack with Airflow's services and the tests' model as champion."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from braintumor.config.settings import Settings
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.s3 import ObjectStore, S3Uri
from devstack.postgres import AIRFLOW_DATABASE
from devstack.stack import Stack
from devstack.workers import Worker
from tests.conftest import copy_champion, databases_in_memory, state_folder
from tests.shared_state import restore

PATIENCE_S = 900
"""Timeout of a run. It takes a few minutes, and several times longer while other tests run."""


@contextmanager
def live_stack(
    seeded: Settings,
    model_folder: Path,
    airflow_dump: Path,
    environment: Mapping[str, str],
    *,
    labeled: Path | None = None,
    workers: Sequence[Worker] = (),
) -> Iterator[Stack]:
    """Start the stack with the labeled images of a folder, and stop it at the end.

    Airflow's tables come from ``airflow_dump``, because Airflow takes longer to create them.
    """
    with state_folder() as folder, databases_in_memory(folder), Stack(folder, airflow=False) as stores:
        restore(airflow_dump, stores.postgres.url(AIRFLOW_DATABASE, owner=AIRFLOW_DATABASE))
        stores.postgres.set_label(AIRFLOW_DATABASE, importlib.metadata.version("apache-airflow"))
        with Stack(folder, extra_env=environment, workers=workers) as stack:
            settings = library(stack)
            copy_champion(seeded, settings, model_folder)
            if labeled is not None:
                dataset = S3Uri.parse(settings.require("dataset_uri"))
                upload(ObjectStore.connect(settings), labeled_files(labeled), dataset)
            yield stack


def library(stack: Stack) -> Settings:
    """Return the settings of the stack, with a separate cache."""
    return replace(Settings.from_environment(stack.library_env()), cache_folder=str(stack.state.folder / "cache"))
