"""Pages in S3."""

from __future__ import annotations

from braintumor.objectstore import ObjectStore, S3Uri


def write_page(store: ObjectStore, address: S3Uri, page: str) -> None:
    """Store a page so that a browser shows it as one."""
    store.write(address, page.encode(), content_type="text/html; charset=utf-8")
