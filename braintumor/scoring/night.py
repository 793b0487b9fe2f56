"""A whole scoring run in one process: what ``braintumor score`` does, and what the DAG does task by task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Engine

from braintumor import database
from braintumor.errors import ConfigurationError
from braintumor.migrations import require_current
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.registry import ModelVersion, load_model
from braintumor.scoring.discovery import Discovery, discover
from braintumor.scoring.plan import CHUNK_SIZE, plan
from braintumor.scoring.reconcile import Balance, reconcile
from braintumor.scoring.run import ScoringRun, load_run, open_run
from braintumor.scoring.worker import score_chunk
from braintumor.serving.engine import LoadedModel
from braintumor.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Night:
    """What every step of a run needs: the settings, opened."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    _models: dict[str, LoadedModel] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, settings: Settings) -> Night:
        """Connect, and check what can be checked before any work.

        Raises:
            ConfigurationError: the pseudonym key is missing or too short.
            MigrationError: the schema is behind.
        """
        if len(settings.require("pseudonym_key")) < _SHORTEST_KEY:
            raise ConfigurationError(
                f"BRAINTUMOR_PSEUDONYM_KEY has fewer than {_SHORTEST_KEY} characters, so pseudonyms could be guessed. "
                "Make one with: python -c 'import secrets; print(secrets.token_hex(32))', and keep it: pseudonyms "
                "change with it."
            )
        engine = database.connect(settings)
        require_current(engine)
        return cls(settings=settings, engine=engine, store=ObjectStore.connect(settings))

    def begin(self, *, run_key: str, scans_uri: str | None = None) -> tuple[ScoringRun, Discovery]:
        """Pin the champion, open the run, and enter what is new into the ledger."""
        scans = S3Uri.parse_prefix(scans_uri or self.settings.require("scans_uri"))
        run = open_run(self.engine, run_key=run_key, scans=scans)
        return run, discover(self.engine, self.store, run)

    def plan(self, scoring_run_id: int, *, chunk_size: int = CHUNK_SIZE) -> list[int]:
        """The chunk numbers of a run."""
        return plan(self.engine, load_run(self.engine, scoring_run_id), chunk_size=chunk_size)

    def score(self, scoring_run_id: int, chunk_number: int) -> dict[str, int]:
        """Score one chunk with the run's pinned model; returns counts of outcomes."""
        run = load_run(self.engine, scoring_run_id)
        key = self.settings.require("pseudonym_key").encode()
        model = self._loaded(run.model)
        return dict(score_chunk(self.engine, self.store, model, run, chunk_number, pseudonym_key=key))

    def _loaded(self, model: ModelVersion) -> LoadedModel:
        """The model, checked and compiled once for all chunks of this process."""
        if model.model_name not in self._models:
            self._models.clear()
            self._models[model.model_name] = load_model(self.store, self.settings, model)
        return self._models[model.model_name]

    def reconcile(self, scoring_run_id: int) -> Balance:
        """Prove that the run balances."""
        return reconcile(self.engine, load_run(self.engine, scoring_run_id))


_SHORTEST_KEY = 32


def score_night(
    settings: Settings,
    *,
    run_key: str,
    scans_uri: str | None = None,
    chunk_size: int = CHUNK_SIZE,
    say: Callable[[str], None] = lambda _: None,
    on_chunk: Callable[[int, int], None] = lambda _done, _total: None,
) -> Balance:
    """Discover, plan, score every chunk, reconcile."""
    night = Night.open(settings)
    run, discovery = night.begin(run_key=run_key, scans_uri=scans_uri)
    say(f"{discovery.count_seen} objects seen, {discovery.count_new} new; scoring with {run.model.model_name}")
    chunks = night.plan(run.scoring_run_id, chunk_size=chunk_size)
    for done, chunk in enumerate(chunks, start=1):
        night.score(run.scoring_run_id, chunk)
        on_chunk(done, len(chunks))
    return night.reconcile(run.scoring_run_id)
