"""Check Postgres: connection, version, login, rights and schema."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from braintumor.config.roles import OWNER, Role
from braintumor.db import migrations, roles
from braintumor.db.database import transaction
from braintumor.doctor.check_result import CheckResult, note, ok, wrong
from braintumor.doctor.installation import Installation
from braintumor.doctor.rights import lacking

OLDEST = 160_000
"""Oldest usable ``server_version_num``. ``db.roles`` uses a form of ``pg_has_role`` that is new in PostgreSQL 16."""
TESTED = 180_000
SHOWN = 6
"""Most missing rights or migrations that a message names. The message counts the rest."""


def version(installation: Installation) -> Iterator[CheckResult]:
    """Check that Postgres is reachable and recent enough."""
    with transaction(installation.engine) as connection:
        number = int(connection.scalar(text("select current_setting('server_version_num')")) or 0)
        name = connection.scalar(text("select current_setting('server_version')"))
    if number < OLDEST:
        yield wrong("Postgres", f"PostgreSQL {name} is too old.", do="Use 16 or newer. 18 is the tested version.")
    elif number // 10_000 != TESTED // 10_000:
        yield note("Postgres", f"PostgreSQL {name}; 18 is the tested version")
    else:
        yield ok("Postgres", f"PostgreSQL {name}")


def login(installation: Installation) -> Iterator[CheckResult]:
    """Check that the login is a member of the role, and note rights that the role's tasks do not need."""
    names = [OWNER, *(role.in_database for role in Role)]
    with transaction(installation.engine) as connection:
        user = connection.scalar(text("select current_user"))
        is_superuser = connection.scalar(text("select rolsuper from pg_roles where rolname = current_user"))
        rows = connection.execute(text(_MEMBER), {"names": names}).all()
    existing, members = {row.name for row in rows}, [row.name for row in rows if row.is_member]
    check, wanted = "Postgres login", installation.role.in_database if installation.role else None
    if len(existing) < len(names):
        yield wrong(
            check, "The roles do not exist.", do=roles.advice(installation.engine) or "Run `braintumor migrate`."
        )
    elif wanted is not None and wanted not in members and OWNER not in members:
        yield wrong(
            check,
            f"{user} is not a member of {wanted}.",
            do=f'Let an administrator run `grant {wanted} to "{user}"`, or connect as a login that is a member.',
        )
    elif is_superuser or (wanted is not None and members != [wanted]):
        more = "a superuser" if is_superuser else ", ".join(name for name in members if name != wanted)
        yield note(
            check, f"connected as {user}, which has more rights than a task needs: {more}. Create a login for each role"
        )
    elif members:
        yield ok(check, f"connected as {user}, member of {', '.join(members)}")
    else:
        yield note(check, f"connected as {user}, which is a member of no role")


def schema(installation: Installation) -> Iterator[CheckResult]:
    """Check that the database has all migrations of this program version, and no others."""
    pending = [migration.name for migration in migrations.plan(installation.engine)]
    if pending:
        yield wrong("migrations", f"Not applied: {_some(pending)}.", do="Run `braintumor migrate`.")
    else:
        yield ok("migrations", f"all {len(migrations.available())} are applied")


def rights(installation: Installation) -> Iterator[CheckResult]:
    """Check that the current login has all rights of the role."""
    if installation.role is None:
        yield note("Postgres rights", "not checked: name a role with --role")
        return
    with transaction(installation.engine) as connection:
        missing = lacking(connection, installation.role)
    if missing:
        yield wrong(
            "Postgres rights",
            f"This login lacks rights that {installation.role} needs: {_some(missing)}.",
            do="Correct the login. `braintumor migrate`, run as the migrating login, restores the rights of each role.",
        )
    else:
        yield ok("Postgres rights", f"all of {installation.role.in_database}")


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


_MEMBER = """
    select rolname::text as name, pg_has_role(current_user, oid, 'usage') as is_member
    from pg_roles where rolname = any(:names) order by rolname"""
