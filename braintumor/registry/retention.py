"""Find and delete the files of old candidates that were never used for scoring.

The files of champions, former champions, reference models of the gate, and models with a scoring run or a prediction
are kept forever. So are the files of a model while another model, exported from it, has its files. Other files are kept
for some days after training, and after the gate passed the model. Reports, model cards, plots and the model's row are
never deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.registry.model_versions import find_model, stored_files
from braintumor.registry.promotions import lock_promotions
from braintumor.s3 import ObjectStore, S3Uri

DAYS = 90
_DAYS_OF_APPROVAL = 7
"""Days for which the files are kept after a passed gate. The approval task waits three days, and an operator may clear
the task a little later."""


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """The deletable or deleted files of one model. ``count_byte`` is their total size in bytes."""

    model_name: str
    created_at: datetime
    count_file: int
    count_byte: int


def prunable(engine: Engine, store: ObjectStore, *, older_than_days: int = DAYS) -> list[PruneResult]:
    """Return the models whose files ``prune`` would delete now, oldest first."""
    with transaction(engine) as connection:
        numbers = _prunable(connection, older_than_days)
    return _files(engine, store, numbers)


def prune(engine: Engine, store: ObjectStore, *, actor: str, older_than_days: int = DAYS) -> list[PruneResult]:
    """Delete the files of every deletable model, and return the models whose files were deleted.

    The function first inserts a row per model into ``pruning``, under the promotion lock. So no pruned model can be
    promoted. If the deletion is interrupted, the next call completes it.
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
    results = [result for result in _files(engine, store, numbers) if result.count_file]
    for result in results:
        files = stored_files(store, find_model(engine, result.model_name))
        store.delete(S3Uri(bucket=file.bucket, key=file.key) for file in files)
    return results


def _prunable(connection: Connection, days: int) -> list[int]:
    values = {"days": days, "days_of_approval": _DAYS_OF_APPROVAL}
    return list(connection.scalars(statement("registry/prunable_models"), values))


def _files(engine: Engine, store: ObjectStore, numbers: list[int]) -> list[PruneResult]:
    results = []
    for number in numbers:
        model = find_model(engine, str(number))
        files = stored_files(store, model)
        results.append(
            PruneResult(
                model_name=model.model_name,
                created_at=model.created_at,
                count_file=len(files),
                count_byte=sum(file.size for file in files),
            )
        )
    return results
