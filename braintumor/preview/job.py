"""Make a flip preview: score in the shadow, compare, write the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import writing_images
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.preview.flips import FlipPreview, compare
from braintumor.preview.page import SHOWN_FLIPS, flip_page, to_markdown, with_images
from braintumor.preview.shadow import score_in_shadow
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.reports.paths import FLIP_PREVIEW, page_link, publish_page, run_page
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.scored_scans import ScoredScan, is_anything_scored, newest_scored

SCANS = 500
"""Scans that are compared unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class PreviewResult:
    """A preview that was made, and where its page lies."""

    preview: FlipPreview
    page: S3Uri


def preview_candidate(
    settings: Settings, gate_verdict_id: int, *, scans: int = SCANS, reports_url: str = ""
) -> dict[str, Any]:
    """The preview of the candidate of a verdict, against the champion that the verdict names.

    Returns a small summary: ``markdown``, which links to the page below ``reports_url``, ``page_uri``,
    ``count_compared``, ``count_flip``.
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
    made = make_preview(
        engine,
        settings,
        candidate=model_versions.find_model(engine, str(verdict.model_version_id)),
        champion=None if champion_id is None else model_versions.find_model(engine, str(champion_id)),
        scans=scans,
        run_key=verdict.run_key,
    )
    return {
        "markdown": to_markdown(made.preview, address=page_link(reports_url, verdict.run_key, FLIP_PREVIEW)),
        "page_uri": str(made.page),
        "count_compared": made.preview.count_compared,
        "count_flip": made.preview.count_flip,
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
    """Compare ``candidate`` with the answers of ``champion`` to its newest scans, and write the page of the run.

    Raises:
        ModelIntegrityError: the candidate's files are not what the registry says.
        ObjectStoreUnreachableError: S3 is away; what was scored is kept.
    """
    store, address = ObjectStore.connect(settings), run_page(settings, run_key, FLIP_PREVIEW)
    with writing_images(engine):
        preview, taken = _preview(engine, store, settings, candidate, champion, scans=scans, run_key=run_key)
        shown = with_images(store, preview.flips, taken)
        page = flip_page(preview, shown, run_key=run_key, created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
        publish_page(engine, store, address, page, scan_ids={flip.scan_id for flip in preview.flips})
    return PreviewResult(preview=preview, page=address)


def _preview(
    engine: Engine,
    store: ObjectStore,
    settings: Settings,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    *,
    scans: int,
    run_key: str,
) -> tuple[FlipPreview, Sequence[ScoredScan]]:
    taken = newest_scored(engine, champion, limit=scans) if champion else []
    if champion is None or not taken:
        why = _why_nothing(engine, champion, scans)
        return FlipPreview(candidate=candidate.model_name, champion=_name(champion), why_nothing=why), []
    default_pool()  # its processes start while the model is loaded
    loaded = model_versions.load_model(store, settings, candidate)
    unread = score_in_shadow(engine, store, candidate, loaded, taken, run_key=run_key)
    scan_ids = [scan.scan_id for scan in taken]
    found = compare(engine, champion=champion, candidate=candidate, scan_ids=scan_ids, shown=SHOWN_FLIPS)
    preview = FlipPreview(
        candidate=candidate.model_name,
        champion=champion.model_name,
        count_scan=len(taken),
        unread=unread,
        transitions=found.transitions,
        flips=found.flips,
    )
    return preview, taken


def _why_nothing(engine: Engine, champion: ModelVersion | None, scans: int) -> str:
    if scans == 0:
        return "the preview was asked for no scan"
    if not is_anything_scored(engine):
        return "no scan has been scored yet"
    return f"{champion.model_name} has answered no scan yet" if champion else "there is no champion"


def _name(champion: ModelVersion | None) -> str:
    return champion.model_name if champion else ""
