"""What is examined: the settings of this environment, opened, and the clock to compare with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from shutil import disk_usage

from sqlalchemy import Engine

from braintumor.config.airflow_connections import with_database_of, with_store_of
from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ConfigurationError
from braintumor.s3 import ObjectStore, S3Uri


def _clock() -> datetime:
    return datetime.now(UTC)


def _free(folder: Path) -> int:
    return disk_usage(folder).free


@dataclass(kw_only=True)
class Installation:
    """Settings of one role, or of none in particular.

    ``problems`` are what kept a part of the settings from being read. ``clock`` and ``free_bytes`` are the machine's
    own, unless a test gives others.
    """

    settings: Settings
    role: Role | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    clock: Callable[[], datetime] = _clock
    free_bytes: Callable[[Path], int] = _free
    own: S3Uri | None = None
    """The object that the checks of S3 wrote, until they have deleted it."""

    @classmethod
    def of_environment(cls, role: Role | None, environment: Mapping[str, str] = os.environ) -> Installation:
        """As tasks have them, but that of Airflow's connections only those in the environment are seen."""
        settings, problems = Settings.from_environment(environment, role=role), []
        try:
            settings = settings if role is None else with_database_of(environment, settings, role)
        except ConfigurationError as error:
            problems.append(str(error))
        try:
            settings = with_store_of(environment, settings)
        except ConfigurationError as error:
            problems.append(str(error))
        return cls(settings=settings, role=role, environment=environment, problems=problems)

    @cached_property
    def store(self) -> ObjectStore:
        """S3; nothing is sent yet."""
        return ObjectStore.connect(self.settings)

    @cached_property
    def engine(self) -> Engine:
        """Postgres; nothing is sent yet."""
        return database.connect(self.settings)

    def close(self) -> None:
        """End the connections that were made."""
        if "engine" in self.__dict__:
            self.engine.dispose()
