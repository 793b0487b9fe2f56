"""Run the commands of docs/recovery.md and the scoring runs after them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.errors import NoChampionError
from braintumor.registry import model_versions
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.predict_files import predict_files
from braintumor.serving.backend import LoadedModel
from devstack.stack import Stack
from tests.documents import blocks, run_block
from tests.runs import assert_no_partial_scans, expire_leases, put_phantoms
from tests.sql import rows

PAGE = (Path(__file__).parent.parent / "docs" / "recovery.md").read_text()
PREDICTIONS = """
    select key, frame_index, model_version_id, probability_glioma, probability_meningioma, probability_normal
    from prediction join scan_location using (scan_id) order by key, frame_index"""


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def destroy(stack: Stack, settings: Settings) -> None:
    """Replace the database by an empty one."""
    name = str(database.connect(settings).url.database)
    stack.postgres.drop_database(name)
    stack.postgres.create_database(name)


def restore(settings: Settings, backup: Path) -> None:
    for script in blocks(section("Restore"), "sh"):
        run_block(script, settings, backup)
    for query in blocks(section("Restore"), "sql"):
        assert rows(settings, query)


def test_run_after_restore_scores_only_new_scans(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    put_phantoms(settings, tmp_path, count=3, seed=1)
    run_scoring_job(settings, run_key="first")
    answered = "select scan_id, frame_index, scored_at, probability_glioma from prediction where scoring_run_id = 1"
    before = rows(settings, answered)
    run_block(*blocks(section("Dump"), "sh"), settings, tmp_path)
    destroy(stack, settings)
    restore(settings, tmp_path)
    put_phantoms(settings, tmp_path, count=2, seed=2)
    balance = run_scoring_job(settings, run_key="second")
    assert (balance.count_seen, balance.count_scored, balance.count_known) == (5, 2, 3)
    assert rows(settings, answered) == before
    assert_no_partial_scans(settings)


def test_compose_commands_dump_and_restore_everything(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    """Run the commands of the page without Docker, as the administrator of the stack's Postgres."""
    put_phantoms(settings, tmp_path, count=2, seed=1)
    run_scoring_job(settings, run_key="first")
    before = rows(settings, PREDICTIONS)
    (script,) = [block for block in blocks(section("On Compose and Kubernetes"), "sh") if "pg_restore" in block]
    script = re.sub(r"^docker compose stop .*\n", "", script, flags=re.MULTILINE)
    script = re.sub(r"docker compose (exec -T postgres|run --rm init) ", "", script)
    name = database.connect(settings).url.database
    script = re.sub(r"(custom |exists |database |--dbname=)braintumor\b", rf"\g<1>{name}", script)
    server = database.connect(replace(settings, database_url=stack.postgres.url("postgres", owner="postgres"))).url
    login = f"export PGHOST={server.host} PGPORT={server.port} PGPASSWORD={server.password}\n"
    run_block(login + script, settings, tmp_path)
    assert rows(settings, PREDICTIONS) == before
    balance = run_scoring_job(settings, run_key="second")
    assert (balance.count_seen, balance.count_scored, balance.count_known) == (2, 0, 2)


def test_run_after_restore_of_old_dump_scores_lost_scans_again(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    put_phantoms(settings, tmp_path, count=2, seed=1)
    run_scoring_job(settings, run_key="first")
    run_block(*blocks(section("Dump"), "sh"), settings, tmp_path)
    put_phantoms(settings, tmp_path, count=3, seed=2)
    run_scoring_job(settings, run_key="lost")
    before, given = rows(settings, PREDICTIONS), {number for (number,) in rows(settings, "select scan_id from scan")}
    destroy(stack, settings)
    restore(settings, tmp_path)
    assert rows(settings, "select count(*) from prediction") == [(2,)]
    balance = run_scoring_job(settings, run_key="next")
    assert (balance.count_seen, balance.count_scored, balance.count_known) == (5, 3, 2)
    assert rows(settings, PREDICTIONS) == before
    again = {number for (number,) in rows(settings, "select scan_id from scan where scoring_run_id <> 1")}
    assert len(again) == 3 and not again & given, "a number of a lost scan is used again"
    assert_no_partial_scans(settings)


def test_dump_during_a_run_is_completed_by_the_next_run(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    put_phantoms(settings, tmp_path, count=4, seed=1)
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="broken off")
    first, *_ = job.plan(run.scoring_run_id, chunk_size=2)
    job.score(run.scoring_run_id, first)
    run_block(*blocks(section("Dump"), "sh"), settings, tmp_path)
    destroy(stack, settings)
    restore(settings, tmp_path)
    expire_leases(settings)
    balance = run_scoring_job(settings, run_key="next")
    assert (balance.count_seen, balance.count_scored, balance.count_known) == (4, 2, 2)
    assert_no_partial_scans(settings)


def test_registry_and_s3_reproduce_every_prediction(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    dump, rebuild = blocks(section("Rebuilding predictions from S3 and the registry"), "sh")
    put_phantoms(settings, tmp_path, count=3, seed=1)
    run_scoring_job(settings, run_key="first")
    before = rows(settings, PREDICTIONS)
    tables = {name for (name,) in rows(settings, WITHOUT_SCANS)}
    run_block(dump, settings, tmp_path)
    destroy(stack, settings)
    run_block(rebuild, settings, tmp_path)
    assert rows(settings, "select count(*) from scan") == [(0,)]
    assert run_scoring_job(settings, run_key="again").count_scored == 3
    assert rows(settings, PREDICTIONS) == before
    named = set(re.findall(r"\b[a-z_]+\b", dump))
    assert _references(tables) <= named, "a table of the registry is not in the dump"


WITHOUT_SCANS = """
    select relname::text
    from pg_class
    where relkind = 'r' and not exists (
        select from pg_constraint where conrelid = pg_class.oid and confrelid = 'braintumor.scan'::regclass)"""
"""SQL: the tables without a reference to ``scan``. The others are empty after a rebuild."""


def _references(tables: set[str]) -> set[str]:
    """Return the tables that trainer and promoter can insert into."""
    grants = (Path(__file__).parent.parent / "sql" / "grants.sql").read_text()
    words = re.findall(r"grant [a-z, ]*insert[a-z, ]* on([^;]*)to braintumor_(?:trainer|promoter);", grants)
    return {name for part in words for name in re.findall(r"[a-z_]+", re.sub("--.*", "", part)) if name in tables}


def test_s3_alone_gives_predictions_and_same_snapshot_id(
    seeded: Settings, empty_settings: Settings, tiny_model_folder: Path, tmp_path: Path
) -> None:
    alone = replace(empty_settings, dataset_uri=seeded.dataset_uri)
    put_phantoms(alone, tmp_path, count=1, seed=1)
    with pytest.raises(NoChampionError, match="There is no champion yet"):
        run_scoring_job(alone, run_key="night")
    assert rows(alone, "select count(*) from scan") == [(0,)]
    engine = database.connect(seeded)
    known = model_versions.champion(engine).snapshot_id
    engine.dispose()
    assert snapshot_of(alone, None).snapshot_id == known
    (path,) = (tmp_path / "1").iterdir()
    (result,) = predict_files(LoadedModel.load(tiny_model_folder), [path])
    assert "predicted_class" in result.to_values()
