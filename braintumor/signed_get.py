"""Read S3 objects with botocore's HTTP session and signer, without the rest of boto3.

boto3 needs twice the processor time, because it resolves the endpoint and parses the response of each request. This
module returns a response only if it is complete and passes all checks. Otherwise the caller repeats the request through
boto3, which retries the request or explains the error.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.response import StreamingBody
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_OK = 200
_CHECKSUMS: Mapping[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
}
"""Function that computes the checksum of the content, by header. boto3 checks no other checksums.

Other checksums need a package that is not installed.
"""


class SignedGet:
    """Read S3 objects with signed GET requests, at the endpoint of a boto3 client. Threads can share an instance."""

    def __init__(self, client: S3Client, credentials: Credentials) -> None:
        self._client, self._credentials = client, credentials
        config: Any = client.meta.config
        options: dict[str, Any] = {
            "verify": os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or True,
            "proxies": get_environ_proxies(client.meta.endpoint_url),
            "timeout": (config.connect_timeout, config.read_timeout),
            "max_pool_connections": config.max_pool_connections,
        }
        self._session = URLLib3Session(**options)
        self._user_agent = str(config.user_agent)
        self._address = lru_cache(maxsize=16)(self._find_address)

    def read(self, bucket: str, key: str, *, etag: str | None, max_bytes: int | None) -> bytes | None:
        """Return the bytes of an object, or ``None`` if the response is not status 200 or fails a check.

        The response must have the ETag ``etag``, and the length and checksum that its headers state. It must not be
        longer than ``max_bytes``. ``None`` for ``etag`` or ``max_bytes`` omits this check.
        """
        request = AWSRequest("GET", self._address(bucket) + quote(key, safe="/~"))
        request.headers["User-Agent"] = self._user_agent
        request.headers["x-amz-checksum-mode"] = "ENABLED"
        if etag:
            request.headers["If-Match"] = f'"{etag}"'
        request.stream_output = True  # because the length is checked before the body is read
        credentials: Any = self._credentials.get_frozen_credentials()
        try:
            S3SigV4Auth(credentials, "s3", self._client.meta.region_name).add_auth(request)
            response = self._session.send(request.prepare())
            length = int(response.headers.get("Content-Length", -1))
            is_other = etag and response.headers.get("ETag", "").strip('"') != etag
            if response.status_code != _OK or length < 0 or (max_bytes is not None and length > max_bytes) or is_other:
                response.raw.close()
                return None
            data = StreamingBody(response.raw, length).read()
        except BotoCoreError:
            return None
        return data if _has_stated_checksum(data, response.headers) else None

    def _find_address(self, bucket: str) -> str:
        """Return the URL of a bucket, with a slash at the end, as boto3 resolves it."""
        signed = self._client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        return signed.partition("?")[0].removesuffix("k")


def _has_stated_checksum(data: bytes, headers: Any) -> bool:
    """Return whether the content matches every checksum in the headers.

    A checksum with a dash is ignored, because it is that of an object that was uploaded in parts.
    """
    stated = {name: headers[name] for name in _CHECKSUMS if "-" not in headers.get(name, "-")}
    return all(b64encode(_CHECKSUMS[name](data)).decode() == value for name, value in stated.items())
