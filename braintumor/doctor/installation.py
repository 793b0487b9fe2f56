"""The environment under check: its settings, connections and clock."""

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
    """Settings of one role, or without a role, and the connections that they open.

    Attributes:
        problems: Errors while the settings were read.
        clock: The clock of this machine, or a test's.
        free_bytes: The free space of this machine, or a test's.
        own: The object that the S3 checks wrote, until they delete it.
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
        """Read the settings as tasks do, but Airflow connections only from the environment."""
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
        """Client for S3. Its creation sends no request."""
        return ObjectStore.connect(self.settings)

    @cached_property
    def engine(self) -> Engine:
        """Engine for Postgres. Its creation opens no connection."""
        return database.connect(self.settings)

    def close(self) -> None:
        """Close the open connections."""
        if "engine" in self.__dict__:
            self.engine.dispose()
