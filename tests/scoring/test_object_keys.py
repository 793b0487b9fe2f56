"""Test that no object key stops a run: unstorable keys are ignored and counted, the others are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri, is_usable_key, storable_key
from braintumor.scoring.job import ScoringJob, run_scoring_job
from tests.conftest import Put, printed
from tests.images import png
from tests.sql import rows

UNUSABLE = ["a\0b.png", "\0", "caf\udce9.png", "x" * 2_100 + ".png", "\ud800" * 900]


@pytest.fixture
def with_keys(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Add objects to every listing, because the tests' S3 server stores files and cannot have such names."""
    listed = ObjectStore.list

    def add(names: list[str]) -> None:
        def with_more(self: ObjectStore, prefix: S3Uri) -> Iterator[ObjectEntry]:
            entries = list(listed(self, prefix))
            yield from entries
            for name in names:
                yield replace(entries[0], key=prefix.key + name)

        monkeypatch.setattr(ObjectStore, "list", with_more)

    return add


@pytest.mark.parametrize("key", UNUSABLE)
def test_unstorable_key_gets_a_unique_storable_name(key: str) -> None:
    assert not is_usable_key(key)
    stored = storable_key(key)
    assert "\0" not in stored and len(stored.encode()) < 1_200 and "unusable key, sha256 " in stored
    assert storable_key(key + "x") != stored


@pytest.mark.parametrize("key", [r"\N", r"a\N", "Ärztin/1.png", 'a"b,c\n.png', r"\.", "x" * 1_024, "%00"])
def test_storable_key_is_stored_unchanged(key: str) -> None:
    assert is_usable_key(key) and storable_key(key) == key


@pytest.mark.parametrize("names", [[name] for name in UNUSABLE] + [UNUSABLE])
def test_objects_with_unstorable_keys_are_ignored(
    settings: Settings, put: Put, with_keys: Callable[[list[str]], None], names: list[str]
) -> None:
    put("a.png", png(seed=1))
    put("b.png", png(seed=2))
    with_keys(names)
    lines = list[str]()
    balance = run_scoring_job(settings, run_key="first", progress=lines.append)
    assert (balance.count_seen, balance.count_scored, balance.count_ignored) == (2 + len(names), 2, len(names))
    assert balance.is_balanced
    n = len(names)
    assert f"{n} ignored, 0 retried. Postgres cannot store the keys of {n} objects: rename them" in lines[1]
    assert f"{len(names)} unusable keys" in lines[-1]
    stored = {key for (key,) in rows(settings, "select key from scan_location join scan using (scan_id) "
                                     "where state = 'ignored'")}  # fmt: skip
    prefix = S3Uri.parse(settings.require("scans_uri")).key
    assert stored == {storable_key(prefix + name) for name in names}
    second = run_scoring_job(settings, run_key="second")
    assert (second.count_known, second.is_balanced) == (2 + len(names), True)
    assert rows(settings, "select count_unusable_key from scoring_run") == [(len(names),)] * 2


@pytest.mark.parametrize("name", [r"\N", r"ward\N.png", r"\.", 'a"b, c.png', "Ärztin 1.png"])
def test_strange_storable_key_is_scored_unchanged(settings: Settings, put: Put, name: str) -> None:
    put("a.png", png(seed=1))
    put(name, png(seed=2))
    assert run_scoring_job(settings, run_key="night").count_scored == 2
    found = rows(settings, "select key from scan_location order by scan_id")
    assert (settings.require("scans_uri").removeprefix("s3://braintumor/") + name,) in found
    assert rows(settings, "select count_unusable_key from scoring_run") == [(0,)]


def test_key_of_only_backslash_n_is_scored(settings: Settings) -> None:
    store = ObjectStore.connect(settings)
    bucket = settings.require("scans_uri").removeprefix("s3://braintumor/").rstrip("/")
    store.ensure_bucket(bucket)
    store.write(S3Uri(bucket=bucket, key=r"\N"), png())
    assert run_scoring_job(settings, run_key="night", scans_uri=f"s3://{bucket}/").count_scored == 1
    assert rows(settings, "select key from scan_location") == [(r"\N",)]
    assert r"key \N" in printed(settings, "scan", "show", "1", "--location").replace(":", "")


def test_litter_is_ignored_but_hidden_prefix_is_listed(settings: Settings, put: Put) -> None:
    names = ["ward/._a.png", "__MACOSX/ward/a.png", "ward/Thumbs.db", "ward/desktop.ini", ".trash/a.png"]
    for number, name in enumerate([*names, "ward/a.png"]):
        put(f".incoming/{name}", png(seed=number))
    job = ScoringJob.open(settings)
    _, found = job.begin(run_key="night", scans_uri=f"{settings.scans_uri}.incoming/")
    assert (found.count_new, found.count_unsupported) == (1, len(names))
