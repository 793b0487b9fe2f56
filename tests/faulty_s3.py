"""The real S3 server behind a door that can be told to misbehave for some objects."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

CUT = (0, "cut")
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>not today</Message></Error>"


class FaultyS3(ThreadingHTTPServer):
    """Forwards every request as it is, but answers reads or writes of some objects with an error.

    ``faults`` maps a part of the path of an object that is read to (HTTP status, S3 error code), or to ``CUT``: the
    connection breaks in the middle of the object. ``unwritable`` holds parts of the paths of objects whose upload
    breaks in the middle.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.target = urlsplit(target).netloc
        self.faults: dict[str, tuple[int, str]] = {}
        self.unwritable: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Door(BaseHTTPRequestHandler):
    server: FaultyS3
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fault = next((fault for part, fault in self.server.faults.items() if part in urlsplit(self.path).path), None)
        if fault is None or fault == CUT:
            self._forward(cut=fault == CUT)
        else:
            self._answer(fault[0], {"Content-Type": "application/xml"}, _ERROR.format(code=fault[1]).encode())

    def do_HEAD(self) -> None:
        self._forward()

    def do_PUT(self) -> None:
        if any(part in urlsplit(self.path).path for part in self.server.unwritable):
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self.close_connection = True
        else:
            self._forward()

    def log_message(self, *_: object) -> None:
        pass

    def _forward(self, *, cut: bool = False) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))  # the signed Host goes along
        answer = connection.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
        self._answer(answer.status, kept, answer.read(), cut=cut)
        connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut


@contextmanager
def faulty_s3(target: str) -> Iterator[FaultyS3]:
    """A door to the S3 server at ``target``, on loopback, shut at the end."""
    with FaultyS3(target) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
