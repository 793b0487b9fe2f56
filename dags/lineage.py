"""What a task read and wrote, for OpenLineage: prefixes of S3 and tables of Postgres, never a key or a name.

Told to Airflow's own collector; the OpenLineage provider makes the datasets of the task's event of it, and without a
transport in Airflow's section `[openlineage]` nobody listens. Lineage that cannot be told stops no task.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from airflow.sdk.lineage import NoOpCollector, get_hook_lineage_collector

if TYPE_CHECKING:
    from braintumor.config.settings import Settings

_log = logging.getLogger(__name__)
_SOURCE = object()


def emit_lineage(settings: Settings, *, reads: Iterable[str | None] = (), writes: Iterable[str | None] = ()) -> None:
    """Tell of datasets: ``s3://`` prefixes, several with commas between them, or names of tables; ``None`` is none."""
    collector = get_hook_lineage_collector()
    if isinstance(collector, NoOpCollector):
        return
    try:
        for uri in _uris(settings, reads):
            collector.add_input_asset(context=_SOURCE, uri=uri)
        for uri in _uris(settings, writes):
            collector.add_output_asset(context=_SOURCE, uri=uri)
    except Exception:
        _log.exception("What the task read and wrote cannot be told; the task goes on")


def _uris(settings: Settings, names: Iterable[str | None]) -> Iterable[str]:
    from sqlalchemy import make_url

    from braintumor.db.database import SCHEMA
    from braintumor.s3 import S3Uri
    from braintumor.scoring.prefixes import ScanPrefixes

    url = make_url(settings.require("database_url"))
    for name in filter(None, names):
        if S3Uri.is_meant_by(name):
            yield from map(str, ScanPrefixes.parse(name)) if "," in name else (name,)
        else:
            yield f"postgres://{url.host}:{url.port or 5432}/{url.database}/{SCHEMA}/{name}"
