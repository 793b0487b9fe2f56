"""Test the discovery of several prefixes, and the plan that is stored before scoring."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import BucketMissingError, ConfigurationError, UnbalancedRunError
from braintumor.s3 import ObjectStore
from braintumor.scoring.discovery import Discovery
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.prefixes import ScanPrefixes
from tests.conftest import Put, invoke, printed
from tests.images import png
from tests.runs import remove, states
from tests.sql import change, rows

PLAN = "select count_new, count_changed, count_unsupported, count_retried from scoring_run order by scoring_run_id"


class TestPrefixes:
    def test_order_does_not_change_the_text(self) -> None:
        one = ScanPrefixes.parse("s3://ward/b/, s3://archive,s3://ward/a,b/")
        assert str(one) == "s3://archive/,s3://ward/a,b/,s3://ward/b/"
        assert ScanPrefixes.parse(str(one)) == one == ScanPrefixes.parse("s3://ward/a,b/,s3://archive/,s3://ward/b/,")
        assert [uri.bucket for uri in one] == ["archive", "ward", "ward"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("s3://ward/scans", "Write 's3://ward/scans/'"),
            ("s3://ward/a/,s3://ward/b", "Write 's3://ward/b/'"),
            ("s3://ward/b/a/,s3://ward/b/", "s3://ward/b/a/ is within s3://ward/b/"),
            ("s3://ward/b/,s3://ward/b/", "is within"),
            ("s3://ward/b/,s3://other/,s3://ward/", "s3://ward/b/ is within s3://ward/"),
            ("ward/b/", "looks like s3://bucket/prefix/"),
            ("", "looks like s3://bucket/prefix/"),
        ],
    )
    def test_nested_equal_or_invalid_prefixes_are_refused(self, text: str, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            ScanPrefixes.parse(text)

    def test_without_trailing_slash_open_no_run(self, settings: Settings) -> None:
        with pytest.raises(ConfigurationError, match="must end with '/'"):
            run_scoring_job(settings, run_key="night", scans_uri=settings.require("scans_uri")[:-1])
        assert rows(settings, "select * from scoring_run") == []


class TestOverlappingPrefixes:
    SETTINGS = Settings(
        dataset_uri="s3://ward/dataset/", models_uri="s3://models/all/", weights_uri="s3://ward/mirror/weights"
    )

    @pytest.mark.parametrize(
        ("scans", "name"),
        [
            ("s3://ward/", "BRAINTUMOR_DATASET_URI"),
            ("s3://ward/dataset/", "BRAINTUMOR_DATASET_URI"),
            ("s3://ward/dataset/new/", "BRAINTUMOR_DATASET_URI"),
            ("s3://ward/scans/,s3://models/", "BRAINTUMOR_MODELS_URI"),
            ("s3://models/all/runs/", "BRAINTUMOR_MODELS_URI"),
            ("s3://ward/mirror/", "BRAINTUMOR_WEIGHTS_URI"),
        ],
    )
    def test_are_refused_as_a_part_or_as_a_whole(self, scans: str, name: str) -> None:
        with pytest.raises(ConfigurationError, match=rf"overlaps {name} .*its own prefix or bucket"):
            ScanPrefixes.parse(scans).require_apart(self.SETTINGS)

    @pytest.mark.parametrize("scans", ["s3://ward/scans/", "s3://ward/dataset_new/", "s3://other/", "s3://models/al/"])
    def test_next_to_them_are_allowed(self, scans: str) -> None:
        ScanPrefixes.parse(scans).require_apart(self.SETTINGS)

    def test_a_folder_of_weights_overlaps_nothing(self) -> None:
        ScanPrefixes.parse("s3://ward/").require_apart(Settings(weights_uri="/mirror/weights"))

    @pytest.mark.parametrize("scans", ["s3://braintumor/", "s3://braintumor/dataset/", "s3://braintumor/models/runs/"])
    def test_open_no_run_and_read_nothing(self, settings: Settings, scans: str) -> None:
        with pytest.raises(ConfigurationError, match="overlaps BRAINTUMOR_"):
            run_scoring_job(settings, run_key="night", scans_uri=scans)
        with pytest.raises(ConfigurationError, match="overlaps BRAINTUMOR_"):
            run_scoring_job(replace(settings, scans_uri=scans), run_key="night")
        assert rows(settings, "select * from scoring_run") == []


@pytest.fixture
def two(settings: Settings) -> Settings:
    """Settings with scans in a prefix of one bucket and in a whole second bucket."""
    bucket = f"ward-{uuid.uuid4().hex}"
    ObjectStore.connect(settings).ensure_bucket(bucket)
    return replace(settings, scans_uri=f"{settings.scans_uri}one/,s3://{bucket}/")


def put_each(two: Settings, name: str, data: bytes) -> None:
    for prefix in ScanPrefixes.parse(two.require("scans_uri")):
        ObjectStore.connect(two).write(prefix / name, data)


class TestRunOfTwoBuckets:
    def test_scores_the_same_key_in_both_and_balances(self, two: Settings, put: Put) -> None:
        put_each(two, "a.png", png(seed=1))
        put("other/b.png", png(seed=2))
        balance = run_scoring_job(two, run_key="first")
        assert (balance.count_seen, balance.count_scored) == (2, 2)
        assert run_scoring_job(two, run_key="second").count_known == 2
        ((stored,),) = rows(two, "select distinct scans_uri from scoring_run")
        assert stored == str(ScanPrefixes.parse(two.require("scans_uri")))
        change(two, "delete from prediction where scan_id = (select max(scan_id) from prediction)")
        with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
            run_scoring_job(two, run_key="third")

    def test_supersedes_vanished_scans_of_its_prefixes_only(self, settings: Settings, two: Settings, put: Put) -> None:
        put_each(two, "a.png", png(seed=1))
        put("other/b.png", png(seed=2))
        job = ScoringJob.open(two)
        parts = [str(uri) for uri in ScanPrefixes.parse(two.require("scans_uri"))]
        job.begin(run_key="dead", scans_uri=f"{two.scans_uri},{settings.scans_uri}other/")
        for part in parts:
            remove(replace(two, scans_uri=part), "a.png")
        remove(settings, "other/b.png")
        assert run_scoring_job(two, run_key="next").count_seen == 0
        assert sorted(states(two)) == ["pending", "superseded", "superseded"]

    def test_writes_nothing_when_one_bucket_is_missing(self, two: Settings) -> None:
        put_each(two, "a.png", png(seed=1))
        with pytest.raises(BucketMissingError, match="'nowhere'"):
            run_scoring_job(two, run_key="night", scans_uri=f"{two.scans_uri},s3://nowhere/")
        assert rows(two, "select * from scan") == []

    def test_is_accepted_by_the_command_which_creates_buckets(self, two: Settings) -> None:
        put_each(two, "a.png", png(seed=1))
        done = invoke(two, "score", "--json", two.require("scans_uri"))
        assert done.exit_code == 0 and json.loads(done.stdout)["count_scored"] == 2
        assert "2 objects seen: 2 new, 0 changed, 0 ignored, 0 retried; scoring with" in done.stderr
        made = f"fresh-{uuid.uuid4().hex}"
        more = replace(two, scans_uri=f"{two.scans_uri},s3://{made}/")
        assert f"created: bucket {made}" in printed(more, "dev", "create-bucket")


class TestPlan:
    def test_is_stored_before_scoring_with_counts_by_kind(self, settings: Settings, put: Put) -> None:
        for name in ("known.png", "overwritten.png", "waits.png"):
            put(name, png(seed=len(name)))
        put("folder/.DS_Store", b"litter")
        job = ScoringJob.open(settings)
        run, first = job.begin(run_key="first")
        assert str(first) == "4 objects seen: 3 new, 0 changed, 1 ignored, 0 retried"
        (chunk,) = job.plan(run.scoring_run_id)
        change(settings, "update scan set chunk_number = null where scan_id = "
               "(select scan_id from scan_location where key like '%waits.png')")  # fmt: skip
        job.score(run.scoring_run_id, chunk)
        put("overwritten.png", png(seed=77))
        put("new.png", png(seed=78))
        _, second = job.begin(run_key="second")
        assert second == Discovery(count_seen=5, count_new=1, count_changed=1, count_unsupported=0, count_retried=1)
        assert rows(settings, PLAN) == [(3, 0, 1, 0), (1, 1, 0, 1)]
        assert job.begin(run_key="second")[1] == second

    def test_counts_refused_requeued_and_returned_as_retried(self, settings: Settings, put: Put) -> None:
        put("words.txt", b"words")
        put("a.png", png(seed=1))
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="first")
        (chunk,) = job.plan(run.scoring_run_id)
        put("a.png", png(seed=2))
        assert job.score(run.scoring_run_id, chunk) == {"rejected": 1, "superseded": 1}
        put("a.png", png(seed=1))
        printed(settings, "scan", "requeue", "--reason", "unsupported_format")
        _, second = job.begin(run_key="second")
        assert second == Discovery(count_seen=2, count_new=0, count_changed=0, count_unsupported=0, count_retried=2)

    def test_excludes_scans_leased_by_another_run(self, settings: Settings, put: Put) -> None:
        from braintumor.scoring.lease import claim

        put("a.png", png())
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="first")
        (chunk,) = job.plan(run.scoring_run_id)
        assert claim(job.engine, run, chunk) is not None
        assert job.begin(run_key="second")[1].count_retried == 0

    def test_is_in_the_run_report(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        put(".DS_Store", b"litter")
        lines = list[str]()
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="night")
        for chunk in job.plan(run.scoring_run_id):
            job.score(run.scoring_run_id, chunk)
        job.reconcile(run.scoring_run_id, progress=lines.append)
        assert "Planned: 1 new, 0 changed, 1 ignored, 0 retried" in lines[0]
        assert "got 1 (too few days" in lines[0]
