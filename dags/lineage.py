"""Add the inputs and outputs of a task to Airflow's hook lineage collector.

Inputs and outputs are S3 prefixes and Postgres tables, never object keys. Airflow's OpenLineage provider reads them
from the collector and sends them. With no transport in Airflow's section `[openlineage]`, nothing is sent. An error in
this module fails no task.
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
    """Add the datasets that a task reads and writes to Airflow's lineage collector.

    ``reads`` and ``writes`` have names of Postgres tables, and texts with ``s3://`` prefixes separated by commas.
    ``None`` is ignored.
    """
    collector = get_hook_lineage_collector()
    if isinstance(collector, NoOpCollector):
        return
    try:
        for uri in _uris(settings, reads):
            collector.add_input_asset(context=_SOURCE, uri=uri)  # type: ignore[arg-type]  # any object is accepted
        for uri in _uris(settings, writes):
            collector.add_output_asset(context=_SOURCE, uri=uri)  # type: ignore[arg-type]  # any object is accepted
    except Exception:
        _log.exception("The lineage of this task cannot be collected. The task continues.")


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
