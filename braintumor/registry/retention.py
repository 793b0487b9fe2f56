"""Which models' files may go: those of candidates that never answered, are old, and that nobody waits for.

Kept for ever: a champion, a former champion, what one of them is an export of, and a model that a run was pinned to or
that any answer comes from. Kept for a time: what was trained, or passed by the gate, within the last so many days.
Reports, cards and pictures always stay, and so does the model's row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.registry.model_versions import find_model, stored_files
from braintumor.registry.promotions import lock_promotions
from braintumor.s3 import ObjectStore, S3Uri

DAYS = 90
_DAYS_OF_APPROVAL = 7
"""An approval is waited for three days; a task may be cleared a little later."""


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """One model whose files go, or went: how many of them there are, and their size."""

    model_name: str
    created_at: datetime
    count_file: int
    count_byte: int


_PRUNABLE = """
    select model_version.model_version_id
    from model_version
    join model_status using (model_version_id)
    where not model_status.has_been_champion and pruned_at is null
      and created_at < now() - make_interval(days => :days)
      and not exists (select from prediction where prediction.model_version_id = model_version.model_version_id)
      and not exists (
          select from scoring_run
          where model_version.model_version_id in (scoring_run.model_version_id, scoring_run.second_model_version_id)
      )
      and not exists (
          select from model_version as export
          join model_status as standing_of_export using (model_version_id)
          where export.parent_model_version_id = model_version.model_version_id and standing_of_export.pruned_at is null
      )
      and not exists (
          select from gate_verdict
          where gate_verdict.model_version_id = model_version.model_version_id and is_passed
            and judged_at >= now() - make_interval(days => greatest(:days, :days_of_approval))
      )
    order by model_version_id
"""


def prunable(engine: Engine, store: ObjectStore, *, older_than_days: int = DAYS) -> list[PruneResult]:
    """What ``prune`` would delete now, oldest first."""
    with transaction(engine) as connection:
        numbers = _prunable(connection, older_than_days)
    return _files(engine, store, numbers)


def prune(engine: Engine, store: ObjectStore, *, actor: str, older_than_days: int = DAYS) -> list[PruneResult]:
    """Delete the files of every model that may go; returns those whose files were there.

    The rows are written first, under the ledger's lock: from then on nobody can promote these models. A prune that was
    interrupted before all files were gone is completed by the next one.
    """
    reason = f"never champion, no answer of it, older than {older_than_days} days and nobody waits for it"
    with transaction(engine) as connection:
        lock_promotions(connection)
        for number in _prunable(connection, older_than_days):
            connection.execute(
                text("insert into pruning (model_version_id, actor, reason) values (:id, :actor, :reason)"),
                {"id": number, "actor": actor, "reason": reason},
            )
    with transaction(engine) as connection:
        numbers = list(connection.scalars(text("select model_version_id from pruning order by model_version_id")))
    there = [found for found in _files(engine, store, numbers) if found.count_file]
    for found in there:
        files = stored_files(store, find_model(engine, found.model_name))
        store.delete(S3Uri(bucket=file.bucket, key=file.key) for file in files)
    return there


def _prunable(connection: Connection, days: int) -> list[int]:
    values = {"days": days, "days_of_approval": _DAYS_OF_APPROVAL}
    return list(connection.scalars(text(_PRUNABLE), values))


def _files(engine: Engine, store: ObjectStore, numbers: list[int]) -> list[PruneResult]:
    found = []
    for number in numbers:
        model = find_model(engine, str(number))
        files = stored_files(store, model)
        size = sum(file.size for file in files)
        found.append(
            PruneResult(
                model_name=model.model_name, created_at=model.created_at, count_file=len(files), count_byte=size
            )
        )
    return found
