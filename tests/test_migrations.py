from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from braintumor import database, migrations
from braintumor.errors import MigrationError
from braintumor.settings import Settings


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
    with database.transaction(engine) as connection:
        connection.execute(text("drop schema braintumor cascade"))
    migrations.migrate(engine)
    with database.transaction(engine) as connection:
        database.run_script(connection, _AS_OF_0001)
    for path, sql in texts.items():
        path.write_text(sql)
    assert [m.name for m in migrations.migrate(engine)] == sorted(path.stem for path in later)
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select count_look from model_leaderboard")) == 3
        rows = connection.execute(text("select image_sha256, pixel_sha256, split::text from split_assignment")).all()
    assert [tuple(row) for row in rows] == [("i", "g", "test")]


_AS_OF_0001 = """
insert into snapshot values ('s', 's3://b/', 1, 0, '[]');
insert into split_assignment values ('g', 'test');
insert into snapshot_image values ('s', 'i', 'g', 'glioma', 'test', 's3://b/i');
insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialisation, history, code_version,
                          library_versions, device, seconds)
values ('r', 'vgg16', '{}', 's', 'random', '{}', '0', '{}', 'cpu', 1);
insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
    count_parameter, artefact_uri, artefact_sha256s, temperature, low_confidence_below, near_tie_below)
values ('m', 1, 'vgg16', 'fp32', 64, 'p', 1, 's3://b/m/', '{}', 1, 0, 0);
insert into evaluation (model_version_id, snapshot_id, split, count_image, accuracy, accuracy_low, accuracy_high,
    macro_precision, macro_recall, macro_f1, expected_calibration_error, log_loss, count_look)
values (1, 's', 'test', 1, 1, 1, 1, 1, 1, 1, 0, 0, 3);
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


def test_work_on_a_schema_that_is_behind_is_refused(engine: Engine, folder: Path) -> None:
    (folder / "migrations" / "0999_more.sql").write_text("create table more (x int);")
    with pytest.raises(MigrationError, match="braintumor migrate"):
        migrations.require_current(engine)
