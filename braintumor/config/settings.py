"""Define the settings of the library: one frozen object, which a program reads from the environment at its start.

Only the command line and the DAGs read the environment. All other modules receive a ``Settings``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import nan
from typing import Any, Protocol, Self

from braintumor.config.variables import FORMER_NAMES, PREFIX, TIMEZONE, Kind, Variable
from braintumor.errors import ConfigurationError

OF_ROLE = "BRAINTUMOR_DATABASE_URL_"
"""Prefix of the variables with a role's own Postgres URL, such as ``BRAINTUMOR_DATABASE_URL_SCORER``."""
DATABASE_CONNECTION = "braintumor_db"
"""Name of the Airflow connection to Postgres. The connection of a role has the suffix ``_<role>``."""
STORE_CONNECTION = "braintumor_s3"
_OTHER_SOURCES = (
    ". All commands but `migrate` also read BRAINTUMOR_DATABASE_URL_<ROLE> and the Airflow connection "
    "braintumor_db_<role>."
)


def _setting(doc: str, default: str | None = None, *, kind: Kind = Kind.TEXT, secret: bool = False) -> str | None:
    """Declare a field that is read from ``BRAINTUMOR_<NAME>``. A secret is masked, and omitted from the repr."""
    metadata = {"doc": doc, "kind": kind, "default": default, "is_secret": secret}
    result: str | None = field(default=default, repr=not secret, metadata=metadata)
    return result


