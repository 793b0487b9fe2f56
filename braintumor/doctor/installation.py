"""Define the installation under check: its settings, connections and clock."""

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


@dataclass(kw_only=True)
class Installation:
    """Hold the installation under check: the settings of one role or no role, and the connections to S3 and Postgres.

    Attributes:
        problems: The messages of errors while the settings were read.
        own: The address of the test object that the S3 checks wrote, or ``None`` if they wrote none.
    """

    settings: Settings
    role: Role | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    free_bytes: Callable[[Path], int] = lambda folder: disk_usage(folder).free
    own: S3Uri | None = None

    @classmethod
    def of_environment(cls, role: Role | None, environment: Mapping[str, str] = os.environ) -> Installation:
        """Return the installation with the settings that the tasks of a role read from the environment.

        The message of an unreadable Airflow connection goes to ``problems``.
        """
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
        """Return the client for S3. Its creation sends no request."""
        return ObjectStore.connect(self.settings)

    @cached_property
    def engine(self) -> Engine:
        """Return the engine for Postgres. Its creation opens no connection."""
        return database.connect(self.settings)

    def close(self) -> None:
        """Close the open connections."""
        if "engine" in self.__dict__:
            self.engine.dispose()
