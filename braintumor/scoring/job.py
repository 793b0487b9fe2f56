"""A whole scoring run in one process: what ``braintumor score`` does, and what the DAG does task by task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.migrations import require_current
from braintumor.errors import ConfigurationError, ObjectStoreError, ScoringRunError
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.logs import bound
from braintumor.reports.paths import RUN_STATUS, page_link, run_page
from braintumor.reports.store import write_page
from braintumor.s3 import ObjectStore
from braintumor.scoring.chunks import CHUNK_SIZE, plan_chunks
from braintumor.scoring.discovery import Discovery, discover
from braintumor.scoring.model_loading import chosen_engine, open_model
from braintumor.scoring.prefixes import ScanPrefixes
from braintumor.scoring.run import ScoringRun, load_run, open_run
from braintumor.scoring.run_report.balance import Balance, count_balance, reconcile, store_open_outcomes
from braintumor.scoring.run_report.metrics import Metric, run_metrics
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.status import RunStatus, make_run_status, run_status_page, to_markdown
from braintumor.scoring.score_chunks import blamed_on, score_chunks
from braintumor.scoring.worker import score_chunk
from braintumor.serving.backend import LoadedModel

_log = logging.getLogger(__name__)


def require_pseudonym_key(settings: Settings) -> None:
    """Check the secret that keys the pseudonyms.

    Raises:
        ConfigurationError: it is missing or too short.
    """
    if len(settings.require("pseudonym_key")) < _SHORTEST_KEY:
        raise ConfigurationError(
            f"BRAINTUMOR_PSEUDONYM_KEY has fewer than {_SHORTEST_KEY} characters, so pseudonyms could be guessed. "
            "Make one with: python -c 'import secrets; print(secrets.token_hex(32))', and keep it: pseudonyms "
            "change with it."
        )


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """What every step of a run needs: the settings, opened."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    _models: dict[tuple[object, ...], tuple[LoadedModel, LoadedModel | None]] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def open(cls, settings: Settings) -> ScoringJob:
        """Connect, and check what can be checked before any work.

        Raises:
            ConfigurationError: the pseudonym key is missing or too short, or there is no such engine or timezone.
            MigrationError: the schema is behind.
            RunReportRulesError: the rule file of the morning sheet is not one.
        """
        require_pseudonym_key(settings)
        chosen_engine(settings)
        _require_timezone(settings)
        RunReportRules.load(settings.run_report_rules)  # a bad file is told before the night, not after it
        engine = database.connect(settings)
        require_current(engine)
        return cls(settings=settings, engine=engine, store=ObjectStore.connect(settings))

    def begin(
        self, *, run_key: str, scans_uri: str | None = None, second_model: str | None = None
    ) -> tuple[ScoringRun, Discovery]:
        """Pin the champion, open the run, and enter what is new into the ledger.

        Without ``scans_uri`` or ``second_model`` the settings' own count.
        """
        scans = ScanPrefixes.parse(scans_uri or self.settings.require("scans_uri"))
        scans.require_apart(self.settings)
        run = open_run(
            self.engine,
            run_key=run_key,
            scans=scans,
            scored_by=chosen_engine(self.settings),
            second=second_model or self.settings.second_model,
        )
        with bound(scoring_run_id=run.scoring_run_id):
            _log.info("begun with %s, on %s", run.model.model_name, run.engine)
            found = discover(self.engine, self.store, run)
            _log.info("listed: %s", found)
        return run, found

    def plan(self, scoring_run_id: int, *, chunk_size: int = CHUNK_SIZE) -> list[int]:
        """The chunk numbers of a run."""
        with bound(scoring_run_id=scoring_run_id):
            chunks = plan_chunks(self.engine, load_run(self.engine, scoring_run_id), chunk_size=chunk_size)
            _log.info("planned: %d chunks", len(chunks))
        return chunks

    def load(self, scoring_run_id: int) -> None:
        """Get the run's pinned models ready, which otherwise its first chunk does."""
        default_pool()  # its processes start while the model is loaded
        with bound(scoring_run_id=scoring_run_id):
            self._loaded(load_run(self.engine, scoring_run_id))

    def score(self, scoring_run_id: int, chunk_number: int) -> dict[str, int]:
        """Score one chunk with the run's pinned models; returns counts of outcomes."""
        run = load_run(self.engine, scoring_run_id)
        key = self.settings.require("pseudonym_key").encode()
        default_pool()
        with bound(scoring_run_id=scoring_run_id, chunk_number=chunk_number):
            first, second = self._loaded(run)
            counts = score_chunk(self.engine, self.store, first, run, chunk_number, pseudonym_key=key, second=second)
        return dict(counts)

    def _loaded(self, run: ScoringRun) -> tuple[LoadedModel, LoadedModel | None]:
        """The run's models, checked and compiled once for all chunks of this process and all runs that pin the same."""
        models = [model for model in (run.model, run.second) if model is not None]
        pinned = (run.engine, *(model.model_version_id for model in models))
        if pinned not in self._models:
            self._models.clear()
            first, *others = (open_model(self.engine, self.store, self.settings, model, run.engine) for model in models)
            self._models[pinned] = (first, others[0] if others else None)
        return self._models[pinned]

    def reconcile(
        self,
        scoring_run_id: int,
        *,
        say: Callable[[str], None] = lambda _: None,
        measured: Callable[[Metric], None] = lambda _: None,
        reports_url: str = "",
    ) -> Balance:
        """Prove that the run balances, write its morning sheet, tell what was measured, and refuse a red night.

        What is said links to the sheet's page below ``reports_url``.

        Raises:
            UnbalancedRunError: as of ``reconcile``; the sheet is written all the same.
            ScoringRunError: as of ``reconcile``; or, as ``RedRunError``, the sheet is red.
        """
        run = load_run(self.engine, scoring_run_id)
        rules = RunReportRules.load(self.settings.run_report_rules)
        store_open_outcomes(self.engine, run)
        balance = count_balance(self.engine, run)  # a run without a listing has no sheet
        refusal: ScoringRunError | None = None
        with bound(scoring_run_id=scoring_run_id):
            try:
                reconcile(self.engine, run, balance)
            except ScoringRunError as error:
                _log.error("refused: %s", error)
                refusal = error
            sheet = make_run_status(
                self.engine, run, balance, rules, settings=self.settings, failure=str(refusal or "")
            )
            _log.info("%s: %s", sheet.level, balance)
            say(to_markdown(sheet, address=page_link(reports_url, run.run_key, RUN_STATUS)))
            self._store(sheet, say)
            for measure in run_metrics(self.engine, sheet):
                measured(measure)
            if refusal is not None:
                raise refusal
            sheet.require_not_red()
            return balance

    def _store(self, sheet: RunStatus, say: Callable[[str], None]) -> None:
        """Store the sheet's page. Its row in Postgres has committed, so a page that S3 does not take is only said."""
        address = run_page(self.settings, sheet.run.run_key, RUN_STATUS)
        try:
            write_page(self.store, address, run_status_page(sheet))
        except ObjectStoreError as error:
            _log.warning("the page of the morning sheet was not stored: %s", error)
            say(f"The page of the morning sheet was not stored: {error}")


_SHORTEST_KEY = 32


def _require_timezone(settings: Settings) -> None:
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
    say: Callable[[str], None] = lambda _: None,
    on_chunk: Callable[[int, int], None] = lambda _done, _total: None,
) -> Balance:
    """Discover, plan, score every chunk, reconcile. A chunk that S3 does not hand out whole stops no other.

    Raises:
        ObjectStoreUnreachableError: S3 did not hand out some scans; these stay pending, for this run or another.
    """
    night = ScoringJob.open(settings)
    say(f"run key, to go on with after an interruption: {run_key}")
    run, discovery = night.begin(run_key=run_key, scans_uri=scans_uri, second_model=second_model)
    say(f"{discovery}; scoring with {run.model.model_name}")
    chunks = night.plan(run.scoring_run_id, chunk_size=chunk_size)
    number = run.scoring_run_id
    withheld = score_chunks(chunks, partial(night.score, number), load=partial(night.load, number), on_chunk=on_chunk)
    with blamed_on(withheld):
        return night.reconcile(number, say=say)
