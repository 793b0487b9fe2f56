"""Every setting of the library: one frozen object, read from the environment where a program starts.

Nothing below the command line and the DAGs reads the environment: they are handed a ``Settings``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, Self

from braintumor.config.variables import PREFIX, TIMEZONE, Kind, Variable
from braintumor.errors import ConfigurationError

OF_ROLE = "BRAINTUMOR_DATABASE_URL_"
"""A role's own ``BRAINTUMOR_DATABASE_URL`` begins so."""
DATABASE_CONNECTION = "braintumor_db"
"""An Airflow connection; each role's own is called so, with ``_<role>`` after it."""
STORE_CONNECTION = "braintumor_s3"


def _setting(doc: str, default: str | None = None, *, kind: Kind = Kind.TEXT, secret: bool = False) -> str | None:
    """A field that is read from ``BRAINTUMOR_<NAME>``; ``doc`` says what it means, ``kind`` what its text must be."""
    metadata = {"doc": doc, "kind": kind, "secret": secret}
    result: str | None = field(default=default, repr=not secret, metadata=metadata)
    return result


class Connection(Protocol):
    """What this library reads of an Airflow connection, without knowing Airflow."""

    @property
    def login(self) -> str | None:
        """Its user, or access key."""

    @property
    def password(self) -> str | None:
        """Its password, or secret key."""

    def get_uri(self) -> str:
        """The connection as a URI."""

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """Its extra fields."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are and which secrets open them; its repr shows no secret."""

    database_url: str | None = _setting(
        "Postgres of the predictions: postgresql://user:password@host/db", kind=Kind.URL, secret=True
    )
    s3_endpoint: str | None = _setting("URL of the S3 API; unset means AWS itself", kind=Kind.URL)
    s3_access_key: str | None = _setting("S3 access key; unset means boto3's own credential chain", secret=True)
    s3_secret_key: str | None = _setting("S3 secret key", secret=True)
    s3_region: str | None = _setting("S3 region", "us-east-1")
    pseudonym_key: str | None = _setting(
        "secret that keys the pseudonyms of study, series and patient: for nights, snapshots and erasures", secret=True
    )
    dataset_uri: str | None = _setting(
        "S3 prefix of the labeled images", "s3://braintumor/dataset/", kind=Kind.S3_PREFIX
    )
    scans_uri: str | None = _setting(
        "S3 prefixes where new scans arrive, each ending in /, with commas between them",
        "s3://braintumor/scans/",
        kind=Kind.S3_PREFIXES,
    )
    models_uri: str | None = _setting("S3 prefix of model artifacts", "s3://braintumor/models/", kind=Kind.S3_PREFIX)
    weights_uri: str | None = _setting(
        "S3 prefix or folder mirroring initial weights", "s3://braintumor/weights/", kind=Kind.PLACE
    )
    cache_folder: str | None = _setting("folder for copies of model files", "~/.cache/braintumor", kind=Kind.PATH)
    engine: str | None = _setting("what scores nights to come: openvino-cpu or tensorflow-xla", "openvino-cpu")
    second_model: str | None = _setting("name of a model asked beside the champion, to find disagreement; unset: none")
    viewer_url: str | None = _setting(
        "link from the review page to a study; {study} stands for its pseudonym", kind=Kind.URL
    )
    gate_rules: str | None = _setting("path of a gate rule file; unset means the packaged rules", kind=Kind.PATH)
    label_rules: str | None = _setting(
        "path of a rule file of reviewed labels; unset means the packaged rules", kind=Kind.PATH
    )
    timezone: str | None = _setting(
        "timezone of the schedules and of the days that the morning sheet counts", TIMEZONE.default, kind=TIMEZONE.kind
    )
    morning_rules: str | None = _setting(
        "path of a rule file of the morning sheet; unset means the packaged rules", kind=Kind.PATH
    )
    quality_rules: str | None = _setting(
        "path of a data quality rule file; unset means the packaged rules", kind=Kind.PATH
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, *, role: str | None = None) -> Self:
        """Read ``BRAINTUMOR_*``; an empty value counts as unset.

        With a ``role``, such as ``scorer``, ``BRAINTUMOR_DATABASE_URL_SCORER`` goes before ``BRAINTUMOR_DATABASE_URL``.
        """
        given = {f.name: environment.get(f.name_in_environment) for f in setting_fields()}
        if role is not None:
            given["database_url"] = environment.get(f"{OF_ROLE}{role.upper()}") or given["database_url"]
        return cls(**{name: value for name, value in given.items() if value})

    def completed(self, connection: Callable[[str], Connection], *, role: str | None = None) -> Self:
        """The same settings, with Postgres and S3 from Airflow's connections where the environment names neither.

        What the environment names is never asked for, and what is asked for must be there: so an Airflow that does
        not answer for a moment cannot send a task to another database or another S3.

        Args:
            connection: finds ``braintumor_db`` and ``braintumor_s3``, and raises where it cannot.
            role: asks for ``braintumor_db_<role>`` in place of ``braintumor_db``, and for no other.
        """
        return self.with_database(connection, role=role).with_store(connection)

    def with_database(self, connection: Callable[[str], Connection], *, role: str | None = None) -> Self:
        """The Postgres half of ``completed``."""
        if self.database_url:
            return self
        url = connection(f"{DATABASE_CONNECTION}_{role}" if role else DATABASE_CONNECTION).get_uri()
        return replace(self, database_url=url.replace("postgres://", "postgresql://", 1))

    def with_store(self, connection: Callable[[str], Connection]) -> Self:
        """The S3 half of ``completed``."""
        if self.s3_endpoint or self.s3_access_key:
            return self
        s3 = connection(STORE_CONNECTION)
        return replace(
            self,
            s3_access_key=s3.login or None,
            s3_secret_key=s3.password or None,
            s3_endpoint=s3.extra_dejson.get("endpoint_url"),
            s3_region=s3.extra_dejson.get("region_name", self.s3_region),
        )

    def to_environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables that ``from_environment`` reads back into an equal object, for a subprocess.

        With ``base`` they are set in a copy of it, and what is unset here is removed there, other roles' URLs with it.
        """
        values = {f.name_in_environment: getattr(self, f.name) for f in setting_fields()}
        kept = {
            name: value for name, value in (base or {}).items() if name not in values and not name.startswith(OF_ROLE)
        }
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
            f"{described.name_in_environment} is not set ({described.doc}). Set it in the environment"
            + (", or in the Airflow connection braintumor_db_<role>." if name == "database_url" else ".")
        )


@dataclass(frozen=True, kw_only=True)
class SettingField:
    """One setting as documentation shows it."""

    name: str
    kind: Kind
    default: str | None
    doc: str
    is_secret: bool

    @property
    def name_in_environment(self) -> str:
        """``database_url`` -> ``BRAINTUMOR_DATABASE_URL``."""
        return PREFIX + self.name.upper()

    @property
    def variable(self) -> Variable:
        """The environment variable that it is read from."""
        return Variable(
            name=self.name_in_environment,
            kind=self.kind,
            doc=self.doc,
            default=self.default,
            is_secret=self.is_secret,
        )


def setting_fields() -> list[SettingField]:
    """Every setting, in the order of their declaration."""
    return [
        SettingField(
            name=f.name,
            kind=f.metadata["kind"],
            default=f.default,  # type: ignore[arg-type]
            doc=f.metadata["doc"],
            is_secret=f.metadata["secret"],
        )
        for f in fields(Settings)
    ]
