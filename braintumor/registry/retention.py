"""Find and delete the files of old candidates that were never used for scoring.

The files of champions, former champions and reference models of the gate are kept forever. So are the files of models
with a scoring run or a prediction. The files of a model are also kept while another model that was exported from it has
files. Other files are kept for some days after training, and after the gate passed the model. Reports, model cards,
plots and the model's row are never deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.registry.model_versions import find_model, stored_files
from braintumor.registry.promotions import lock_promotions
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri

DAYS = 90
_DAYS_OF_APPROVAL = 7
"""Minimum number of days for which files are kept after the gate passed the model.

The approval task waits three days, and an operator may clear the task a little later.
"""


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """The files of one model that ``prune`` deleted, or would delete. ``count_byte`` is their total size in bytes."""

    model_name: str
    created_at: datetime
    count_file: int
    count_byte: int


def prunable(engine: Engine, store: ObjectStore, *, older_than_days: int = DAYS) -> list[PruneResult]:
    """Return the models whose files ``prune`` would delete now, oldest first."""
    with transaction(engine) as connection:
        numbers = _prunable(connection, older_than_days)
    return [result for result, _ in _files(engine, store, numbers)]


def prune(engine: Engine, store: ObjectStore, *, actor: str, older_than_days: int = DAYS) -> list[PruneResult]:
    """Delete the files of every deletable model, and return the models whose files were deleted.

    The function holds the promotion lock and inserts a row per model into the table ``pruning``. A model with such a
    row cannot be promoted. Then the function deletes the files. If it is interrupted, the next call completes the
    deletion.
    """
    reason = f"never champion, no prediction, older than {older_than_days} days and no pending approval"
    with transaction(engine) as connection:
        lock_promotions(connection)
        for number in _prunable(connection, older_than_days):
            connection.execute(
                text("insert into pruning (model_version_id, actor, reason) values (:id, :actor, :reason)"),
                {"id": number, "actor": actor, "reason": reason},
            )
    with transaction(engine) as connection:
        numbers = list(connection.scalars(text("select model_version_id from pruning order by model_version_id")))
    found = [(result, files) for result, files in _files(engine, store, numbers) if files]
    for _, files in found:
        store.delete(S3Uri(bucket=file.bucket, key=file.key) for file in files)
    return [result for result, _ in found]


def _prunable(connection: Connection, days: int) -> list[int]:
    values = {"days": days, "days_of_approval": _DAYS_OF_APPROVAL}
    return list(connection.scalars(statement("registry/prunable_models"), values))


def _files(engine: Engine, store: ObjectStore, numbers: list[int]) -> Iterator[tuple[PruneResult, list[ObjectEntry]]]:
    """Yield each model with one of these numbers, as a result, and its files in S3."""
    for number in numbers:
        model = find_model(engine, str(number))
        files = stored_files(store, model)
        result = PruneResult(
            model_name=model.model_name,
            created_at=model.created_at,
            count_file=len(files),
            count_byte=sum(file.size for file in files),
        )
        yield result, files
