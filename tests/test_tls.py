"""TLS to Postgres and S3, configured as in docs/security.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import DatabaseUnreachableError, ObjectStoreUnreachableError
from braintumor.s3 import ObjectStore, S3Uri
from devstack.stack import Stack
from tests.sql import rows
from tests.tls import Identity, make_identity, tls_proxy

HOST = "127.0.0.1"


@pytest.fixture
def ours(tmp_path: Path) -> Identity:
    return make_identity(tmp_path / "ours", HOST)


@pytest.fixture
def foreign(tmp_path: Path) -> Identity:
    return make_identity(tmp_path / "foreign", "elsewhere.example")


@pytest.fixture
def base(stack: Stack) -> Settings:
    return Settings.from_environment(stack.library_env())


def on_port(settings: Settings, port: int, query: str) -> Settings:
    url = urlsplit(settings.require("database_url"))
    return replace(
        settings, database_url=url._replace(netloc=f"{url.username}:{url.password}@{HOST}:{port}", query=query).geturl()
    )


class TestPostgres:
    @pytest.fixture
    def port(self, stack: Stack, ours: Identity) -> Iterator[int]:
        with tls_proxy(ours, stack.postgres.port, is_postgres=True) as port:
            yield port

    def test_server_signed_by_the_ca_is_accepted(self, base: Settings, port: int, ours: Identity) -> None:
        settings = on_port(base, port, f"sslmode=verify-full&sslrootcert={ours.certificate}")
        assert rows(settings, "select 1") == [(1,)]

    def test_server_signed_by_another_ca_is_refused(self, base: Settings, port: int, foreign: Identity) -> None:
        with pytest.raises(DatabaseUnreachableError, match="certificate verify failed"):
            rows(on_port(base, port, f"sslmode=verify-full&sslrootcert={foreign.certificate}"), "select 1")

    def test_certificate_of_another_host_is_refused(self, base: Settings, stack: Stack, foreign: Identity) -> None:
        with tls_proxy(foreign, stack.postgres.port, is_postgres=True) as port:
            query = f"sslrootcert={foreign.certificate}"
            assert rows(on_port(base, port, f"sslmode=verify-ca&{query}"), "select 1") == [(1,)]
            with pytest.raises(DatabaseUnreachableError, match="does not match the host"):
                rows(on_port(base, port, f"sslmode=verify-full&{query}"), "select 1")

    def test_server_without_tls_is_refused(self, base: Settings, stack: Stack) -> None:
        with pytest.raises(DatabaseUnreachableError, match="server does not support SSL"):
            rows(on_port(base, stack.postgres.port, "sslmode=require"), "select 1")


class TestS3:
    @pytest.fixture
    def secured(self, base: Settings, ours: Identity) -> Iterator[Settings]:
        with tls_proxy(ours, int(urlsplit(base.require("s3_endpoint")).port or 0)) as port:
            yield replace(base, s3_endpoint=f"https://{HOST}:{port}")

    def test_server_signed_by_the_ca_is_accepted(
        self, secured: Settings, ours: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(ours.certificate))
        # because rclone rejects trailing checksums
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        store, address = ObjectStore.connect(secured), S3Uri.parse("s3://braintumor/tls/secret")
        store.write(address, b"encrypted in transit")
        assert store.read(address) == b"encrypted in transit"

    @pytest.mark.parametrize("with_foreign_ca", [False, True])
    def test_server_without_a_trusted_ca_is_refused(
        self, secured: Settings, foreign: Identity, monkeypatch: pytest.MonkeyPatch, with_foreign_ca: bool
    ) -> None:
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        if with_foreign_ca:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(foreign.certificate))
        with pytest.raises(ObjectStoreUnreachableError, match="SSLError"):
            ObjectStore.connect(secured).require_bucket("braintumor")
