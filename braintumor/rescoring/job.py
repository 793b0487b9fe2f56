"""A whole rescore in one process: what ``braintumor rescore`` does, and what the DAG does task by task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import writing_images
from braintumor.db import database
from braintumor.db.migrations import require_current
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.logs import bound
from braintumor.preview.page import with_images
from braintumor.registry.model_versions import ModelVersion, load_model
from braintumor.reports.paths import RESCORE_REPORT, page_link, run_page
from braintumor.reports.store import publish_page
from braintumor.rescoring.balance import RescoreBalance, reconcile
from braintumor.rescoring.report import make_report, report_page, to_markdown
from braintumor.rescoring.request import (
    RescoreRequest,
    RescoreRun,
    age_warning,
    chunks,
    load_rescore,
    models_before,
    open_rescore_run,
)
from braintumor.rescoring.worker import rescore_chunk
from braintumor.s3 import ObjectStore
from braintumor.scoring.chunks import CHUNK_SIZE
from braintumor.scoring.score_chunks import blamed_on, score_chunks
from braintumor.scoring.scored_scans import find_scans
from braintumor.serving.backend import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Rescore:
    """What every step of a rescore needs: the settings, opened."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    _models: dict[int, LoadedModel] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, settings: Settings) -> Rescore:
        """Connect, and check the schema.

        Raises:
            MigrationError: the schema is behind.
        """
        engine = database.connect(settings)
        require_current(engine)
        return cls(settings=settings, engine=engine, store=ObjectStore.connect(settings))

    def ask(
        self,
        request: RescoreRequest,
        *,
        run_key: str,
        chunk_size: int = CHUNK_SIZE,
        say: Callable[[str], None] = lambda _: None,
    ) -> RescoreRun:
        """Pin the model, take up the scans, and say what it comes to."""
        run = open_rescore_run(self.engine, request, run_key=run_key, chunk_size=chunk_size)
        say(str(run))
        if warning := age_warning(run, models_before(self.engine, run)):
            say(warning)
        return run

    def chunks(self, scoring_run_id: int) -> list[int]:
        """The chunk numbers of a rescore."""
        return chunks(self.engine, load_rescore(self.engine, scoring_run_id))

    def load(self, scoring_run_id: int) -> None:
        """Get the pinned model ready, which otherwise the first chunk does."""
        default_pool()  # its processes start while the model is loaded
        with bound(scoring_run_id=scoring_run_id):
            self._loaded(load_rescore(self.engine, scoring_run_id).model)

    def score(self, scoring_run_id: int, chunk_number: int) -> dict[str, int]:
        """Score one chunk with the pinned model; returns counts of outcomes.

        Raises:
            ObjectStoreUnreachableError: S3 did not hand out some scans; these stay pending, the others are settled.
        """
        run = load_rescore(self.engine, scoring_run_id)
        default_pool()
        with bound(scoring_run_id=scoring_run_id, chunk_number=chunk_number):
            return dict(rescore_chunk(self.engine, self.store, self._loaded(run.model), run, chunk_number))

    def _loaded(self, model: ModelVersion) -> LoadedModel:
        """The model, checked and compiled once for all chunks of this process; it is no two threads' at once."""
        found = self._models.get(model.model_version_id)
        if found is None:
            found = self._models[model.model_version_id] = load_model(self.store, self.settings, model)
        return found

    def report(self, scoring_run_id: int | None, *, reports_url: str = "") -> dict[str, Any]:
        """Write the page of what changed.

        Returns a small summary: ``markdown``, which links to the page below ``reports_url``, ``page_uri``,
        ``count_compared``, ``count_flip``.
        """
        run = load_rescore(self.engine, scoring_run_id)
        address = run_page(self.settings, run.run_key, RESCORE_REPORT)
        with writing_images(self.engine):
            report = make_report(self.engine, run)
            scans = {flip.scan_id for flip in report.flips}
            shown = with_images(self.store, report.flips, find_scans(self.engine, list(scans)))
            page = report_page(report, shown, run_key=run.run_key, created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
            publish_page(self.engine, self.store, address, page, scan_ids=scans)
        return {
            "markdown": to_markdown(report, address=page_link(reports_url, run.run_key, RESCORE_REPORT)),
            "page_uri": str(address),
            "count_compared": report.count_compared,
            "count_flip": report.count_flip,
        }

    def reconcile(self, scoring_run_id: int | None) -> RescoreBalance:
        """Prove that the rescore balances."""
        return reconcile(self.engine, load_rescore(self.engine, scoring_run_id))


def rescore(
    settings: Settings,
    request: RescoreRequest,
    *,
    run_key: str,
    chunk_size: int = CHUNK_SIZE,
    say: Callable[[str], None] = lambda _: None,
    on_chunk: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Any]:
    """Ask, score every chunk, report, reconcile; returns the report's summary and the balance.

    Raises:
        ObjectStoreUnreachableError: S3 did not hand out some scans; these stay pending, for the same ``run_key``.
    """
    job = Rescore.open(settings)
    run = job.ask(request, run_key=run_key, chunk_size=chunk_size, say=say)
    numbers = job.chunks(run.scoring_run_id)
    number = run.scoring_run_id
    withheld = score_chunks(numbers, partial(job.score, number), load=partial(job.load, number), on_chunk=on_chunk)
    made = job.report(number)
    with blamed_on(withheld):
        balance = job.reconcile(number)
    return {"model": run.model.model_name, **asdict(balance), **made}
