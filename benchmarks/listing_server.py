"""Serve S3 listings only: any number of keys, page by page, without keeping them in memory.

::

    python -m benchmarks.listing_server 1000000       # prints its address
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_PAGE = 1_000
"""Number of keys on a page of a listing, which is the maximum of S3."""


class ListingServer(ThreadingHTTPServer):
    """A server where every prefix of every bucket holds the same ``count`` keys."""

    daemon_threads = True

    def __init__(self, count: int) -> None:
        super().__init__(("127.0.0.1", 0), _Lister)
        self.count = count


@contextmanager
def listing_server(count: int) -> Iterator[str]:
    """Run a ``ListingServer`` with ``count`` keys in its own process, and yield its address."""
    command = [sys.executable, "-m", "benchmarks.listing_server", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


class _Lister(BaseHTTPRequestHandler):
    server: ListingServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # sends headers and page in as few packets as possible

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        page = self._page(asked.get("prefix", ""), int(asked.get("continuation-token", 0))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass

    def _page(self, prefix: str, start: int) -> str:
        end = min(start + _PAGE, self.server.count)
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < self.server.count else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>b</Name><Prefix>{prefix}</Prefix><KeyCount>{end - start}</KeyCount><MaxKeys>{_PAGE}</MaxKeys>"
            f"<EncodingType>url</EncodingType><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}"
            + "".join(_item(prefix, number) for number in range(start, end))
            + "</ListBucketResult>"
        )


def _item(prefix: str, number: int) -> str:
    """Return the XML of one object, with the key length and fields of a real listing. A study has 200 objects."""
    return (
        f"<Contents><Key>{prefix}2026/study-{number // 200:06d}/series-{number // 40 % 5}/{number:09d}.dcm</Key>"
        f"<LastModified>2026-03-{1 + number % 28:02d}T02:{number % 60:02d}:07.000Z</LastModified>"
        f"<ETag>&quot;{number * 2654435761 % 2**64:032x}&quot;</ETag><Size>{200_000 + number % 5_000}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


if __name__ == "__main__":
    with ListingServer(int(sys.argv[1])) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
