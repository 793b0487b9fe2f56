from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database, migrations
from braintumor.errors import MigrationError
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.run import load_run
from tests.conftest import Put
from tests.images import png


def test_all_migrations_are_applied_once_to_an_empty_database(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    planned = migrations.plan(engine)
    assert planned == migrations.available() == migrations.migrate(engine)
    assert migrations.plan(engine) == migrations.migrate(engine) == []


def test_rows_survive_a_later_migration(engine: Engine, folder: Path) -> None:
    with database.transaction(engine) as connection:
        database.run_script(connection, _SNAPSHOT)
    (folder / "migrations" / "0002_note.sql").write_text(
        "alter table snapshot add column note text; update snapshot set note = 'from ' || source_uri;"
    )
    assert [m.name for m in migrations.migrate(engine)] == ["0002_note"]
    with database.transaction(engine) as connection:
        assert connection.execute(text("select snapshot_id, note from snapshot")).all() == [("s", "from s3://b/")]


_SNAPSHOT = """
insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out) values ('s', 's3://b/', 1, 0, '[]');
"""


def test_later_runs_do_not_change_a_runs_counts(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        database.run_script(connection, _SNAPSHOT + _TWO_RUNS)
    counts = """
        select count_seen, count_known, count_rejected, count_ignored, count_deferred, count_unaccounted
        from scoring_run_balance order by scoring_run_id"""
    with database.transaction(engine) as connection:
        assert connection.execute(text(counts)).all() == [(4, 0, 2, 1, 1, 0), (3, 1, 1, 0, 1, 0)]
        connection.execute(text("update scan set state = 'rejected', scoring_run_id = 3 where state = 'pending'"))
        connection.execute(text("insert into rejection select scan_id, 3, 'corrupt', 'x' from scan where scan_id > 3"))
        assert connection.execute(text(counts)).all() == [(4, 0, 2, 1, 1, 0), (3, 1, 1, 0, 1, 0)]
    assert [str(load_run(engine, number).scans) for number in (1, 2)] == ["s3://b/scans/", "s3://b/scans/"]


_TWO_RUNS = """
insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                          library_versions, device, seconds)
values ('r', 'vgg16', '{}', 's', 'random', '{}', '0', '{}', 'cpu', 1);
insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
    count_parameter, artifact_uri, artifact_sha256s, temperature)
values ('m', 1, 'vgg16', 'fp32', 64, 'p', 1, 's3://b/m/', '{}', 1);
insert into scoring_run (run_key, scans_uri, model_version_id, engine, state, count_seen, planned_at)
values
    ('first', 's3://b/scans/', 1, 'openvino-cpu', 'balanced', 4, now()),
    ('next', 's3://b/scans/', 1, 'openvino-cpu', 'balanced', 3, now());
insert into scoring_run (run_key, kind, model_version_id, engine) values ('rescore', 'rescore', 1, 'openvino-cpu');
insert into scan (state, scoring_run_id, size_bytes, arrived_at)  -- the second was requeued and rejected again
values ('rejected', 1, 1, now()), ('rejected', 2, 1, now()), ('ignored', 1, 1, now()), ('pending', 1, 1, now());
insert into rejection (scan_id, scoring_run_id, reason, detail)
values (1, 1, 'corrupt', 'x'), (2, 1, 'corrupt', 'x'), (2, 2, 'corrupt', 'x');
insert into scoring_run_object (scoring_run_id, scan_id) values (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 4);
insert into scan_outcome (scoring_run_id, scan_id, outcome)
values (1, 1, 'rejected'), (1, 2, 'rejected'), (1, 3, 'ignored'), (1, 4, 'deferred'), (2, 2, 'rejected'),
    (2, 4, 'deferred');
"""


def test_a_view_with_another_column_type_is_replaced(engine: Engine, folder: Path) -> None:
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
    with pytest.raises(MigrationError, match="0001_baseline was changed after it was applied"):
        migrations.plan(engine)


def test_a_database_ahead_of_the_code_is_refused(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        connection.execute(text("insert into migration (migration_name, checksum) values ('9999_future', 'x')"))
    with pytest.raises(MigrationError, match="9999_future"):
        migrations.migrate(engine)


def test_older_code_scores_after_an_additive_migration_only(settings: Settings, put: Put, folder: Path) -> None:
    put("a.png", png())
    engine = database.connect(settings)
    newer = folder / "migrations" / "9998_more.sql"
    newer.write_text(
        "-- additive: a column that has a default\nalter table prediction add column extra integer default 1;"
    )
    migrations.migrate(engine)
    newer.unlink()  # as in older code
    assert run_scoring_job(settings, run_key="night").count_scored == 1
    with pytest.raises(MigrationError, match="ahead"):  # it would create its older views
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


@pytest.mark.parametrize("use", [migrations.plan, migrations.migrate, migrations.require_current])
def test_a_development_schema_is_refused_with_the_remedy(engine: Engine, use: Callable[[Engine], object]) -> None:
    with database.transaction(engine) as connection:
        connection.execute(text("delete from migration"))
        connection.execute(text("insert into migration (migration_name, checksum) values ('0001_main_job', 'x')"))
    with pytest.raises(MigrationError, match=r"before 0\.1\.0.*`drop schema braintumor cascade`.*`braintumor migrate`"):
        use(engine)
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    assert migrations.migrate(engine) == migrations.available()


def test_a_schema_that_is_behind_is_refused(engine: Engine, folder: Path) -> None:
    (folder / "migrations" / "0999_more.sql").write_text("create table more (x int);")
    with pytest.raises(MigrationError, match="braintumor migrate"):
        migrations.require_current(engine)
