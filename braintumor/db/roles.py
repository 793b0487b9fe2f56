"""Create the database roles, and make the owner role the owner of the schema.

``sql/roles.sql`` creates the roles, which all databases of a server share. Every ``migrate`` applies
``sql/grants.sql``. If the roles are missing and the login cannot create them, the schema belongs to the login.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from braintumor.config.roles import OWNER, Role
from braintumor.db.database import SCHEMA, run_script, sql_folder, transaction
from braintumor.db.statements import statement


def prepare(connection: Connection) -> bool:
    """Create missing roles if the login can, and switch the transaction to the owner role.

    The owner role becomes the owner of the login's objects in the schema, and the result is ``True``. If a role is
    still missing or the login is no member of the owner role, the schema stays unchanged. Then the result is ``False``.
    """
    if _missing(connection) and _can_create(connection):
        run_script(connection, (sql_folder() / "roles.sql").read_text())
    if _missing(connection) or not _is_owner(connection):
        return False
    connection.execute(text(f"create schema if not exists {SCHEMA} authorization {OWNER}"))
    run_script(connection, statement("db/hand_over", owner=OWNER, schema=SCHEMA).text)
    connection.execute(text(f"set local role {OWNER}"))
    return True


def limit_sessions(connection: Connection) -> list[str]:
    """Limit the sessions of analysts and reviewers, and return a message for each login that gets no limits."""
    notices = connection.connection.notices
    notices.clear()  # of the scripts before, on the same connection
    run_script(connection, (sql_folder() / "limits.sql").read_text())
    found = [str(notice).partition(":") for notice in notices]
    return [message.strip() for level, _, message in found if level == "WARNING"]


def advice(engine: Engine) -> str | None:
    """Return the steps after which ``migrate`` can set up the roles, or ``None`` if it can set them up now."""
    with transaction(engine) as connection:
        login = connection.scalar(text("select current_user"))
        if _missing(connection):
            if _can_create(connection):
                return None
            first = f"Have an administrator run {sql_folder() / 'roles.sql'} with psql, then"
        elif _is_owner(connection):
            return None
        elif _schema_owner(connection) == OWNER:
            return f"This login does not migrate. Connect as the login that is a member of {OWNER}."
        else:
            first = "Have an administrator run"
    return (
        f"The roles are not set up: every table belongs to {login}, which is not a member of {OWNER}. {first} "
        f'`grant {OWNER} to "{login}"`, and run `braintumor migrate` again.'
    )


def _missing(connection: Connection) -> bool:
    names = [OWNER, *(role.in_database for role in Role)]
    count = connection.scalar(text("select count(*) from pg_roles where rolname = any(:names)"), {"names": names})
    return bool(count != len(names))


def _can_create(connection: Connection) -> bool:
    return bool(connection.scalar(text("select rolcreaterole or rolsuper from pg_roles where rolname = current_user")))


def _is_owner(connection: Connection) -> bool:
    return bool(connection.scalar(text("select pg_has_role(current_user, :owner, 'set')"), {"owner": OWNER}))


def _schema_owner(connection: Connection) -> str | None:
    owner = "select nspowner::regrole::text from pg_namespace where nspname = :name"
    name: str | None = connection.scalar(text(owner), {"name": SCHEMA})
    return name
