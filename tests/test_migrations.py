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
