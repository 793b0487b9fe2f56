"""Build the paths of report pages, and store pages in S3.

A page has the same relative path in S3 and in Airflow. In S3 it is below the prefix of all models, in Airflow below the
address of the reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.s3 import ObjectStore, S3Uri

RUN_COMPARISON = "comparison.html"
FLIP_PREVIEW = "flip_preview.html"
RESCORE_REPORT = "rescore.html"
RUN_STATUS = "morning.html"
EVIDENCE, EVIDENCE_JSON = "evidence.html", "evidence.json"


def run_path(run_key: str, page: str) -> str:
    """Return the path ``runs/<run>/<page>``. Unsafe characters of the key and a first dot become hyphens."""
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in run_key)
    safe = f"-{kept[1:]}" if kept.startswith(".") else kept  # ".." would lead to the parent folder
    return f"runs/{safe}/{page}"


def is_dag_run(run_key: str) -> bool:
    """Return whether the key of a retrain run is that of a DAG run, such as ``manual__2026-11-29``.

    The key of a run that a command started contains no ``__``.
    """
    return "__" in run_key


def report_of_dag_run(dag_id: str, run_id: str) -> str | None:
    """Return the path of the report of a DAG run, or ``None`` if the runs of this DAG have no report."""
    match dag_id:
        case "nightly_scoring":
            return run_path(f"{dag_id} {run_id}", RUN_STATUS)
        case "rescore_history":
            return run_path(f"{dag_id} {run_id}", RESCORE_REPORT)
        case "weekly_retrain":
            return run_path(run_id, RUN_COMPARISON)
    return None


def snapshot_path(snapshot_id: str) -> str:
    """Return the path ``snapshots/<snapshot>.html`` of a snapshot's data quality report."""
    return f"snapshots/{snapshot_id}.html"


def run_page(settings: Settings, run_key: str, page: str) -> S3Uri:
    """Return the S3 address of a page of a run."""
    return S3Uri.parse_prefix(settings.require("models_uri")) / run_path(run_key, page)


def page_link(reports_url: str, run_key: str, page: str) -> str:
    """Return the link in Airflow to a page of a run, or an empty string if ``reports_url`` is empty."""
    return f"{reports_url}/{run_path(run_key, page)}" if reports_url else ""


def model_link(reports_url: str, model_name: str) -> str:
    """Return the link in Airflow to a model's report, or an empty string if ``reports_url`` is empty."""
    return f"{reports_url}/model/{quote(model_name, safe='')}/report.html" if reports_url else ""


def write_page(store: ObjectStore, address: S3Uri, page: str) -> None:
    """Store an HTML page in S3, with the content type of HTML."""
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
    """Record which scans and labeled images a page shows or names, then store the page (HTML) in S3.

    The record is committed before the page is stored, so an erasure of a patient's data finds every page in S3. If the
    page replaces an earlier page, the rows of the earlier page stay.

    Args:
        engine: engine of the Postgres database.
        store: the S3 client.
        address: S3 address of the page.
        page: the HTML text.
        scan_ids: IDs of the scans on the page.
        image_sha256s: sha256s of the labeled images on the page.
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
