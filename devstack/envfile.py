"""Write the file ``.env`` for docker-compose.yaml and docs/kubernetes.md: all passwords and keys."""

from __future__ import annotations

import os
from pathlib import Path

from devstack.errors import EnvFileExistsError, StackError
from devstack.state import Secrets


def variables(secrets: Secrets) -> dict[str, str]:
    """Return the variables of ``.env`` by name, with the passwords and keys of ``secrets``."""
    return {
        "POSTGRES_PASSWORD": secrets.postgres_password,
        "AIRFLOW_DB_PASSWORD": secrets.airflow_database_password,
        "BRAINTUMOR_DB_PASSWORD": secrets.library_database_password,
        "SCORER_DB_PASSWORD": secrets.scorer_database_password,
        "TRAINER_DB_PASSWORD": secrets.trainer_database_password,
        "PROMOTER_DB_PASSWORD": secrets.promoter_database_password,
        "REVIEWER_DB_PASSWORD": secrets.reviewer_database_password,
        "ANALYST_DB_PASSWORD": secrets.analyst_database_password,
        "ERASER_DB_PASSWORD": secrets.eraser_database_password,
        "AIRFLOW_ADMIN_PASSWORD": secrets.admin_password,
        "REDIS_PASSWORD": secrets.broker_password,
        "S3_ACCESS_KEY": secrets.s3_access_key,
        "S3_SECRET_KEY": secrets.s3_secret_key,
        "AIRFLOW_FERNET_KEY": secrets.fernet_key,
        "AIRFLOW_JWT_SECRET": secrets.jwt_secret,
        "AIRFLOW_API_SECRET_KEY": secrets.api_secret_key,
        "BRAINTUMOR_PSEUDONYM_KEY": secrets.pseudonym_key,
    }


def write(path: Path) -> None:
    """Write new secrets to a new file that only its owner can read.

    Raises:
        EnvFileExistsError: the path exists. Its keys may be the only copy, so the file stays unchanged.
        StackError: the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise EnvFileExistsError(
            f"{path} exists and was not changed. This command writes a new file only. An installation needs the "
            "passwords and keys that it was made with. To make another one, move the file to a safe place first."
        ) from error
    except OSError as error:
        raise StackError(f"{path} cannot be written: {error.strerror}. Name a file in a writable folder.") from error
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in variables(Secrets()).items())
