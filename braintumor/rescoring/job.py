"""Run a rescore: ``braintumor rescore`` runs all steps in one process, and the DAG runs one step per task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
from braintumor.reports.paths import RESCORE_REPORT, page_link, publish_page, run_page
from braintumor.rescoring.balance import RescoreBalance, reconcile
from braintumor.rescoring.report import make_report, report_page, to_text
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
from braintumor.scoring.chunks import CHUNK_SIZE, process_chunks
from braintumor.scoring.scored_scans import find_scans
from braintumor.serving.backend import LoadedModel


@dataclass(kw_only=True, eq=False)
class Rescore:
    """Hold the connections of a rescore, and run its steps."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    _models: dict[int, LoadedModel] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, settings: Settings) -> Rescore:
        """Connect to Postgres and S3, and return the job.

        Raises ``MigrationError`` if the schema is older than the code.
        """
        engine = database.connect(settings)
        require_current(engine)
        return cls(settings=settings, engine=engine, store=ObjectStore.connect(settings))

    def open_run(
        self,
        request: RescoreRequest,
        *,
        run_key: str,
        chunk_size: int = CHUNK_SIZE,
        progress: Callable[[str], None] = lambda _: None,
    ) -> RescoreRun:
        """Open a rescore that pins the model and selects the scans in chunks of ``chunk_size``, and return it.

        If a rescore with this ``run_key`` exists, the function returns that rescore unchanged. ``progress`` receives
        the request as text, and a warning if the model is older than a model whose predictions it replaces.
        """
        run = open_rescore_run(self.engine, request, run_key=run_key, chunk_size=chunk_size)
        progress(str(run))
        if warning := age_warning(run, models_before(self.engine, run)):
            progress(warning)
        return run

    def chunks(self, scoring_run_id: int) -> list[int]:
        """Return the chunk numbers of a rescore."""
        return chunks(self.engine, load_rescore(self.engine, scoring_run_id))

    def load(self, scoring_run_id: int) -> None:
        """Load the pinned model, so that an S3 failure occurs before the first chunk."""
        default_pool()  # its processes start while the model loads
        with bound(scoring_run_id=scoring_run_id):
            self._loaded(load_rescore(self.engine, scoring_run_id).model)

    def score(self, scoring_run_id: int, chunk_number: int) -> dict[str, int]:
        """Score one chunk, and return the number of scans per state. The errors are those of ``rescore_chunk``."""
        run = load_rescore(self.engine, scoring_run_id)
        default_pool()
        with bound(scoring_run_id=scoring_run_id, chunk_number=chunk_number):
            return dict(rescore_chunk(self.engine, self.store, self._loaded(run.model), run, chunk_number))

    def _loaded(self, model: ModelVersion) -> LoadedModel:
        """Return the checked and compiled model. A process loads the model once for all chunks. Not thread-safe."""
        if model.model_version_id not in self._models:
            self._models[model.model_version_id] = load_model(self.store, self.settings, model)
        return self._models[model.model_version_id]

    def report(self, scoring_run_id: int | None, *, reports_url: str = "") -> dict[str, Any]:
        """Write the page of the changed predictions, and return a summary.

        The keys of the summary are ``text``, ``page_uri``, ``count_compared`` and ``count_flip``. The text ends with
        the URL of the page below ``reports_url``. If ``reports_url`` is empty, the text ends with the page's S3
        address.
        """
        run = load_rescore(self.engine, scoring_run_id)
        address = run_page(self.settings, run.run_key, RESCORE_REPORT)
        with writing_images(self.engine):
            report = make_report(self.engine, run)
            scans = {flip.scan_id for flip in report.flips}
            shown = with_images(self.store, report.flips, find_scans(self.engine, list(scans)))
            page = report_page(report, shown, run_key=run.run_key)
            publish_page(self.engine, self.store, address, page, scan_ids=scans)
        link = page_link(reports_url, run.run_key, RESCORE_REPORT)
        return {
            "text": to_text(report, address=link or str(address)),
            "page_uri": str(address),
            "count_compared": report.count_compared,
            "count_flip": report.count_flip,
        }

    def reconcile(self, scoring_run_id: int | None) -> RescoreBalance:
        """Record in Postgres whether the rescore balances, and return its balance."""
        return reconcile(self.engine, load_rescore(self.engine, scoring_run_id))


def rescore(
    settings: Settings,
    request: RescoreRequest,
    *,
    run_key: str,
    chunk_size: int = CHUNK_SIZE,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run all steps of a rescore in this process, and return the model's name, the balance and the report's summary.

    Raises:
        ObjectStoreUnreachableError: S3 did not deliver some scans. A call with the same ``run_key`` continues.
    """
    job = Rescore.open(settings)
    run = job.open_run(request, run_key=run_key, chunk_size=chunk_size, progress=progress)
    run_id = run.scoring_run_id

    def report_and_reconcile() -> dict[str, Any]:
        report = job.report(run_id)
        return {"model": run.model.model_name, **asdict(job.reconcile(run_id)), **report}

    return process_chunks(
        job.chunks(run_id),
        partial(job.score, run_id),
        load=partial(job.load, run_id),
        progress=progress,
        reconcile=report_and_reconcile,
    )
