"""Read Airflow connections from the environment as Airflow does, for commands that run without Airflow.

``AIRFLOW_CONN_BRAINTUMOR_S3`` holds the connection ``braintumor_s3``, as a URI or as JSON. So a command in a worker's
shell uses the same database and S3 as that worker's tasks. Connections in Airflow's own database are not read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from braintumor.config.settings import DATABASE_CONNECTION, STORE_CONNECTION, Settings
from braintumor.errors import ConfigurationError

PREFIX = "AIRFLOW_CONN_"


def variable_of(connection: str) -> str:
    """Return the environment variable of a connection: ``braintumor_s3`` -> ``AIRFLOW_CONN_BRAINTUMOR_S3``."""
    return PREFIX + connection.upper()


@dataclass(frozen=True, kw_only=True)
class EnvironmentConnection:
    """Hold an Airflow connection from an environment variable, with the fields that ``Settings.completed`` reads."""

    login: str | None
    password: str | None = field(repr=False)
    extra_dejson: dict[str, Any] = field(repr=False)
    uri: str = field(repr=False)

    def get_uri(self) -> str:
        """Return the connection as a URI."""
        return self.uri

    @classmethod
    def find(cls, name: str, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the Airflow connection ``name`` of the environment, or raise ``ConfigurationError``."""
        text = environment.get(variable_of(name), "").strip()
        if not text:
            raise ConfigurationError(f"The environment has no connection {name} ({variable_of(name)}).")
        try:
            return cls._of_json(json.loads(text)) if text.startswith("{") else cls._of_uri(text)
        except (ValueError, TypeError, AttributeError):
            raise ConfigurationError(
                f"{variable_of(name)} is neither a URI nor the JSON of an Airflow connection. Correct it."
            ) from None

    @classmethod
    def _of_uri(cls, text: str) -> Self:
        parts = urlsplit(text)
        extra: dict[str, Any] = dict(parse_qsl(parts.query))
        if "__extra__" in extra:
            extra = json.loads(extra["__extra__"])
        return cls(
            login=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            extra_dejson=extra,
            uri=text,
        )

    @classmethod
    def _of_json(cls, values: dict[str, Any]) -> Self:
        extra = values.get("extra") or {}
        login, password = values.get("login"), values.get("password")
        more: dict[str, Any] = json.loads(extra) if isinstance(extra, str) else extra
        kind = str(values.get("conn_type", "")).lower().replace("_", "-")
        user = quote(login or "", safe="") + (f":{quote(password, safe='')}" if password else "")
        place = quote(values.get("host") or "", safe="") + (f":{values['port']}" if values.get("port") else "")
        query = f"?{urlencode(more)}" if more else ""
        return cls(
            login=login,
            password=password,
            extra_dejson=more,
            uri=f"{kind}://{user}{'@' if user else ''}{place}/{quote(values.get('schema') or '', safe='')}{query}",
        )


def settings_of(role: str, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of a role, such as ``scorer``, from variables and Airflow connections in the environment."""
    settings = Settings.from_environment(environment, role=role)
    return with_store_of(environment, with_database_of(environment, settings, role))


def with_database_of(environment: Mapping[str, str], settings: Settings, role: str) -> Settings:
    """Return the settings with the Postgres URL of the role's Airflow connection in the environment.

    The settings stay unchanged if they already have a Postgres URL, or if the environment has no such connection.
    """
    if not environment.get(variable_of(f"{DATABASE_CONNECTION}_{role}")):
        return settings
    return settings.with_database(partial(EnvironmentConnection.find, environment=environment), role=role)


def with_store_of(environment: Mapping[str, str], settings: Settings) -> Settings:
    """Return the settings with the S3 server and keys of the Airflow connection in the environment.

    The settings stay unchanged if they name an S3 server, or if the environment has no such connection.
    """
    if not environment.get(variable_of(STORE_CONNECTION)):
        return settings
    return settings.with_store(partial(EnvironmentConnection.find, environment=environment))
