"""Read docker-compose.yaml as Docker Compose does, with the values of .env."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parent.parent
FILE = PROJECT / "docker-compose.yaml"

SECRETS_OF: dict[str, set[str]] = {
    "apiserver": {
        "AIRFLOW_DB_PASSWORD",
        "AIRFLOW_FERNET_KEY",
        "AIRFLOW_JWT_SECRET",
        "AIRFLOW_API_SECRET_KEY",
        "REVIEWER_DB_PASSWORD",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
    },
    "scheduler": {"AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "REDIS_PASSWORD"},
    "dag-processor": {"AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY"},
    "triggerer": {"AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY"},
    "worker": {
        "REDIS_PASSWORD",
        "SCORER_DB_PASSWORD",
        "TRAINER_DB_PASSWORD",
        "PROMOTER_DB_PASSWORD",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
        "BRAINTUMOR_PSEUDONYM_KEY",
    },
    "gpu-worker": {"REDIS_PASSWORD", "TRAINER_DB_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"},
    "init": {
        "AIRFLOW_DB_PASSWORD",
        "AIRFLOW_FERNET_KEY",
        "AIRFLOW_ADMIN_PASSWORD",
        "BRAINTUMOR_DB_PASSWORD",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
    },
}
"""The names in .env of all secrets that each Airflow service gets."""


def compose_file() -> dict[str, Any]:
    """Read the file without values for its variables."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def with_values(part: Any, values: Mapping[str, str]) -> Any:
    """Put values in place of ``${NAME:?...}`` in every text of a part of the file, and ``$`` in place of ``$$``."""
    if isinstance(part, dict):
        return {name: with_values(inner, values) for name, inner in part.items()}
    if isinstance(part, list):
        return [with_values(inner, values) for inner in part]
    if not isinstance(part, str):
        return part
    return re.sub(r"\$\$|\$\{(\w+)[^}]*\}", lambda found: values[found[1]] if found[1] else "$", part)


def variables_of(part: Any) -> set[str]:
    """Return the names of the variables of .env that a part of the file uses."""
    return {*re.findall(r"(?<!\$)\$\{(\w+)", str(part))}


def check_command(service: Mapping[str, Any]) -> list[str]:
    """Return the health check of a service, whose values are put in, as a command line."""
    kind, *command = service["healthcheck"]["test"]
    return ["sh", "-c", command[0]] if kind == "CMD-SHELL" else command
