"""Checks of Postgres: that it answers, as whom, with which rights, and whether its schema is this version's."""

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
"""The form of ``pg_has_role`` that ``roles`` asks is of PostgreSQL 16."""
TRIED = 180_000
SHOWN = 6
"""Missing rights or migrations that are named; the rest is counted."""


def version(installation: Installation) -> Iterator[CheckResult]:
    """It answers, and is new enough."""
    with transaction(installation.engine) as connection:
        number = int(connection.scalar(text("select current_setting('server_version_num')")) or 0)
        name = connection.scalar(text("select current_setting('server_version')"))
    if number < OLDEST:
        yield wrong("Postgres", f"PostgreSQL {name} is too old.", do="Use 16 or newer; 18 is what this is tried with.")
    elif number // 10_000 != TRIED // 10_000:
        yield note("Postgres", f"PostgreSQL {name}; 18 is what this is tried with")
    else:
        yield ok("Postgres", f"PostgreSQL {name}")


def login(installation: Installation) -> Iterator[CheckResult]:
    """Whom it is connected as: a member of the role, and better of no other."""
    names = [OWNER, *(role.in_database for role in Role)]
    with transaction(installation.engine) as connection:
        who = connection.scalar(text("select current_user"))
        is_superuser = connection.scalar(text("select rolsuper from pg_roles where rolname = current_user"))
        rows = connection.execute(text(_MEMBER), {"names": names}).all()
    found, members = {row.name for row in rows}, [row.name for row in rows if row.is_member]
    check, wanted = "Postgres login", installation.role.in_database if installation.role else None
    if len(found) < len(names):
        yield wrong(
            check, "The roles are not there.", do=roles.advice(installation.engine) or "Run `braintumor migrate`."
        )
    elif wanted is not None and wanted not in members and OWNER not in members:
        yield wrong(
            check,
            f"{who} is no member of {wanted}.",
            do=f'Have an administrator run `grant {wanted} to "{who}"`, or connect as a login that is one.',
        )
    elif is_superuser or (wanted is not None and members != [wanted]):
        more = "a superuser" if is_superuser else ", ".join(name for name in members if name != wanted)
        yield note(check, f"connected as {who}, who is more than a task needs: {more}. Make a login for each role")
    elif members:
        yield ok(check, f"connected as {who}, of {', '.join(members)}")
    else:
        yield note(check, f"connected as {who}, who has none of the roles")


def schema(installation: Installation) -> Iterator[CheckResult]:
    """Every migration is applied, and no other."""
    pending = [migration.name for migration in migrations.plan(installation.engine)]
    if pending:
        yield wrong("migrations", f"Not applied: {_some(pending)}.", do="Run `braintumor migrate`.")
    else:
        yield ok("migrations", f"all {len(migrations.available())} are applied")


def rights(installation: Installation) -> Iterator[CheckResult]:
    """What the role may do, this login can."""
    if installation.role is None:
        yield note("Postgres rights", "not tried: name a role with --role")
        return
    with transaction(installation.engine) as connection:
        missing = lacking(connection, installation.role)
    if missing:
        yield wrong(
            "Postgres rights",
            f"{installation.role} must, and this login cannot: {_some(missing)}.",
            do="Mend the login; `braintumor migrate`, as the login that migrates, gives each role its rights anew.",
        )
    else:
        yield ok("Postgres rights", f"all of {installation.role.in_database}")


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


_MEMBER = """
    select rolname::text as name, pg_has_role(current_user, oid, 'usage') as is_member
    from pg_roles where rolname = any(:names) order by rolname"""
