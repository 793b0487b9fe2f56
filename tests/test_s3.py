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
from tests.faulty_s3 import CUT, DAMAGED, faulty_s3


@pytest.fixture
def library(stack: Stack) -> Settings:
    return Settings.from_environment(stack.library_env())


@pytest.fixture
def store(library: Settings) -> ObjectStore:
    return ObjectStore.connect(library)


@pytest.mark.parametrize("text", ["scans/", "https://bucket/key", "s3://", "s3:///key"])
def test_what_is_no_s3_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix/"):
        S3Uri.parse(text)


def test_a_prefix_ends_in_a_slash() -> None:
    assert str(S3Uri.parse_prefix("s3://b/scans")) == "s3://b/scans/"
    assert str(S3Uri.parse_prefix("s3://b")) == "s3://b/"
    assert str(S3Uri.parse("s3://b/scans") / "a.png") == "s3://b/scans/a.png"


def test_a_listing_of_several_pages_is_whole(store: ObjectStore) -> None:
    prefix = S3Uri.parse("s3://braintumor/pages/")
    names = [f"{number:04}" for number in range(1_100)]
    assert len(list(store.concurrently(lambda name: store.write(prefix / name, b"x"), names))) == 1_100
    assert [entry.key.removeprefix("pages/") for entry in store.list(prefix)] == names


def test_a_read_is_of_the_version_that_was_listed(store: ObjectStore) -> None:
    uri = S3Uri.parse("s3://braintumor/changing/a")
    store.write(uri, b"old")
    (listed,) = store.list(uri)
    assert store.read(uri, etag=listed.etag) == b"old"
    store.write(uri, b"new")
    with pytest.raises(ObjectChangedError):
        store.read(uri, etag=listed.etag)


def test_a_read_stops_one_byte_past_its_limit(store: ObjectStore) -> None:
    uri = S3Uri.parse("s3://braintumor/large/a")
    store.write(uri, b"x" * 100)
    assert len(store.read(uri, max_bytes=10)) == 11


@pytest.mark.parametrize("max_bytes", [None, 1_000])
def test_bytes_that_were_damaged_on_the_way_are_asked_for_again(
    store: ObjectStore, library: Settings, max_bytes: int | None
) -> None:
    uri = S3Uri.parse("s3://braintumor/damaged/a")
    store.write(uri, b"x" * 1_000)
    with faulty_s3(library.require("s3_endpoint")) as door:
        seen = ObjectStore.connect(replace(library, s3_endpoint=door.url))
        door.passing["damaged"] = [CUT, DAMAGED]
        assert seen.read(uri, max_bytes=max_bytes) == b"x" * 1_000
        door.passing["damaged"] = [DAMAGED, CUT, DAMAGED]
        with pytest.raises(ObjectStoreUnreachableError, match="FlexibleChecksumError"):
            seen.read(uri, max_bytes=max_bytes)
        assert door.passing["damaged"] == []


def test_missing_things_are_named_but_keys_are_not(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissingError) as missing:
        store.read(S3Uri.parse("s3://braintumor/Jane_Doe"))
    assert "Doe" not in str(missing.value)
    with pytest.raises(BucketMissingError, match="'nowhere'"):
        store.require_bucket("nowhere")


def test_wrong_credentials_are_said_plainly(library: Settings) -> None:
    stranger = ObjectStore.connect(replace(library, s3_secret_key="wrong"))
    with pytest.raises(ObjectStoreError, match="credentials"):
        stranger.read(S3Uri.parse("s3://braintumor/a"))


def test_a_failing_reader_stops_the_others(store: ObjectStore) -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(store.concurrently(work, range(1_000)))


@pytest.mark.parametrize(
    "wrong",
    [{"s3_endpoint": "localhost:9000"}, {"s3_secret_key": None}],
    ids=["an endpoint without http", "a key without its secret"],
)
def test_settings_that_make_no_client_are_said_without_the_secret(library: Settings, wrong: dict[str, None]) -> None:
    with pytest.raises(ConfigurationError, match="http://host:port, and BRAINTUMOR_S3_ACCESS_KEY") as caught:
        ObjectStore.connect(replace(library, s3_access_key="the-key", **wrong))
    assert "the-key" not in str(caught.value)


def test_no_credentials_at_all_are_no_reason_to_try_again(
    library: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    nobody = ObjectStore.connect(replace(library, s3_access_key=None, s3_secret_key=None))
    with pytest.raises(ConfigurationError, match=r"no credentials for S3.*BRAINTUMOR_S3_ACCESS_KEY"):
        nobody.require_bucket("bucket")


def test_a_bucket_of_no_possible_name_is_no_reason_to_try_again(store: ObjectStore) -> None:
    with pytest.raises(ConfigurationError, match=r"'my bucket'. Correct the s3:// address"):
        store.require_bucket("my bucket")
