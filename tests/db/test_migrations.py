from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database, migrations
from braintumor.errors import MigrationError
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.run import load_run
from tests.images import png


@pytest.fixture
def engine(empty_settings: Settings) -> Iterator[Engine]:
    made = database.connect(empty_settings)
    yield made
    made.dispose()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "sql"
    shutil.copytree(migrations.sql_folder(), copy)
    monkeypatch.setattr(migrations, "sql_folder", lambda: copy)
    return copy


def test_from_empty_everything_is_applied_once(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    planned = migrations.plan(engine)
    assert planned == migrations.available() == migrations.migrate(engine)
    assert migrations.plan(engine) == migrations.migrate(engine) == []


def test_looks_and_splits_survive_the_second_migration(engine: Engine, folder: Path) -> None:
    later = [path for path in (folder / "migrations").glob("*.sql") if path.stem > "0001_main_job"]
    views = list((folder / "views").glob("*.sql"))
    texts = {path: path.read_text() for path in later + views}
    for path in texts:
        path.unlink()
    grants = folder / "grants.sql"
    texts[grants] = grants.read_text()
    grants.write_text("select 1")  # it names tables that are to come
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    migrations.migrate(engine)
    with database.transaction(engine) as connection:
        database.run_script(connection, _AS_OF_0001)
    for path, sql in texts.items():
        path.write_text(sql)
    assert [m.name for m in migrations.migrate(engine)] == sorted(path.stem for path in later)
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select count_access from model_leaderboard")) == 3
        rows = connection.execute(text("select image_sha256, pixel_sha256, split::text from split_assignment")).all()
    assert [tuple(row) for row in rows] == [("i", "g", "test")]
    assert [str(load_run(engine, number).scans) for number in (1, 2)] == ["s3://b/scans/", "s3://b/scans/"]


def test_nights_of_before_stored_outcomes_keep_their_counts(engine: Engine, folder: Path) -> None:
    later = [path for path in (folder / "migrations").glob("*.sql") if path.stem >= "0033"]
    texts = {path: path.read_text() for path in [*later, *(folder / "views").glob("*.sql"), folder / "grants.sql"]}
    for path in texts:
        path.unlink()
    (folder / "grants.sql").write_text("select 1")
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    migrations.migrate(engine)
    with database.transaction(engine) as connection:
        database.run_script(connection, _AS_OF_0032)
    for path, sql in texts.items():
        path.write_text(sql)
    migrations.migrate(engine)
    counts = """
        select count_seen, count_known, count_rejected, count_ignored, count_deferred, count_unaccounted
        from scoring_run_balance order by scoring_run_id"""
    with database.transaction(engine) as connection:
        assert connection.execute(text(counts)).all() == [(4, 0, 2, 1, 1, 0), (3, 1, 1, 0, 1, 0)]
        connection.execute(text("update scan set state = 'rejected', scoring_run_id = 3 where state = 'pending'"))
        connection.execute(text("insert into rejection select scan_id, 3, 'corrupt', 'x' from scan where scan_id > 3"))
        assert connection.execute(text(counts)).all() == [(4, 0, 2, 1, 1, 0), (3, 1, 1, 0, 1, 0)]


_AS_OF_0032 = """
insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out) values ('s', 's3://b/', 1, 0, '[]');
insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                          library_versions, device, seconds)
values ('r', 'vgg16', '{}', 's', 'random', '{}', '0', '{}', 'cpu', 1);
insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
    count_parameter, artifact_uri, artifact_sha256s, temperature, low_confidence_below, near_tie_below)
values ('m', 1, 'vgg16', 'fp32', 64, 'p', 1, 's3://b/m/', '{}', 1, '{}', 0);
insert into scoring_run (run_key, scans_uri, model_version_id, engine, state, count_seen, planned_at)
values
    ('first', 's3://b/scans/', 1, 'e', 'balanced', 4, now()),
    ('next', 's3://b/scans/', 1, 'e', 'balanced', 3, now());
insert into scoring_run (run_key, kind, model_version_id, engine) values ('rescore', 'rescore', 1, 'e');
insert into scan (state, scoring_run_id, size_bytes, arrived_at)  -- the second was sent back and rejected again
values ('rejected', 1, 1, now()), ('rejected', 2, 1, now()), ('ignored', 1, 1, now()), ('pending', 1, 1, now());
insert into rejection (scan_id, scoring_run_id, reason, detail)
values (1, 1, 'corrupt', 'x'), (2, 1, 'corrupt', 'x'), (2, 2, 'corrupt', 'x');
insert into scoring_run_object (scoring_run_id, scan_id) values (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 4);
"""


_AS_OF_0001 = """
insert into snapshot values ('s', 's3://b/', 1, 0, '[]');
insert into split_assignment values ('g', 'test');
insert into snapshot_image values ('s', 'i', 'g', 'glioma', 'test', 's3://b/i');
insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                          library_versions, device, seconds)
values ('r', 'vgg16', '{}', 's', 'random', '{}', '0', '{}', 'cpu', 1);
insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
    count_parameter, artifact_uri, artifact_sha256s, temperature, low_confidence_below, near_tie_below)
values ('m', 1, 'vgg16', 'fp32', 64, 'p', 1, 's3://b/m/', '{}', 1, 0, 0);
insert into evaluation (model_version_id, snapshot_id, split, count_image, accuracy, accuracy_low, accuracy_high,
    macro_precision, macro_recall, macro_f1, expected_calibration_error, log_loss, count_access)
values (1, 's', 'test', 1, 1, 1, 1, 1, 1, 1, 0, 0, 3);
insert into scoring_run (run_key, scans_uri, model_version_id, engine)
values ('old', 's3://b/scans/', 1, 'openvino-cpu'), ('by hand', 's3://b/scans', 1, 'openvino-cpu');
"""


def test_views_are_made_again_and_keep_nothing_old(engine: Engine, folder: Path) -> None:
    view = folder / "views" / "99_extra.sql"
    view.write_text("create view extra as select 1 as one;")
    migrations.migrate(engine)
    view.write_text("create view extra as select 'a'::text as letter;")
    migrations.migrate(engine)
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select letter from extra")) == "a"


def test_a_migration_that_fails_leaves_nothing(engine: Engine, folder: Path) -> None:
    (folder / "migrations" / "0999_broken.sql").write_text("create table half (x int); select 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        migrations.migrate(engine)
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select to_regclass('braintumor.half')")) is None
    assert [m.name for m in migrations.plan(engine)] == ["0999_broken"]


def test_a_migration_edited_after_it_was_applied_is_noticed(engine: Engine, folder: Path) -> None:
    first = sorted((folder / "migrations").glob("*.sql"))[0]
    first.write_text(first.read_text() + "\n-- edited\n")
    with pytest.raises(MigrationError, match="0001_main_job was changed after it was applied"):
        migrations.plan(engine)


def test_a_database_ahead_of_the_code_is_refused(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        connection.execute(text("insert into migration (migration_name, checksum) values ('9999_future', 'x')"))
    with pytest.raises(MigrationError, match="9999_future"):
        migrations.migrate(engine)


def test_a_night_of_older_code_goes_on_after_an_additive_migration(
    settings: Settings, put: Callable[[str, bytes], None], folder: Path
) -> None:
    put("a.png", png())
    engine = database.connect(settings)
    newer = folder / "migrations" / "9998_more.sql"
    newer.write_text(
        "-- additive: a column that has a default\nalter table prediction add column extra integer default 1;"
    )
    migrations.migrate(engine)
    newer.unlink()  # the code of before
    assert run_scoring_job(settings, run_key="night").count_scored == 1
    with pytest.raises(MigrationError, match="ahead"):  # it would make its older views
        migrations.migrate(engine)
    newer.with_stem("9999_other").write_text("alter table prediction drop column extra;")
    newer.write_text(
        "-- additive: a column that has a default\nalter table prediction add column extra integer default 1;"
    )
    migrations.migrate(engine)
    newer.unlink()
    newer.with_stem("9999_other").unlink()
    with pytest.raises(MigrationError, match="ahead"):
        run_scoring_job(settings, run_key="another")
    engine.dispose()


def test_a_database_of_before_the_word_additive_gets_it(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        connection.execute(text("alter table migration drop column is_additive"))
    migrations.require_current(engine)
    migrations.migrate(engine)
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select bool_or(is_additive) from migration")) is False


def test_work_on_a_schema_that_is_behind_is_refused(engine: Engine, folder: Path) -> None:
    (folder / "migrations" / "0999_more.sql").write_text("create table more (x int);")
    with pytest.raises(MigrationError, match="braintumor migrate"):
        migrations.require_current(engine)
