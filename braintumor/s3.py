"""Access S3 through boto3: streamed listings, conditional reads, atomic writes.

>>> store = ObjectStore.connect(Settings.from_environment())
>>> for entry in store.list(S3Uri.parse("s3://hospital/scans/")): ...
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ResponseStreamingError,
)

from braintumor.config.redaction import endpoint_of
from braintumor.config.settings import Settings
from braintumor.errors import (
    BucketMissingError,
    ConfigurationError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectRefusedError,
    ObjectStoreError,
    ObjectStoreUnreachableError,
)
from braintumor.signed_get import SignedGet

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READERS = 8
"""Number of concurrent requests of one process. Eight hide the time of a round trip and do not overload a server."""

_CALLER_ERRORS = {
    "AccountProblem", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId",
    "InvalidSecurity", "InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
"""Error codes about credentials or the clock, which affect every object."""
_CHANGED = {"PreconditionFailed", "412"}
_TRANSFER_ERRORS = (FlexibleChecksumError, IncompleteReadError, ResponseStreamingError)
_ATTEMPTS = 3
"""Number of attempts to read an object. boto3 retries a request three times, but not after the response has begun."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class S3Uri:
    """An S3 address. It has a bucket, and a key or a prefix of keys."""

    bucket: str
    key: str

    @staticmethod
    def is_meant_by(text: str) -> bool:
        """Return whether a text is an S3 address, not a local folder."""
        return text.startswith("s3://")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that a text such as ``s3://bucket/some/key`` states.

        Raises:
            ConfigurationError: the text has no scheme ``s3://`` or no bucket.
        """
        scheme, _, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise ConfigurationError(f"An S3 address looks like s3://bucket/prefix/. Received: {text!r}. Correct it.")
        return cls(bucket=bucket, key=key)

    @classmethod
    def parse_prefix(cls, text: str) -> Self:
        """Return the prefix that a text states, with a final slash, so that ``scans`` does not match ``scans_old``."""
        uri = cls.parse(text)
        return uri if not uri.key or uri.key.endswith("/") else uri / ""

    def __truediv__(self, name: str) -> Self:
        """Return the address of ``name`` under this prefix."""
        base = self.key if not self.key or self.key.endswith("/") else f"{self.key}/"
        return type(self)(bucket=self.bucket, key=base + name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


LONGEST_KEY = 2_000
"""Longest usable key in bytes. S3 allows 1,024. An index row of Postgres holds 2,704, including bucket and etag."""


def is_usable_key(key: str) -> bool:
    """Return whether Postgres can store a key. The key must have no NUL, be valid UTF-8, and not be too long."""
    try:
        return "\0" not in key and len(key.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:
        return False


def storable_key(key: str) -> str:
    """Return a key in a form that Postgres can store.

    A usable key is returned unchanged. An unusable key is percent-encoded and cut to 1,000 characters. The sha256 of
    the whole key follows.
    """
    if is_usable_key(key):
        return key
    data = key.encode(errors="surrogatepass")
    return f"{quote(data)[:1000]} (unusable key, sha256 {sha256(data).hexdigest()})"


@dataclass(frozen=True, kw_only=True)
class ObjectEntry:
    """One object of a listing. ``etag`` has no quotes, and ``size`` is in bytes."""

    bucket: str
    key: str
    etag: str
    size: int
    modified_at: datetime


class ObjectStore:
    """A client for S3. Threads can share a client, processes cannot."""

    def __init__(self, client: S3Client, *, endpoint: str, credentials: Credentials | None) -> None:
        self._client = client
        self._endpoint = endpoint
        self._signed_get = None if credentials is None else SignedGet(client, credentials)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Return a client for the endpoint of the settings, without sending a request.

        Raises:
            ConfigurationError: the endpoint is invalid, or the settings have only one of access key and secret key.
        """
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 3},
            max_pool_connections=2 * _READERS,
            s3={"addressing_style": "path"} if settings.s3_endpoint else {},
        )
        try:
            client = boto3.client(
                "s3",
                endpoint_url=settings.s3_endpoint,
                aws_access_key_id=settings.s3_access_key,
                aws_secret_access_key=settings.s3_secret_key,
                region_name=settings.s3_region,
                config=config,
            )
        except (ValueError, BotoCoreError) as exc:
            raise ConfigurationError(
                f"The S3 settings are invalid ({type(exc).__name__}). BRAINTUMOR_S3_ENDPOINT must look like "
                "http://host:port, and BRAINTUMOR_S3_ACCESS_KEY and BRAINTUMOR_S3_SECRET_KEY are both set or both "
                f"unset. Received the endpoint {endpoint_of(settings)!r}. Correct these settings."
            ) from None
        key, secret = settings.s3_access_key, settings.s3_secret_key
        session = boto3.DEFAULT_SESSION  # boto3.client created it
        found = session.get_credentials() if session is not None else None
        credentials = Credentials(key, secret) if key and secret else found
        return cls(client, endpoint=endpoint_of(settings), credentials=credentials)

    def list(self, prefix: S3Uri) -> Iterator[ObjectEntry]:
        """Yield every object under a prefix in key order. Only one page of the listing is in memory.

        Raises:
            BucketMissingError: there is no such bucket.
            ObjectStoreUnreachableError: the endpoint sends no usable response.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key)
        with self._translated(prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    yield ObjectEntry(
                        bucket=prefix.bucket,
                        key=item["Key"],
                        etag=item["ETag"].strip('"'),
                        size=item["Size"],
                        modified_at=item["LastModified"],
                    )

    def read(self, uri: S3Uri, *, etag: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return the bytes of an object.

        If a response breaks off or fails its checksum, the method requests the object again. It tries three times in
        all. The first attempt is with ``SignedGet`` if there are credentials. All others are through boto3.

        Args:
            uri: the object.
            etag: ETag of the version to read, or ``None`` for any version. The ETag of the response is compared too,
                because some servers ignore If-Match.
            max_bytes: size limit. For a larger object, the result has ``max_bytes`` + 1 bytes, so that the caller
                notices the excess.

        Raises:
            ObjectChangedError: the object is not the version ``etag`` any more.
            ObjectMissingError: there is no such key.
            ObjectRefusedError: S3 refuses this one object.
            ObjectStoreUnreachableError: S3 sends no usable response, or all attempts broke off.
        """
        with self._translated(uri):
            left = _ATTEMPTS
            if self._signed_get is not None:
                data = self._signed_get.read(uri.bucket, uri.key, etag=etag, max_bytes=max_bytes)
                if data is not None:
                    return data
                left -= 1
            for _ in range(left - 1):
                with suppress(*_TRANSFER_ERRORS):
                    return self._read_once(uri, etag, max_bytes)
            return self._read_once(uri, etag, max_bytes)

    def _read_once(self, uri: S3Uri, etag: str | None, max_bytes: int | None) -> bytes:
        condition = {"IfMatch": f'"{etag}"'} if etag else {}
        response = self._client.get_object(Bucket=uri.bucket, Key=uri.key, **condition)  # type: ignore[arg-type]
        with closing(response["Body"]) as body:  # not `with body`, because that skips the checksum
            if etag and response["ETag"].strip('"') != etag:
                raise ObjectChangedError(f"The object changed since it was listed as etag {etag}.")
            if max_bytes is None:
                return body.read()
            data = body.read(max_bytes + 1)
            if len(data) <= max_bytes:
                body.read(1)  # because boto3 compares length and checksum at the end
            return data

    def write(
        self, uri: S3Uri, data: bytes, *, content_type: str = "application/octet-stream", sha256: str = ""
    ) -> None:
        """Write an object atomically. ``sha256`` is stored with it for ``stored_sha256``."""
        about: Any = {"ContentType": content_type, "Metadata": {"sha256": sha256} if sha256 else {}}
        with self._translated(uri):
            self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=data, **about)

    def stored_sha256(self, uri: S3Uri) -> str | None:
        """Return the hex sha256 that the writer of an object stored with it, or ``None``."""
        with self._translated(uri):
            metadata = self._client.head_object(Bucket=uri.bucket, Key=uri.key)["Metadata"]
        return {name.lower(): value for name, value in metadata.items()}.get("sha256")  # some servers write Sha256

    def delete(self, uris: Iterable[S3Uri]) -> int:
        """Delete objects and return their number. A missing object is not an error."""

        def remove(uri: S3Uri) -> None:
            with self._translated(uri):
                self._client.delete_object(Bucket=uri.bucket, Key=uri.key)

        return sum(1 for _ in self.concurrently(remove, uris))

    def upload_folder(self, folder: Path, prefix: S3Uri) -> dict[str, str]:
        """Upload every file below ``folder`` to ``prefix``, and return the sha256 of each file by relative path."""
        files = sorted(p for p in folder.rglob("*") if p.is_file())

        def put(path: Path) -> tuple[str, str]:
            name, data = path.relative_to(folder).as_posix(), path.read_bytes()
            self.write(prefix / name, data)
            return name, sha256(data).hexdigest()

        return dict(self.concurrently(put, files))

    def ensure_bucket(self, bucket: str) -> bool:
        """Create the bucket if it is missing. Return whether the bucket was missing."""
        try:
            self.require_bucket(bucket)
        except BucketMissingError:
            region = self._client.meta.region_name
            options: Any = (
                {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            )
            with self._translated(S3Uri(bucket=bucket, key="")):
                self._client.create_bucket(Bucket=bucket, **options)
            return True
        return False

    def require_bucket(self, bucket: str) -> None:
        """Check that a bucket exists.

        Raises:
            BucketMissingError: there is no such bucket.
        """
        with self._translated(S3Uri(bucket=bucket, key="")):
            self._client.head_bucket(Bucket=bucket)

    def date(self, bucket: str) -> datetime:
        """Return the server's time, to the second, from the Date header of any response.

        Raises:
            ObjectStoreUnreachableError: the endpoint sends no usable response, or no date.
        """
        with self._translated(S3Uri(bucket=bucket, key="")):
            try:
                response: Any = self._client.head_bucket(Bucket=bucket)
            except ClientError as exc:
                response = exc.response
        date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date is None:
            raise ObjectStoreUnreachableError(f"The response of {self._endpoint} has no date. Check that it is S3.")
        return parsedate_to_datetime(date)

    def honors_if_match(self, uri: S3Uri) -> bool:
        """Return whether the server refuses a read with a wrong etag. ``uri`` is an existing object."""
        with self._translated(uri):
            try:
                self._client.get_object(Bucket=uri.bucket, Key=uri.key, IfMatch=f'"{"0" * 32}"')["Body"].close()
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") in _CHANGED:
                    return True
                raise
        return False

    def concurrently(self, work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
        """Yield ``work(item)`` for each item in the order of the items, computed in threads.

        At most 16 items are taken from ``items`` ahead of the yielded result. After a timeout or Ctrl-C, the method
        does not wait for its threads, because a slow item can take minutes.
        """
        source = iter(items)
        pool = ThreadPoolExecutor(_READERS)

        def begin(item: T) -> Future[R]:
            return pool.submit(copy_context().run, work, item)  # so that the caller's log fields apply in the thread

        is_interrupted = False
        try:
            waiting = [begin(item) for item in islice(source, 2 * _READERS)]
            while waiting:
                yield waiting.pop(0).result()
                waiting.extend(begin(item) for item in islice(source, 1))
        except BaseException as error:
            is_interrupted = not isinstance(error, Exception | GeneratorExit)
            raise
        finally:
            pool.shutdown(wait=not is_interrupted, cancel_futures=True)

    @contextmanager
    def _translated(self, uri: S3Uri) -> Iterator[None]:
        """Translate boto3's errors in the ``with`` block to errors of the module ``errors`` (context manager).

        The messages name only the bucket, because keys can identify patients.
        """
        try:
            yield
        except ClientError as exc:
            raise self._client_error(exc, uri) from None
        except (NoCredentialsError, PartialCredentialsError) as exc:
            raise ConfigurationError(
                f"There are no credentials for S3 at {self._endpoint} ({type(exc).__name__}). Set "
                "BRAINTUMOR_S3_ACCESS_KEY and BRAINTUMOR_S3_SECRET_KEY, or the Airflow connection braintumor_s3."
            ) from None
        except ParamValidationError:
            raise ConfigurationError(
                f"S3 does not accept the address in bucket {uri.bucket!r}. Correct the s3:// address."
            ) from None
        except BotoCoreError as exc:
            raise ObjectStoreUnreachableError(
                f"No usable answer from the S3 endpoint {self._endpoint} ({type(exc).__name__}). "
                "Check that it runs and that BRAINTUMOR_S3_ENDPOINT or the Airflow connection braintumor_s3 names it."
            ) from None

    def _client_error(self, exc: ClientError, uri: S3Uri) -> ObjectStoreError:
        error = exc.response.get("Error", {})
        code, status = error.get("Code", ""), exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "NoSuchBucket" or (not uri.key and status == 404):  # noqa: PLR2004
            return BucketMissingError(
                f"Bucket {uri.bucket!r} does not exist at {self._endpoint}. Create it, or correct the s3:// address."
            )
        if code in {"NoSuchKey", "404"}:
            return ObjectMissingError(f"The object is not in bucket {uri.bucket!r} any more.")
        if code in _CHANGED:
            return ObjectChangedError("The object changed since it was listed.")
        if status is not None and (status >= 500 or status == 429):  # noqa: PLR2004
            return ObjectStoreUnreachableError(f"S3 at {self._endpoint} answered {status} {code}. Try again later.")
        is_object_error = exc.operation_name in {"GetObject", "HeadObject"} and code not in _CALLER_ERRORS
        return (ObjectRefusedError if is_object_error else ObjectStoreError)(
            f"S3 at {self._endpoint} refused {exc.operation_name} on bucket {uri.bucket!r}: {status} {code}. "
            "Check the credentials and their policy."
        )
