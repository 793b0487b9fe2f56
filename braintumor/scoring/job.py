"""Run a scoring run: ``braintumor score`` runs all steps in one process, and the DAG runs one step per task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import writing_images
from braintumor.db import database
from braintumor.db.migrations import require_current
from braintumor.errors import ConfigurationError, ObjectStoreError, ScoringRunError
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.logs import bound
from braintumor.registry.model_versions import find_champion
from braintumor.reports.paths import RUN_STATUS, page_link, publish_page, run_page
from braintumor.s3 import ObjectStore
from braintumor.scoring.chunks import CHUNK_SIZE, plan_chunks, process_chunks
from braintumor.scoring.discovery import Discovery, discover
from braintumor.scoring.model_loading import chosen_backend, open_model
from braintumor.scoring.prefixes import ScanPrefixes
from braintumor.scoring.run import ScoringRun, find_run, load_run, open_run
from braintumor.scoring.run_report.balance import Balance, count_balance, reconcile, store_open_outcomes
from braintumor.scoring.run_report.metrics import Metric, run_metrics
from braintumor.scoring.run_report.page import RunReport, make_run_report, run_report_page, to_text
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.status import make_run_status
from braintumor.scoring.worker import ScanSource, score_chunk
from braintumor.serving.backend import LoadedModel

_log = logging.getLogger(__name__)


def require_pseudonym_key(settings: Settings) -> None:
    """Check the secret key for pseudonyms of patients. Raises ``ConfigurationError`` if it is missing or too short."""
    if len(settings.require("pseudonym_key")) < _SHORTEST_KEY:
        raise ConfigurationError(
            f"BRAINTUMOR_PSEUDONYM_KEY has fewer than {_SHORTEST_KEY} characters, so pseudonyms could be guessed. "
            "Create one: python -c 'import secrets; print(secrets.token_hex(32))'. Keep it, because another key gives "
            "other pseudonyms."
        )


@dataclass(kw_only=True, eq=False)
class ScoringJob:
    """Hold the connections of a scoring run, and run its steps."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    _models: dict[tuple[object, ...], tuple[LoadedModel, LoadedModel | None]] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def open(cls, settings: Settings) -> ScoringJob:
        """Check the configuration before any work starts, connect to Postgres and S3, and return the job.

        Raises:
            ConfigurationError: the pseudonym key is missing or too short, the backend or timezone does not exist, or
                `scan_attributes` is neither yes nor no.
            MigrationError: the database schema is older than the code.
            RunReportRulesError: the rule file of the run report is invalid.
        """
        require_pseudonym_key(settings)
        chosen_backend(settings)
        require_timezone(settings)
        settings.is_yes("scan_attributes")
        RunReportRules.load(settings.run_report_rules)  # fails before the run, not after it
        engine = database.connect(settings)
        require_current(engine)
        return cls(settings=settings, engine=engine, store=ObjectStore.connect(settings))

    def begin(
        self, *, run_key: str, scans_uri: str | None = None, second_model: str | None = None
    ) -> tuple[ScoringRun, Discovery]:
        """Open a run with the current champion, and add new objects to the scan table.

        Args:
            run_key: identifies the run. A retry with the same key continues the run.
            scans_uri: S3 prefixes, separated by commas. ``None`` means those of the settings.
            second_model: name of a model that also predicts each frame. ``None`` means that of the settings, unless it
                is the champion now.

        Returns:
            The run, and the counts of the listed objects.

        Raises:
            ObjectStoreError: S3 does not list a prefix. No run was opened.
        """
        scans = ScanPrefixes.parse(scans_uri or self.settings.require("scans_uri"))
        scans.require_apart(self.settings)
        if find_run(self.engine, run_key, kind="night") is None:
            for prefix in scans:  # a bucket that is missing or refused must leave no run
                next(self.store.list(prefix), None)
        run = open_run(
            self.engine,
            run_key=run_key,
            scans=scans,
            backend=chosen_backend(self.settings),
            second=second_model or self._second_of_settings(),
        )
        with bound(scoring_run_id=run.scoring_run_id):
            _log.info("opened with %s, backend %s", run.model.model_name, run.backend)
            discovery = discover(self.engine, self.store, run)
            _log.info("listed: %s", discovery)
        return run, discovery

    def _second_of_settings(self) -> str | None:
        """Return the second model of the settings, or ``None`` if it is the champion now, after a promotion of it."""
        name, champion = self.settings.second_model, find_champion(self.engine)
        if name is None or champion is None or name not in {champion.model_name, str(champion.model_version_id)}:
            return name
        _log.warning("%s of BRAINTUMOR_SECOND_MODEL is the champion now, so this run has no second model", name)
        return None

    def plan(self, scoring_run_id: int, *, chunk_size: int = CHUNK_SIZE) -> list[int]:
        """Divide the run's pending scans into chunks of ``chunk_size`` scans, and return the chunk numbers."""
        with bound(scoring_run_id=scoring_run_id):
            chunks = plan_chunks(self.engine, load_run(self.engine, scoring_run_id), chunk_size=chunk_size)
            _log.info("planned: %d chunks", len(chunks))
        return chunks

    def load(self, scoring_run_id: int) -> None:
        """Load the run's pinned models, so that an S3 failure occurs before the first chunk."""
        default_pool()  # its processes start while the model loads
        with bound(scoring_run_id=scoring_run_id):
            self._loaded(load_run(self.engine, scoring_run_id))

    def score(self, scoring_run_id: int, chunk_number: int) -> dict[str, int]:
        """Score one chunk with the run's pinned models, and return the number of scans per outcome."""
        run = load_run(self.engine, scoring_run_id)
        source = ScanSource(
            store=self.store,
            pseudonym_key=self.settings.require("pseudonym_key").encode(),
            with_attributes=self.settings.is_yes("scan_attributes"),
        )
        with bound(scoring_run_id=scoring_run_id, chunk_number=chunk_number):
            first, second = self._loaded(run)
            counts = score_chunk(self.engine, run, chunk_number, source=source, model=first, second=second)
        return dict(counts)

    def _loaded(self, run: ScoringRun) -> tuple[LoadedModel, LoadedModel | None]:
        """Return the run's checked and compiled models. A process loads them once for all runs with the same models."""
        models = [model for model in (run.model, run.second) if model is not None]
        pinned = (run.backend, *(model.model_version_id for model in models))
        if pinned not in self._models:
            self._models.clear()
            first, *others = (
                open_model(self.engine, self.store, self.settings, model, run.backend) for model in models
            )
            self._models[pinned] = (first, others[0] if others else None)
        return self._models[pinned]

    def reconcile(
        self,
        scoring_run_id: int,
        *,
        progress: Callable[[str], None] = lambda _: None,
        on_metric: Callable[[Metric], None] = lambda _: None,
        reports_url: str = "",
    ) -> Balance:
        """Check that each listed object has an outcome, write the run report, and return the balance of the run.

        ``on_metric`` receives each metric of the run. ``progress`` receives the run report as text, with the URL of its
        page below ``reports_url``.

        Raises:
            UnbalancedRunError: the rows of an object do not explain its outcome. The run report is written in this case
                too.
            ScoringRunError: the run was never planned, S3 refused all its objects, or the run is red (``RedRunError``).
        """
        run = load_run(self.engine, scoring_run_id)
        rules = RunReportRules.load(self.settings.run_report_rules)
        store_open_outcomes(self.engine, run)
        balance = count_balance(self.engine, run)  # raises without a listing, because then there is nothing to report
        failure: ScoringRunError | None = None
        with bound(scoring_run_id=scoring_run_id):
            try:
                reconcile(self.engine, run, balance)
            except ScoringRunError as error:
                _log.error("not reconciled: %s", error)
                failure = error
            status = make_run_status(
                self.engine, run, balance, rules, settings=self.settings, failure=str(failure or "")
            )
            _log.info("%s: %s", status.level, balance)
            with writing_images(self.engine):  # the page names scans
                report = make_run_report(self.engine, status, timezone=self.settings.require("timezone"))
                self._write_page(report, progress)
            progress(to_text(report, address=page_link(reports_url, run.run_key, RUN_STATUS)))
            for metric in run_metrics(self.engine, status):
                on_metric(metric)
            if failure is not None:
                raise failure
            status.require_not_red()
            return balance

    def _write_page(self, report: RunReport, progress: Callable[[str], None]) -> None:
        """Write the page of the run report. An S3 error is only logged, because the report is already in Postgres."""
        address = run_page(self.settings, report.status.run.run_key, RUN_STATUS)
        try:
            publish_page(self.engine, self.store, address, run_report_page(report), scan_ids=report.scan_ids)
        except ObjectStoreError as error:
            _log.warning("the page of the run report was not stored: %s", error)
            progress(f"The page of the run report was not stored: {error}")


