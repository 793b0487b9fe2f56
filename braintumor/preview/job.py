"""Create a preview of flips, the frames whose predicted class would change if a candidate became champion.

The module stores the candidate's shadow predictions, compares them with the champion's predictions, and writes a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import writing_images
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.preview.page import SHOWN_FLIPS, flip_page, summary, to_markdown, with_images
from braintumor.preview.prediction_changes import FlipPreview, find_flips
from braintumor.preview.shadow import score_in_shadow
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.reports.paths import FLIP_PREVIEW, RUN_COMPARISON, model_link, page_link, publish_page, run_page
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.reading import ReadFailure, ScanObject
from braintumor.scoring.scored_scans import is_anything_scored, newest_scored

SCANS = 500
"""Default number of scans to compare."""


@dataclass(frozen=True, kw_only=True)
class PreviewResult:
    """Hold a flip preview and the URI of its page."""

    preview: FlipPreview
    page: S3Uri


def preview_candidate(
    settings: Settings, gate_verdict_id: int, *, scans: int = SCANS, reports_url: str = ""
) -> dict[str, Any]:
    """Compare the candidate and the champion of a gate verdict, write the page, and return a summary.

    The function compares the ``scans`` newest scans that the champion scored. ``reports_url`` is the base URL of the
    reports in Airflow. If it is empty, the Markdown text has no links.

    Returns:
        A dictionary with the keys ``markdown`` (text for the approver), ``summary`` (plain text), ``page_uri``,
        ``count_compared`` (number of compared frames) and ``count_flip`` (number of flips).
    """
    engine = database.connect(settings)
    with transaction(engine) as connection:
        verdict = connection.execute(
            text("""
            select run_key, model_version_id, champion_model_version_id
            from gate_verdict
            where gate_verdict_id = :id"""),
            {"id": gate_verdict_id},
        ).one()
    champion_id = verdict.champion_model_version_id
    result = make_preview(
        engine,
        settings,
        candidate=model_versions.find_model(engine, str(verdict.model_version_id)),
        champion=None if champion_id is None else model_versions.find_model(engine, str(champion_id)),
        scans=scans,
        run_key=verdict.run_key,
    )
    candidate = result.preview.candidate
    address = page_link(reports_url, verdict.run_key, FLIP_PREVIEW)
    links = {
        f"Report of {candidate}": model_link(reports_url, candidate),
        "All models of the run": page_link(reports_url, verdict.run_key, RUN_COMPARISON),
    }
    return {
        "markdown": to_markdown(result.preview, address=address, links=links),
        "summary": summary(result.preview),
        "page_uri": str(result.page),
        "count_compared": result.preview.count_compared,
        "count_flip": result.preview.count_flip,
    }


def make_preview(
    engine: Engine,
    settings: Settings,
    *,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    scans: int,
    run_key: str,
) -> PreviewResult:
    """Compare the predictions of two models, write the page of the retrain run, and return the preview.

    The ``scans`` newest scans that ``champion`` scored are compared. ``run_key`` identifies the retrain run.

    Raises:
        ModelIntegrityError: the candidate's files do not match the registry.
        ObjectStoreUnreachableError: S3 is unreachable. The shadow predictions committed before are kept.
    """
    store, page_uri = ObjectStore.connect(settings), run_page(settings, run_key, FLIP_PREVIEW)
    with writing_images(engine):
        scored = newest_scored(engine, champion, limit=scans) if champion else []
        if champion is not None and scored:
            default_pool()  # its processes start while the model loads
            loaded = model_versions.load_model(store, settings, candidate)
            failures = score_in_shadow(engine, store, candidate, loaded, scored, run_key=run_key)
            preview = _compare(engine, champion, candidate, scored, failures)
        else:
            preview = FlipPreview(
                candidate=candidate.model_name,
                champion=champion.model_name if champion else "",
                why_nothing=_why_nothing(engine, champion, scans),
            )
        shown = with_images(store, preview.flips, scored)
        page = flip_page(preview, shown, run_key=run_key)
        publish_page(engine, store, page_uri, page, scan_ids={flip.scan_id for flip in preview.flips})
    return PreviewResult(preview=preview, page=page_uri)


def _compare(
    engine: Engine,
    champion: ModelVersion,
    candidate: ModelVersion,
    scans: Sequence[ScanObject],
    failures: Mapping[ReadFailure, int],
) -> FlipPreview:
    values = {
        "champion": champion.model_version_id,
        "candidate": candidate.model_version_id,
        "scans": [scan.scan_id for scan in scans],
    }
    flips = find_flips(engine, "preview/shadow_pairs.sql", values, shown=SHOWN_FLIPS)
    return FlipPreview(
        candidate=candidate.model_name,
        champion=champion.model_name,
        count_scan=len(scans),
        failures=failures,
        transitions=flips.transitions,
        flips=flips.flips,
    )


def _why_nothing(engine: Engine, champion: ModelVersion | None, scans: int) -> str:
    if scans == 0:
        return "the preview was requested for 0 scans"
    if not is_anything_scored(engine):
        return "no scan has been scored yet"
    return f"{champion.model_name} has scored no scan yet" if champion else "there is no champion"
