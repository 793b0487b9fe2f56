"""Run a proxy in front of the real S3 server that injects faults for some objects."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

Fault = tuple[int, str]
"""An HTTP status and an S3 error code, or one of the following."""
CUT: Fault = (0, "cut")
"""The connection closes in the middle of the object."""
DAMAGED: Fault = (0, "damaged")
"""One byte in the middle of the object is different."""
RESET: Fault = (0, "reset")
"""The connection is reset before a response."""
SLOW: Fault = (0, "slow")
"""The response comes half a second late."""
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected fault</Message></Error>"


class FaultyS3(ThreadingHTTPServer):
    """Forward every request, but return an error for reads or writes of some objects.

    ``faults`` maps a part of a path to the fault of every read. ``passing`` maps a part of a path to the faults of the
    next reads. Uploads to paths with a part in ``unwritable`` break in the middle. ``is_read_only`` refuses every
    write, like read-only credentials. ``count_fault`` counts the faults of a ``storm``.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.faults: dict[str, Fault] = {}
        self.passing: dict[str, list[Fault]] = {}
        self.unwritable: set[str] = set()
        self.is_read_only = False
        self.count_fault = 0
        self._storm: tuple[random.Random, float, Sequence[Fault], str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def storm(self, rng: random.Random, *, share: float, faults: Sequence[Fault], within: str) -> None:
        """Return one of the faults for a share of all other reads under the prefix ``within`` from now on."""
        self._storm = rng, share, faults, urlsplit(within).path

    def fault(self, path: str) -> Fault | None:
        """Return the fault of this read, or ``None``."""
        for part, passing in self.passing.items():
            if part in path and passing:
                return passing.pop(0)
        for part, fault in self.faults.items():
            if part in path:
                return fault
        if self._storm is not None:
            rng, share, faults, prefix = self._storm
            if prefix in path and rng.random() < share:
                self.count_fault += 1
                return rng.choice(faults)
        return None


class _Handler(BaseHTTPRequestHandler):
    server: FaultyS3
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fault = self.server.fault(urlsplit(self.path).path)
        if fault == RESET:
            self._reset()
        elif fault is None or fault in {CUT, DAMAGED, SLOW}:
            time.sleep(0.5 if fault == SLOW else 0)
            self._forward(fault)
        else:
            self._respond(fault[0], {"Content-Type": "application/xml"}, _ERROR.format(code=fault[1]).encode())

    def do_HEAD(self) -> None:
        self._forward()

    def do_DELETE(self) -> None:
        self._refuse() if self.server.is_read_only else self._forward()

    def do_PUT(self) -> None:
        if self.server.is_read_only:
            self._refuse()
        elif any(part in urlsplit(self.path).path for part in self.server.unwritable):
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self.close_connection = True
        else:
            self._forward()

    def log_message(self, *_: object) -> None:
        pass

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._respond(403, {"Content-Type": "application/xml"}, _ERROR.format(code="AccessDenied").encode())

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _forward(self, fault: Fault | None = None) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))  # with the signed Host header
        response = connection.getresponse()
        kept = {name: value for name, value in response.getheaders() if name.lower() != "transfer-encoding"}
        self._respond(response.status, kept, response.read(), fault)
        connection.close()

    def _respond(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            half = len(body) // 2
            damaged = body[:half] + bytes(byte ^ 1 for byte in body[half : half + 1]) + body[half + 1 :]
            self.wfile.write({CUT: body[:half], DAMAGED: damaged}.get(fault or SLOW, body))
        self.close_connection = self.close_connection or fault == CUT


@contextmanager
def faulty_s3(target: str) -> Iterator[FaultyS3]:
    """Start a proxy of the S3 server at ``target`` on loopback, and stop it at the end."""
    with FaultyS3(target) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
