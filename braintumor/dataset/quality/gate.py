"""What follows from the quality of a data set: a report beside the models, or a refusal that names it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Engine

from braintumor.dataset.quality.checks import Quality
from braintumor.dataset.quality.report import quality_report, shown_images
from braintumor.errors import DatasetError
from braintumor.reports.paths import publish_page, snapshot_path
from braintumor.s3 import ObjectStore, S3Uri


def require_quality(engine: Engine, store: ObjectStore, models: S3Uri, quality: Quality, *, source: str) -> None:
    """Let data pass, or keep its report under ``snapshots/refused-<UTC time>.html`` and refuse it.

    Raises:
        DatasetError: naming every blocking finding and the report.
    """
    if not quality.blocking:
        return
    address = models / f"snapshots/refused-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.html"
    page = report_now(quality, source=source)
    publish_page(engine, store, address, page, image_sha256s=shown_images(quality))
    raise DatasetError(refusal(quality, source=source, report=str(address)))


def keep_report(
    engine: Engine,
    store: ObjectStore,
    models: S3Uri,
    quality: Quality,
    *,
    source: str,
    snapshot_id: str,
    splits: Mapping[str, Mapping[str, int]],
) -> None:
    """Keep the report of a snapshot; one that is taken again is brought up to date in what lay beside its images."""
    page = report_now(quality, source=source, snapshot_id=snapshot_id, splits=splits)
    publish_page(engine, store, models / snapshot_path(snapshot_id), page, image_sha256s=shown_images(quality))


def report_now(
    quality: Quality, *, source: str, snapshot_id: str = "", splits: Mapping[str, Mapping[str, int]] | None = None
) -> str:
    """The report as of now."""
    created = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return quality_report(quality, source=source, created=created, snapshot_id=snapshot_id, splits=splits)


def refusal(quality: Quality, *, source: str, report: str | None) -> str:
    """The message of a refusal: every blocking finding with its remedy, and where the report is."""
    findings = " ".join(f"{finding.code}: {finding.reason}" for finding in quality.blocking)
    where = f"The report shows them: {report}." if report else "--report FILE shows them."
    return (
        f"{source} does not pass the data quality gate. {findings} {where} "
        "Correct the data; or, if a bound is wrong, name a rule file of your own by BRAINTUMOR_QUALITY_RULES."
    )
