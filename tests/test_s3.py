from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import (
    BucketMissingError,
    ConfigurationError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectStoreError,
    ObjectStoreUnreachableError,
)
from braintumor.s3 import ObjectStore, S3Uri
from devstack.stack import Stack
from tests.faulty_s3 import CUT, DAMAGED, RESET, Fault, faulty_s3


@pytest.fixture
def library(stack: Stack) -> Settings:
    return Settings.from_environment(stack.library_env())


@pytest.fixture
def store(library: Settings) -> ObjectStore:
    return ObjectStore.connect(library)


@pytest.mark.parametrize("text", ["scans/", "https://bucket/key", "s3://", "s3:///key"])
def test_text_that_is_no_s3_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix/"):
        S3Uri.parse(text)


@pytest.mark.parametrize(
    "endpoint", ["http://ann:hunter2@", "ann:hunter2@127.0.0.1:9", "http://ann:hunter2@127.0.0.1:9"]
)
def test_error_shows_no_password_of_the_endpoint(library: Settings, endpoint: str) -> None:
    with pytest.raises((ConfigurationError, ObjectStoreUnreachableError)) as caught:
        list(ObjectStore.connect(replace(library, s3_endpoint=endpoint)).list(S3Uri.parse("s3://braintumor/")))
    assert "***" in str(caught.value) and "hunter2" not in str(caught.value)


def test_prefix_gets_a_final_slash() -> None:
    assert str(S3Uri.parse_prefix("s3://b/scans")) == "s3://b/scans/"
    assert str(S3Uri.parse_prefix("s3://b")) == "s3://b/"
    assert str(S3Uri.parse("s3://b/scans") / "a.png") == "s3://b/scans/a.png"


def test_listing_of_several_pages_is_complete(store: ObjectStore) -> None:
    prefix = S3Uri.parse("s3://braintumor/pages/")
    names = [f"{number:04}" for number in range(1_100)]
    assert len(list(store.concurrently(lambda name: store.write(prefix / name, b"x"), names))) == 1_100
    assert [entry.key.removeprefix("pages/") for entry in store.list(prefix)] == names


def test_read_with_etag_refuses_a_newer_version(store: ObjectStore) -> None:
    uri = S3Uri.parse("s3://braintumor/changing/a")
    store.write(uri, b"old")
    (listed,) = store.list(uri)
    assert store.read(uri, etag=listed.etag) == b"old"
    store.write(uri, b"new")
    with pytest.raises(ObjectChangedError):
        store.read(uri, etag=listed.etag)


def test_read_stops_one_byte_after_its_limit(store: ObjectStore) -> None:
    uri = S3Uri.parse("s3://braintumor/large/a")
    store.write(uri, b"x" * 100)
    assert len(store.read(uri, max_bytes=10)) == 11


@pytest.mark.parametrize("max_bytes", [None, 1_000])
@pytest.mark.parametrize("has_signed_get", [True, False])
def test_damaged_responses_are_requested_again(
    store: ObjectStore, library: Settings, max_bytes: int | None, has_signed_get: bool
) -> None:
    uri = S3Uri.parse("s3://braintumor/damaged/a")
    store.write(uri, b"x" * 1_000)
    with faulty_s3(library.require("s3_endpoint")) as proxy:
        proxied = ObjectStore.connect(replace(library, s3_endpoint=proxy.url))
        if not has_signed_get:
            proxied = ObjectStore(proxied._client, endpoint=proxy.url, credentials=None)
        proxy.passing["damaged"] = [CUT, DAMAGED]
        assert proxied.read(uri, max_bytes=max_bytes) == b"x" * 1_000
        proxy.passing["damaged"] = [DAMAGED, CUT, DAMAGED]
        with pytest.raises(ObjectStoreUnreachableError, match="FlexibleChecksumError"):
            proxied.read(uri, max_bytes=max_bytes)
        assert proxy.passing["damaged"] == []


@pytest.mark.parametrize("name", ["a b+ü.jpg", "..hidden/a=b&c", "100%25?x=1#y", "~tilde'(*)!"])
def test_usual_read_does_not_need_boto3(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    uri = S3Uri(bucket="braintumor", key=f"usual/{name}")
    store.write(uri, b"content")
    (listed,) = store.list(uri)
    monkeypatch.setattr(store, "_read_once", None)
    assert store.read(uri, etag=listed.etag, max_bytes=7) == b"content"


@pytest.mark.parametrize("fault", [CUT, DAMAGED, RESET, (503, "SlowDown"), (403, "AccessDenied"), (404, "NoSuchKey")])
def test_read_that_fails_once_is_completed_by_boto3(store: ObjectStore, library: Settings, fault: Fault) -> None:
    uri = S3Uri.parse("s3://braintumor/failing/a")
    store.write(uri, b"x" * 1_000)
    with faulty_s3(library.require("s3_endpoint")) as proxy:
        proxied = ObjectStore.connect(replace(library, s3_endpoint=proxy.url))
        proxy.passing["failing"] = [fault]
        assert proxied.read(uri) == b"x" * 1_000
        assert proxy.passing["failing"] == []


def test_missing_bucket_is_named_but_a_key_is_not(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissingError) as missing:
        store.read(S3Uri.parse("s3://braintumor/Jane_Doe"))
    assert "Doe" not in str(missing.value)
    with pytest.raises(BucketMissingError, match="'nowhere'"):
        store.require_bucket("nowhere")


def test_wrong_credentials_are_named_as_the_cause(library: Settings) -> None:
    store = ObjectStore.connect(replace(library, s3_secret_key="wrong"))
    with pytest.raises(ObjectStoreError, match="credentials"):
        store.read(S3Uri.parse("s3://braintumor/a"))


def test_failing_item_stops_concurrent_work(store: ObjectStore) -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(store.concurrently(work, range(1_000)))


@pytest.mark.parametrize(
    "wrong",
    [{"s3_endpoint": "localhost:9000"}, {"s3_secret_key": None}],
    ids=["endpoint without http", "key without secret"],
)
def test_invalid_settings_are_refused_without_secrets(library: Settings, wrong: dict[str, None]) -> None:
    with pytest.raises(ConfigurationError, match="http://host:port, and BRAINTUMOR_S3_ACCESS_KEY") as caught:
        ObjectStore.connect(replace(library, s3_access_key="the-key", **wrong))
    assert "the-key" not in str(caught.value)


def test_missing_credentials_are_a_configuration_error(
    library: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = ObjectStore.connect(replace(library, s3_access_key=None, s3_secret_key=None))
    with pytest.raises(ConfigurationError, match=r"no credentials for S3.*BRAINTUMOR_S3_ACCESS_KEY"):
        store.require_bucket("bucket")


def test_invalid_bucket_name_is_a_configuration_error(store: ObjectStore) -> None:
    with pytest.raises(ConfigurationError, match=r"'my bucket'. Correct the s3:// address"):
        store.require_bucket("my bucket")