class Connection(Protocol):
    """The part of an Airflow connection that this library reads. The library does not import Airflow."""

    @property
    def login(self) -> str | None:
        """Return the user of Postgres, or the access key of S3."""

    @property
    def password(self) -> str | None:
        """Return the password of Postgres, or the secret key of S3."""

    def get_uri(self) -> str:
        """Return the connection as a URI."""

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """Return the extra fields, parsed from JSON."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings: addresses, secrets and paths of rule files. The repr shows no secret."""

    database_url: str | None = _setting(
        "Postgres of the predictions: postgresql://user:password@host/db", kind=Kind.URL, secret=True
    )
    s3_endpoint: str | None = _setting("URL of the S3 API; unset means AWS itself", kind=Kind.URL)
    s3_access_key: str | None = _setting("S3 access key; unset means boto3's own credential chain", secret=True)
    s3_secret_key: str | None = _setting("S3 secret key", secret=True)
    s3_region: str | None = _setting("S3 region", "us-east-1")
    pseudonym_key: str | None = _setting(
        "secret key of the pseudonyms of patients, studies and stations, for scoring runs, snapshots and erasures",
        secret=True,
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
    backend: str | None = _setting(
        "inference backend of new scoring runs: openvino-cpu or tensorflow-xla", "openvino-cpu"
    )
    second_model: str | None = _setting(
        "name of a model that predicts next to the champion, to find disagreement; unset: none"
    )
    viewer_url: str | None = _setting(
        "link from the review page to a study; {study} is replaced by its pseudonym", kind=Kind.URL
    )
    reading_threshold: str | None = _setting(
        "tumor probability, 0 to 1, down to which the site reads all scans; the worklist then has a tab for them; "
        "unset: none"
    )
    gate_rules: str | None = _setting("path of a gate rule file; unset means the packaged rules", kind=Kind.PATH)
    label_rules: str | None = _setting(
        "path of a review label rule file; unset means the packaged rules", kind=Kind.PATH
    )
    timezone: str | None = _setting(
        "timezone of the schedules and of the days in the run report", TIMEZONE.default, kind=TIMEZONE.kind
    )
    run_report_rules: str | None = _setting(
        "path of a run report rule file; unset means the packaged rules", kind=Kind.PATH
    )
    quality_rules: str | None = _setting(
        "path of a data quality rule file; unset means the packaged rules", kind=Kind.PATH
    )
    label_exclusions: str | None = _setting(
        "path of the exclusion list of snapshots, a CSV with sha256, reason and author; unset: none", kind=Kind.PATH
    )
    unidentified_in_test: str | None = _setting(
        "`yes` or `no`: whether images without a patient may enter the test split when a table of patients is stored",
        "no",
    )
    scan_attributes: str | None = _setting(
        "`yes` or `no`: whether scans keep coarse attributes of their DICOM headers, for subgroups", "yes"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, *, role: str | None = None) -> Self:
        """Return the settings from the variables ``BRAINTUMOR_*``. An empty value counts as unset.

        With a ``role``, such as ``scorer``, ``BRAINTUMOR_DATABASE_URL_SCORER`` overrides ``BRAINTUMOR_DATABASE_URL``.
        """
        values = {name: variable.read(environment) for name, variable in setting_variables().items()}
        if role is not None:
            values["database_url"] = environment.get(f"{OF_ROLE}{role.upper()}") or values["database_url"]
        return cls(**values)

    def completed(self, connection: Callable[[str], Connection], *, role: str | None = None) -> Self:
        """Return the settings, with Airflow's connections in place of missing settings of Postgres and S3.

        ``connection`` returns the Airflow connection of a name, or raises an error. It is called only for missing
        settings. An error of ``connection`` is not caught, because otherwise a short outage of Airflow could send a
        task to another database or S3. With a ``role``, the connection is ``braintumor_db_<role>``, with no fallback to
        ``braintumor_db``.
        """
        return self.with_database(connection, role=role).with_store(connection)

    def with_database(self, connection: Callable[[str], Connection], *, role: str | None = None) -> Self:
        """Return the settings with Postgres from an Airflow connection, if they have no Postgres URL."""
        if self.database_url:
            return self
        url = connection(f"{DATABASE_CONNECTION}_{role}" if role else DATABASE_CONNECTION).get_uri()
        return replace(self, database_url=url.replace("postgres://", "postgresql://", 1))

    def with_store(self, connection: Callable[[str], Connection]) -> Self:
        """Return the settings with S3 from an Airflow connection, if they have no S3 endpoint.

        Keys in the settings replace those of the connection, so one process can have its own keys.
        """
        if self.s3_endpoint:
            return self
        s3 = connection(STORE_CONNECTION)
        has_keys = bool(self.s3_access_key or self.s3_secret_key)
        return replace(
            self,
            s3_access_key=self.s3_access_key if has_keys else s3.login or None,
            s3_secret_key=self.s3_secret_key if has_keys else s3.password or None,
            s3_endpoint=s3.extra_dejson.get("endpoint_url") or None,
            s3_region=s3.extra_dejson.get("region_name") or self.s3_region,
        )

    def to_environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return environment variables for a subprocess, from which ``from_environment`` reads equal settings.

        With ``base``, the result also has the variables of ``base``. Unset settings, former names and Postgres URLs of
        single roles are removed.
        """
        values = {variable.name: getattr(self, name) for name, variable in setting_variables().items()}
        removed = {*values, *(FORMER_NAMES[name] for name in values if name in FORMER_NAMES)}
        kept = {
            name: value for name, value in (base or {}).items() if name not in removed and not name.startswith(OF_ROLE)
        }
        return kept | {name: value for name, value in values.items() if value is not None}

    def require(self, name: str) -> str:
        """Return the value of the field ``name``. An unset value raises ``ConfigurationError``."""
        value: str | None = getattr(self, name)
        if value:
            return value
        variable = setting_variables()[name]
        raise ConfigurationError(
            f"{variable.name} is not set ({variable.doc}). Set it in the environment"
            + (_OTHER_SOURCES if name == "database_url" else ".")
        )

    def is_yes(self, name: str) -> bool:
        """Return whether the field ``name`` is ``yes``. Another value than ``no`` raises ``ConfigurationError``."""
        value = self.require(name)
        if value not in ("yes", "no"):
            raise ConfigurationError(
                f"{PREFIX}{name.upper()} must be yes or no. Received: {value!r}. Correct it in the environment."
            )
        return value == "yes"

    def probability(self, name: str) -> float | None:
        """Return the field ``name`` as a number from 0 to 1, or ``None`` if it is unset.

        Raises:
            ConfigurationError: the value is not such a number.
        """
        text: str | None = getattr(self, name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = nan
        if not 0 <= value <= 1:
            raise ConfigurationError(
                f"{PREFIX}{name.upper()} must be a number from 0 to 1, such as 0.2. Received: {text!r}. Correct it in "
                "the environment."
            )
        return value


def setting_variables() -> dict[str, Variable]:
    """Return the environment variable of each setting by field name, in the order of declaration."""
    return {f.name: Variable(name=PREFIX + f.name.upper(), **f.metadata) for f in fields(Settings)}
