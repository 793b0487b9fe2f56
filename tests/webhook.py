"""Receive notifications with an HTTP server on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WEBHOOK = """
[[notifier]]
class = "airflow.providers.http.notifications.HttpNotifier"
[notifier.arguments]
http_conn_id = "webhook"
[notifier.arguments.json]
event = "{{ event }}"
subject = "{{ subject }}"
text = "{{ message }}"
link = "{{ link }}"
run = "{{ dag_run.run_id }}"
"""
"""A file of notifiers with one entry, which sends each event to the Airflow connection ``webhook``."""


class Webhook:
    """Hold the received notifications in their order."""

    def __init__(self, url: str, received: list[dict[str, Any]]) -> None:
        self.url = url
        self.received = received

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message["event"] == event]

    def wait_for(self, event: str, *, count: int = 1, timeout_s: float = 900) -> dict[str, Any]:
        """Return the newest notification of an event, after ``count`` of them have arrived."""
        deadline = time.monotonic() + timeout_s
        while len(self.of(event)) < count:
            assert time.monotonic() < deadline, f"no {event!r} in {timeout_s} s; received: {self.received}"
            time.sleep(0.2)
        return self.of(event)[-1]


@contextmanager
def receiver(take: Callable[[bytes], None], *, status: int = 200, hangs_s: float = 0) -> Iterator[str]:
    """Run a server that passes the body of each POST to ``take``, and responds with ``status`` after ``hangs_s``.

    Provides its URL.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            take(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(hangs_s)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def webhook(*, status: int = 200, hangs_s: float = 0) -> Iterator[Webhook]:
    """Run a server that receives notifications as JSON."""
    received: list[dict[str, Any]] = []
    with receiver(lambda body: received.append(json.loads(body)), status=status, hangs_s=hangs_s) as url:
        yield Webhook(url, received)
