"""Refuse a dataset of bad quality, and write its report to S3 below the prefix of all models."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine

from braintumor.dataset.quality.checks import Quality
from braintumor.dataset.quality.report import quality_report, shown_images
from braintumor.errors import DatasetError
from braintumor.reports.paths import publish_page
from braintumor.s3 import ObjectStore, S3Uri


def require_quality(
    engine: Engine, store: ObjectStore, models: S3Uri, quality: Quality, *, source: str, test_needs_patient: bool
) -> None:
    """Check that no quality check refuses the dataset. If one does, write the report to S3 and raise an error.

    The address of the report is ``snapshots/refused-<UTC time>.html`` below ``models``, the prefix of all models.
    ``source`` is the S3 prefix of the dataset, as display text. ``test_needs_patient`` is as for ``first_splits``.

    Raises:
        DatasetError: a result is blocking. The message names all blocking results and the address of the report.
    """
    if not quality.blocking:
        return
    address = models / f"snapshots/refused-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.html"
    page = quality_report(quality, source=source, test_needs_patient=test_needs_patient)
    publish_page(engine, store, address, page, image_sha256s=shown_images(quality))
    raise DatasetError(refusal(quality, source=source, report=str(address)))


def refusal(quality: Quality, *, source: str, report: str | None) -> str:
    """Return the error message of a refusal: every blocking result with its remedy, and the address of the report."""
    results = " ".join(f"{result.code}: {result.reason}" for result in quality.blocking)
    where = f"The report has examples: {report}." if report else "--report FILE writes a report with examples."
    return (
        f"{source} does not pass the data quality gate. {results} {where} `braintumor dataset validate` lists all "
        "files that are unreadable, outside class folders or contradictory. Correct the data. If a bound is wrong, set "
        "BRAINTUMOR_QUALITY_RULES to your own rule file."
    )
