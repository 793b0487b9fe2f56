"""Where pages lie: the same path below the models' prefix in S3 and below the reports in Airflow."""

from __future__ import annotations

from braintumor.config.settings import Settings
from braintumor.s3 import S3Uri

RUN_COMPARISON = "comparison.html"
FLIP_PREVIEW = "flip_preview.html"
RESCORE_REPORT = "rescore.html"
RUN_STATUS = "morning.html"


def run_path(run_key: str, page: str) -> str:
    """``runs/<run>/<page>``, whatever characters the run's key has."""
    return f"runs/{_safe(run_key)}/{page}"


def snapshot_path(snapshot_id: str) -> str:
    """``snapshots/<snapshot>.html``: the report on its data's quality."""
    return f"snapshots/{snapshot_id}.html"


def run_page(settings: Settings, run_key: str, page: str) -> S3Uri:
    """The page's address in S3."""
    return S3Uri.parse_prefix(settings.require("models_uri")) / run_path(run_key, page)


def page_link(reports_url: str, run_key: str, page: str) -> str:
    """The page's address below that of the reports in Airflow; empty where that is not known."""
    return f"{reports_url}/{run_path(run_key, page)}" if reports_url else ""


def _safe(run_key: str) -> str:
    """A run key as one part of an object key or an address; it never leads upwards."""
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in run_key)
    return f"-{kept[1:]}" if kept.startswith(".") else kept
