"""Create a small data set that can be counted by hand: one template database, and a copy per test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.db import database, migrations
from devstack.stack import Stack
from tests.conftest import as_role, cloned


@pytest.fixture(scope="session")
def filled_template(stack: Stack) -> str:
    name = "views"
    settings = replace(
        Settings.from_environment(stack.library_env()), database_url=stack.postgres.create_database(name)
    )
    engine = database.connect(settings)
    migrations.migrate(engine)
    with database.transaction(engine) as connection:
        database.run_script(connection, Path(__file__).with_name("predictions.sql").read_text())
    engine.dispose()
    return name


@pytest.fixture
def filled(stack: Stack, filled_template: str) -> Iterator[Settings]:
    with cloned(stack, filled_template) as url:
        yield replace(Settings.from_environment(stack.library_env()), database_url=url)


@pytest.fixture(scope="session")
def filled_to_read(stack: Stack, filled_template: str) -> Iterator[Settings]:
    """Yield one copy for all read-only tests, with an analyst's login."""
    with cloned(stack, filled_template) as url:
        settings = replace(Settings.from_environment(stack.library_env()), database_url=url)
        yield as_role(stack, settings, Role.ANALYST)
