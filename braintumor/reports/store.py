"""Pages in S3."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.s3 import ObjectStore, S3Uri


def write_page(store: ObjectStore, address: S3Uri, page: str) -> None:
    """Store a page so that a browser shows it as one."""
    store.write(address, page.encode(), content_type="text/html; charset=utf-8")


def publish_page(
    engine: Engine,
    store: ObjectStore,
    address: S3Uri,
    page: str,
    *,
    scan_ids: Iterable[int] = (),
    image_sha256s: Iterable[str] = (),
) -> None:
    """Record which scans and labeled images a page shows or names, then store it.

    The rows are committed first, so an erasure finds every page that is in S3. Rows of an earlier version stay.
    """
    values = {"page": str(address), "scans": list(scan_ids), "images": list(image_sha256s)}
    with transaction(engine) as connection:
        for statement in _RECORD:
            connection.execute(text(statement), values)
    write_page(store, address, page)


_RECORD = (
    "insert into page (page_uri) values (:page) on conflict do nothing",
    """
    insert into page_scan (page_uri, scan_id)
    select :page, unnest(cast(:scans as bigint[])) on conflict do nothing""",
    """
    insert into page_image (page_uri, image_sha256)
    select :page, unnest(cast(:images as text[])) on conflict do nothing""",
)
