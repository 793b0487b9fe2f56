"""Manage the state folder: secrets, ports, logs and data of one development stack.

::

    .devstack/
        secrets.json     mode 0600
        ports.json       the port of each service, so that its URL stays the same
        run/             pid and start time of each service
        logs/            one file per service
        postgres/  s3/  airflow/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from braintumor.config.variables import PREFIX

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_FOLDER = PROJECT / ".devstack"


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _token() -> str:
    return secrets.token_hex(16)


def _long_token() -> str:
    return secrets.token_hex(48)  # 96 characters: Airflow wants 64 bytes or more


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Hold all passwords and keys of one stack, which are random texts."""

    postgres_password: str = field(default_factory=_token, repr=False)
    airflow_database_password: str = field(default_factory=_token, repr=False)
    library_database_password: str = field(default_factory=_token, repr=False)
    scorer_database_password: str = field(default_factory=_token, repr=False)
    trainer_database_password: str = field(default_factory=_token, repr=False)
    promoter_database_password: str = field(default_factory=_token, repr=False)
    reviewer_database_password: str = field(default_factory=_token, repr=False)
    analyst_database_password: str = field(default_factory=_token, repr=False)
    eraser_database_password: str = field(default_factory=_token, repr=False)
    s3_access_key: str = field(default_factory=_token, repr=False)
    s3_secret_key: str = field(default_factory=_token, repr=False)
    pseudonym_key: str = field(default_factory=_long_token, repr=False)
    fernet_key: str = field(default_factory=_fernet_key, repr=False)
    jwt_secret: str = field(default_factory=_long_token, repr=False)
    api_secret_key: str = field(default_factory=_token, repr=False)
    admin_password: str = field(default_factory=_token, repr=False)
    reviewer_password: str = field(default_factory=_token, repr=False)
    reviewer2_password: str = field(default_factory=_token, repr=False)
    viewer_password: str = field(default_factory=_token, repr=False)
    broker_password: str = field(default_factory=_token, repr=False)
    stack_mark: str = field(default_factory=_token, repr=False)


class State:
    """Read and write one state folder. The folder is created at first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._ports_lock = threading.Lock()
        self.logs = self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.folder / "run").mkdir(exist_ok=True)
        if os.geteuid() != 0:
            self.folder.chmod(0o700)
        self.secrets = self._secrets()

    def log(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.logs / f"{service}.log"

    def read(self, name: str) -> dict[str, Any]:
        """Return the content of the file ``<name>.json`` in this folder, or an empty mapping without such a file."""
        path = self.folder / f"{name}.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Replace the file ``<name>.json`` in this folder atomically. Only its owner can read the file."""
        write_private(self.folder / f"{name}.json", json.dumps(content, indent=1))

    def port(self, service: str) -> int:
        """Return the service's last port if it is free, otherwise another free port, and store the port."""
        with self._ports_lock:
            ports = self.read("ports")
            if service not in ports or not is_port_free(ports[service]):
                ports[service] = free_port(exclude=set(ports.values()))
                self.write("ports", ports)
            return int(ports[service])

    def remembered_port(self, service: str) -> int | None:
        """Return the port that ``port`` stored for the service, or ``None`` if it stored none."""
        return self.read("ports").get(service)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock this folder during the ``with`` block, so that two commands run one after the other."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _secrets(self) -> Secrets:
        names = {entry.name for entry in fields(Secrets)}
        stored = self.read("secrets")
        if not names <= stored.keys():  # without the lock otherwise, because reading must not wait for a slow start
            with self.lock():
                stored = self.read("secrets")
                stored |= asdict(Secrets(**{name: stored[name] for name in names & stored.keys()}))
                self.write("secrets", stored)
        return Secrets(**{name: stored[name] for name in names})  # another version may have stored more


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600. A reader sees the old content or the new content, never a part of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def is_port_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(exclude: set[int]) -> int:
    """Return a free loopback port that is not in ``exclude``, the ports of the other services."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in exclude:
            return port


def inherited_environment() -> dict[str, str]:
    """Return the part of this process's environment that services inherit. Connections to this machine use no proxy.

    Settings of the library and of Airflow are left out, because a shell may have those of a production system.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "AIRFLOW"))}
    return {**kept, **loopback_environment()}


def loopback_environment() -> dict[str, str]:
    """Return the variables with which connections to this machine use no proxy."""
    known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    names = [name for name in known.split(",") if name]
    no_proxy = ",".join(dict.fromkeys([*names, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": no_proxy, "no_proxy": no_proxy}
