"""No object key stops a night: what Postgres cannot store is set aside and counted, everything else is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri, is_usable_key, storable_key
from braintumor.scoring.job import ScoringJob, run_scoring_job
from tests.conftest import printed
from tests.images import png
from tests.sql import rows

Put = Callable[[str, bytes], None]
UNUSABLE = ["a\0b.png", "\0", "caf\udce9.png", "x" * 2_100 + ".png", "\ud800" * 900]


@pytest.fixture
def with_keys(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Make every listing hold further objects, because the tests' S3 server keeps files and cannot have such names."""
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
def test_a_key_that_cannot_be_stored_has_a_name_of_its_own_that_can(key: str) -> None:
    assert not is_usable_key(key)
    stored = storable_key(key)
    assert "\0" not in stored and len(stored.encode()) < 1_200 and "unusable key, sha256 " in stored
    assert storable_key(key + "x") != stored


@pytest.mark.parametrize("key", [r"\N", r"a\N", "Ärztin/1.png", 'a"b,c\n.png', r"\.", "x" * 1_024, "%00"])
def test_any_other_key_is_stored_as_it_is(key: str) -> None:
    assert is_usable_key(key) and storable_key(key) == key


@pytest.mark.parametrize("names", [[name] for name in UNUSABLE] + [UNUSABLE])
def test_objects_whose_key_cannot_be_stored_are_set_aside_and_the_night_goes_on(
    settings: Settings, put: Put, with_keys: Callable[[list[str]], None], names: list[str]
) -> None:
    put("a.png", png(seed=1))
    put("b.png", png(seed=2))
    with_keys(names)
    said = list[str]()
    balance = run_scoring_job(settings, run_key="first", progress=said.append)
    assert (balance.count_seen, balance.count_scored, balance.count_ignored) == (2 + len(names), 2, len(names))
    assert balance.is_balanced
    assert f"{len(names)} set aside because Postgres cannot store their keys" in said[1]
    assert f"{len(names)} set aside for their keys" in said[-1]
    stored = {key for (key,) in rows(settings, "select key from scan_location join scan using (scan_id) "
                                     "where state = 'ignored'")}  # fmt: skip
    prefix = S3Uri.parse(settings.require("scans_uri")).key
    assert stored == {storable_key(prefix + name) for name in names}
    second = run_scoring_job(settings, run_key="second")
    assert (second.count_known, second.is_balanced) == (2 + len(names), True)
    assert rows(settings, "select count_unusable_key from scoring_run") == [(len(names),)] * 2


@pytest.mark.parametrize("name", [r"\N", r"ward\N.png", r"\.", 'a"b, c.png', "Ärztin 1.png"])
def test_a_strange_key_that_can_be_stored_is_scored_under_its_own_name(settings: Settings, put: Put, name: str) -> None:
    put("a.png", png(seed=1))
    put(name, png(seed=2))
    assert run_scoring_job(settings, run_key="night").count_scored == 2
    found = rows(settings, "select key from scan_location order by scan_id")
    assert (settings.require("scans_uri").removeprefix("s3://braintumor/") + name,) in found
    assert rows(settings, "select count_unusable_key from scoring_run") == [(0,)]


def test_a_key_that_is_only_backslash_n_in_a_bucket_of_its_own(settings: Settings) -> None:
    store = ObjectStore.connect(settings)
    bucket = settings.require("scans_uri").removeprefix("s3://braintumor/").rstrip("/")
    store.ensure_bucket(bucket)
    store.write(S3Uri(bucket=bucket, key=r"\N"), png())
    assert run_scoring_job(settings, run_key="night", scans_uri=f"s3://{bucket}/").count_scored == 1
    assert rows(settings, "select key from scan_location") == [(r"\N",)]
    assert r"key \N" in printed(settings, "scan", "show", "1", "--location").replace(":", "")


def test_litter_is_no_scan_at_any_depth_and_a_hidden_prefix_is_a_prefix(settings: Settings, put: Put) -> None:
    names = ["ward/._a.png", "__MACOSX/ward/a.png", "ward/Thumbs.db", "ward/desktop.ini", ".trash/a.png"]
    for number, name in enumerate([*names, "ward/a.png"]):
        put(f".incoming/{name}", png(seed=number))
    night = ScoringJob.open(settings)
    _, found = night.begin(run_key="night", scans_uri=f"{settings.scans_uri}.incoming/")
    assert (found.count_new, found.count_unsupported) == (1, len(names))