_SHORTEST_KEY = 32


def require_timezone(settings: Settings) -> None:
    """Check that the timezone of the settings exists. Raises ``ConfigurationError`` if it does not."""
    name = settings.require("timezone")
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # not found, no such name at all, a folder of zones
        raise ConfigurationError(
            f"BRAINTUMOR_TIMEZONE must be a name of the tz database, such as Europe/Berlin or UTC. Received: {name!r}. "
            "Correct it."
        ) from error


def run_scoring_job(
    settings: Settings,
    *,
    run_key: str,
    scans_uri: str | None = None,
    second_model: str | None = None,
    chunk_size: int = CHUNK_SIZE,
    progress: Callable[[str], None] = lambda _: None,
) -> Balance:
    """Run all steps of a scoring run in this process, and return its balance.

    ``ScoringJob.begin`` explains the arguments.

    Raises:
        ObjectStoreUnreachableError: S3 did not deliver some scans. They stay pending for this run or a later run.
    """
    job = ScoringJob.open(settings)
    progress(f"run key, to continue after an interruption: {run_key}")
    run, discovery = job.begin(run_key=run_key, scans_uri=scans_uri, second_model=second_model)
    progress(f"{discovery}; scoring with {run.model.model_name}")
    run_id = run.scoring_run_id
    return process_chunks(
        job.plan(run_id, chunk_size=chunk_size),
        partial(job.score, run_id),
        load=partial(job.load, run_id),
        progress=progress,
        reconcile=partial(job.reconcile, run_id, progress=progress),
    )
