"""Run Redis, which passes tasks to Celery workers. The program is Debian's `redis-server` on the path."""

from __future__ import annotations

import shutil
import socket
from typing import Final

from devstack.errors import BinaryMissingError
from devstack.service import Service
from devstack.state import State, write_private

PROGRAM: Final = "redis-server"
READY_TIMEOUT_S: Final = 60


class Broker:
    """Control the Redis of one state folder. Redis stores nothing on disk, because Airflow sends tasks again."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.service = Service(state, "broker")
        self._folder = state.folder / "broker"

    @property
    def url(self) -> str:
        """Return the URL of Redis, with its password."""
        return f"redis://:{self.state.secrets.broker_password}@127.0.0.1:{self.state.remembered_port('broker')}/0"

    def start(self) -> None:
        """Start the server. Return before it is ready.

        Raises:
            BinaryMissingError: there is no `redis-server` on the path.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise BinaryMissingError(
                f"Celery workers need Redis, and no {PROGRAM} is on the path. On Debian: apt-get install {PROGRAM}"
            )
        if self.service.process() is None:
            self.state.port("broker")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        settings = {  # in a file, because all users can read a command line
            "bind": "127.0.0.1",
            "port": str(self.state.remembered_port("broker")),
            "requirepass": self.state.secrets.broker_password,
            "dir": str(self._folder),
            "save": '""',
        }
        file = self._folder / "redis.conf"
        write_private(file, "".join(f"{name} {value}\n" for name, value in settings.items()))
        self.service.start([program, str(file)], {})

    def wait(self) -> None:
        """Wait until Redis responds.

        Raises:
            ServiceFailedError: Redis ended, or did not respond in time.
        """
        self.service.wait(self._answers, timeout_s=READY_TIMEOUT_S)

    def _answers(self) -> bool:
        port = self.state.remembered_port("broker")
        try:
            with socket.create_connection(("127.0.0.1", port or 0), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"-NOAUTH")
        except OSError:
            return False
