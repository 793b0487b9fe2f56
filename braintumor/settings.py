"""Every setting of the library: one frozen object, read from the environment where a program starts.

Nothing below the command line and the DAGs reads the environment: they are handed a ``Settings``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, Self

from braintumor.errors import ConfigurationError

_PREFIX = "BRAINTUMOR_"


def _setting(doc: str, default: str | None = None, *, secret: bool = False) -> str | None:
    """A field that is read from ``BRAINTUMOR_<NAME>``; ``doc`` says what it means."""
    result: str | None = field(default=default, repr=not secret, metadata={"doc": doc, "secret": secret})
    return result


class Connection(Protocol):
    """What this library reads of an Airflow connection, without knowing Airflow."""

    login: str | None
    password: str | None

    def get_uri(self) -> str:
        """The connection as a URI."""

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """Its extra fields."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are and which secrets open them; its repr shows no secret."""

    database_url: str | None = _setting("Postgres of the predictions: postgresql://user:password@host/db", secret=True)
    s3_endpoint: str | None = _setting("URL of the S3 API; unset means AWS itself")
    s3_access_key: str | None = _setting("S3 access key; unset means boto3's own credential chain", secret=True)
    s3_secret_key: str | None = _setting("S3 secret key", secret=True)
    s3_region: str | None = _setting("S3 region", "us-east-1")
    pseudonym_key: str | None = _setting("secret that keys the pseudonyms of study, series and patient", secret=True)
    dataset_uri: str | None = _setting("S3 prefix of the labelled images", "s3://braintumor/dataset/")
    scans_uri: str | None = _setting("S3 prefix where new scans arrive", "s3://braintumor/scans/")
    models_uri: str | None = _setting("S3 prefix of model artefacts", "s3://braintumor/models/")
    weights_uri: str | None = _setting("S3 prefix or folder mirroring initial weights", "s3://braintumor/weights/")
    cache_folder: str | None = _setting("folder for copies of model files", "~/.cache/braintumor")
    gate_rules: str | None = _setting("path of a gate rule file; unset means the packaged rules")
    quality_rules: str | None = _setting("path of a data quality rule file; unset means the packaged rules")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read ``BRAINTUMOR_*``; an empty value counts as unset."""
        given = {f.name: environment.get(f.name_in_environment) for f in setting_fields()}
        return cls(**{name: value for name, value in given.items() if value})

    def completed(self, connection: Callable[[str], Connection]) -> Self:
        """The same settings, with Postgres and S3 from Airflow's connections where the environment names neither.

        What the environment names is never asked for, and what is asked for must be there: so an Airflow that does
        not answer for a moment cannot send a task to another database or another S3.

        Args:
            connection: finds ``braintumor_db`` and ``braintumor_s3``, and raises where it cannot.
        """
        result = self
        if not self.database_url:
            url = connection("braintumor_db").get_uri()
            result = replace(result, database_url=url.replace("postgres://", "postgresql://", 1))
        if not (self.s3_endpoint or self.s3_access_key):
            s3 = connection("braintumor_s3")
            result = replace(
                result,
                s3_access_key=s3.login or None,
                s3_secret_key=s3.password or None,
                s3_endpoint=s3.extra_dejson.get("endpoint_url"),
                s3_region=s3.extra_dejson.get("region_name", self.s3_region),
            )
        return result

    def to_environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables that ``from_environment`` reads back into an equal object, for a subprocess.

        With ``base`` they are set in a copy of it, and what is unset here is removed there.
        """
        values = {f.name_in_environment: getattr(self, f.name) for f in setting_fields()}
        kept = {name: value for name, value in (base or {}).items() if name not in values}
        return kept | {name: value for name, value in values.items() if value is not None}

    def require(self, name: str) -> str:
        """The value of a setting that the work at hand cannot do without.

        Raises:
            ConfigurationError: it is unset.
        """
        value: str | None = getattr(self, name)
        if value:
            return value
        described = next(f for f in setting_fields() if f.name == name)
        raise ConfigurationError(
            f"{described.name_in_environment} is not set ({described.doc}). "
            "Set it in the environment, or in Airflow through the connections braintumor_db and braintumor_s3."
        )


@dataclass(frozen=True, kw_only=True)
class SettingField:
    """One setting as documentation shows it."""

    name: str
    default: str | None
    doc: str
    is_secret: bool

    @property
    def name_in_environment(self) -> str:
        """``database_url`` -> ``BRAINTUMOR_DATABASE_URL``."""
        return _PREFIX + self.name.upper()


def setting_fields() -> list[SettingField]:
    """Every setting, in the order of their declaration."""
    return [
        SettingField(name=f.name, default=f.default, doc=f.metadata["doc"], is_secret=f.metadata["secret"])  # type: ignore[arg-type]
        for f in fields(Settings)
    ]
