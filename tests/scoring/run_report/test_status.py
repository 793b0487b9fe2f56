"""Test the run report: its level and its reasons."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import replace
from math import log
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import (
    BucketMissingError,
    ConfigurationError,
    RedRunError,
    RunReportRulesError,
    UnbalancedRunError,
)
from braintumor.evaluation.report.index_page import Reader, overview_page
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.reports.paths import RUN_STATUS, run_page
from braintumor.s3 import ObjectStore
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.run_report.page import SHOWN_SCANS
from braintumor.scoring.run_report.rules import RunReportRules
from tests.conftest import Put, invoke
from tests.images import png
from tests.runs import add_past_runs
from tests.sql import change, rows

SUMMARY = "select level::text, count_arrived, count_expected, reasons from scoring_run_summary order by scoring_run_id"


def test_usual_run_is_green_and_its_report_has_no_key(settings: Settings, put: Put) -> None:
    put("Jane_Doe.png", png())
    job, lines = ScoringJob.open(settings), list[str]()
    run, _ = job.begin(run_key="night")
    for chunk in job.plan(run.scoring_run_id):
        job.score(run.scoring_run_id, chunk)
    balance = job.reconcile(run.scoring_run_id, progress=lines.append, reports_url="/braintumor/reports")
    page = ObjectStore.connect(settings).read(run_page(settings, "night", RUN_STATUS)).decode()
    ((answer,),) = rows(settings, "select predicted_class::text from prediction")
    for words in (str(balance), run.model.model_name, f"{answer} 1", "too few days"):
        assert words in page and words in lines[0]
    assert "GREEN" in lines[0] and "/runs/night/morning.html" in lines[0]
    assert "Doe" not in page + lines[0]
    assert page.count("<section") == page.count("</section>") == 4
    assert not re.search(r"{{|{%|src=", page)
    assert "Rejected scans" not in page and "The run needs no attention" in page
    assert rows(settings, SUMMARY) == [("green", 1, None, [])]
    assert '<a href="runs/night/morning.html">' in overview_page(job.engine, Reader(sees_scoring=True))


def test_command_of_a_red_or_unbalanced_run_exits_with_one(
    settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_past_runs(settings, dict.fromkeys(range(1, 8), 140))
    red = invoke(settings, "score")
    assert red.exit_code == 1 and "What to do: docs/runbook.md#nothing_arrived." in red.stderr
    put("a.png", png())
    monkeypatch.setattr(ScoringJob, "score", lambda *_: {})
    unbalanced = invoke(settings, "score")
    assert unbalanced.exit_code == 1 and "1 UNACCOUNTED" in unbalanced.stderr
    assert "Traceback" not in red.stderr + unbalanced.stderr and red.stdout + unbalanced.stdout == ""


def test_red_report_names_rejected_scans_and_links(settings: Settings, put: Put) -> None:
    run_scoring_job(settings, run_key="before")
    for number in range(SHOWN_SCANS + 2):
        put(f"Jane_Doe{number}.png", b"no image %d" % number)
    lines, key = list[str](), "nightly_scoring manual__2026-11-29T01:00:00+00:00"
    with pytest.raises(RedRunError):
        run_scoring_job(settings, run_key=key, progress=lines.append)
    page, address = read_page(settings, key), str(run_page(settings, key, RUN_STATUS))
    named = rows(settings, "select scan_id from page_scan where page_uri = :page order by 1", page=address)
    scans = ", ".join(str(scan_id) for (scan_id,) in named) + " and 2 more"
    assert len(named) == SHOWN_SCANS, "an erasure finds the page by these rows"
    assert f'<td class="reason">{scans}</td>' in page
    assert f"unsupported_format: 22 (scans {scans}). {RejectionReason.UNSUPPORTED_FORMAT.remedy}" in lines[-1]
    assert set(re.findall(r'href="([^"]+)"', page)) == {
        "../../",
        "../../../../dags/nightly_scoring/runs/manual__2026-11-29T01%3A00%3A00%2B00%3A00",
        f"../../model/{ScoringJob.open(settings).begin(run_key=key)[0].model.model_name}/report.html",
        "../../runs/before/morning.html",
        "../../docs/runbook.md#rejections_high",
    }
    assert "Doe" not in page + lines[-1]


def read_page(settings: Settings, key: str) -> str:
    return ObjectStore.connect(settings).read(run_page(settings, key, RUN_STATUS)).decode()


def test_title_has_local_time_and_level_in_words(settings: Settings, put: Put) -> None:
    for number in range(9):
        put(f"{number}.png", b"no image %d" % number)
    run_scoring_job(replace(settings, timezone="Asia/Kolkata"), run_key="night")
    ((started,),) = rows(settings, "select started_at from scoring_run")
    page = read_page(settings, "night")
    assert f"{started.astimezone(ZoneInfo('Asia/Kolkata')):%Y-%m-%d %H:%M} IST: AMBER</title>" in page
    assert '<span class="badge amber">! amber</span>' in page and "badge red" not in page


def test_missing_bucket_opens_no_run(settings: Settings) -> None:
    with pytest.raises(BucketMissingError):
        run_scoring_job(settings, run_key="night", scans_uri="s3://no-such-bucket/scans/")
    assert rows(settings, "select count(*) from scoring_run") == [(0,)]


def test_nothing_new_on_the_same_day_is_not_red(settings: Settings, put: Put) -> None:
    add_past_runs(settings, dict.fromkeys(range(1, 8), 1))
    put("a.png", png())
    run_scoring_job(settings, run_key="first")
    run_scoring_job(settings, run_key="again")
    assert rows(settings, SUMMARY) == [("green", 1, 1, [])] * 2


def test_no_arrivals_despite_expected_ones_is_red(settings: Settings) -> None:
    add_past_runs(settings, dict.fromkeys(range(1, 8), 140))
    with pytest.raises(RedRunError, match="Expected about 140, got 0"):
        run_scoring_job(settings, run_key="night")
    assert rows(settings, SUMMARY) == [("red", 0, 140, ["Expected about 140, got 0."])]


def test_no_arrivals_as_a_week_ago_is_amber(settings: Settings) -> None:
    add_past_runs(settings, {**dict.fromkeys(range(1, 7), 140), 7: 0})
    run_scoring_job(settings, run_key="sunday")
    assert rows(settings, SUMMARY)[0][0] == "amber"


def test_four_days_give_no_expected_arrivals(settings: Settings) -> None:
    add_past_runs(settings, dict.fromkeys(range(1, 5), 140))
    run_scoring_job(settings, run_key="night")
    assert rows(settings, SUMMARY) == [("green", 0, None, [])]


@pytest.mark.parametrize(("timezone", "level"), [("Europe/Berlin", "red"), ("UTC", "green")])
def test_two_runs_on_one_utc_day_are_two_local_days(settings: Settings, timezone: str, level: str) -> None:
    """Summer time began in Berlin on 29 March 2026: 01:00 of that day and of the next are both on the 29th in UTC."""
    add_past_runs(settings, dict.fromkeys(range(1, 9), 140))
    job = ScoringJob.open(replace(settings, timezone=timezone))
    run, _ = job.begin(run_key="night")
    job.plan(run.scoring_run_id)
    change(
        settings,
        """
        update scoring_run
        set started_at = (timestamp '2026-03-30 01:00' - make_interval(days => days_ago)) at time zone 'Europe/Berlin'
        from (
            select run_key, coalesce(substring(run_key from 'past (.*)')::integer, 0) as days_ago from scoring_run
        ) as past
        where past.run_key = scoring_run.run_key""",
    )
    with pytest.raises(RedRunError) if level == "red" else nullcontext():
        job.reconcile(run.scoring_run_id)
    assert rows(settings, SUMMARY)[0][0] == level


def test_unknown_timezone_fails_before_the_run(settings: Settings) -> None:
    for name in ("Europe/Nowhere", "../etc", "Europe"):
        with pytest.raises(ConfigurationError, match="BRAINTUMOR_TIMEZONE must be"):
            ScoringJob.open(replace(settings, timezone=name))


def test_far_fewer_than_expected_is_amber(settings: Settings, put: Put) -> None:
    add_past_runs(settings, dict.fromkeys(range(1, 8), 140))
    put("a.png", png())
    run_scoring_job(settings, run_key="night")
    assert rows(settings, SUMMARY) == [("amber", 1, 140, ["Expected about 140, got 1."])]


@pytest.mark.parametrize(("count", "level"), [(9, "amber"), (10, "red")])
def test_many_rejections_are_red_from_the_bound_on(settings: Settings, put: Put, count: int, level: str) -> None:
    for number in range(count):
        put(f"{number}.png", b"no image %d" % number)
    if level == "red":
        with pytest.raises(RedRunError, match="10 of 10 scans were rejected"):
            run_scoring_job(settings, run_key="night")
    else:
        run_scoring_job(settings, run_key="night")
    assert rows(settings, SUMMARY)[0][0] == level
    assert rows(settings, "select count(*) from rejection") == [(count,)]


def test_deleted_prediction_makes_the_report_red(settings: Settings, put: Put) -> None:
    put("a.png", png())
    run_scoring_job(settings, run_key="night")
    change(settings, "delete from prediction")
    lines: list[str] = []
    with pytest.raises(UnbalancedRunError):
        ScoringJob.open(settings).reconcile(1, progress=lines.append)
    assert "RED" in lines[0] and "UNACCOUNTED" in lines[0]
    assert rows(settings, SUMMARY)[0][0] == "red"


def stability_index(settings: Settings, reference: dict[str, int], observed: dict[str, int]) -> float | None:
    sql = "select stability_index(cast(:reference as jsonb), cast(:observed as jsonb))"
    ((index,),) = rows(settings, sql, reference=json.dumps(reference), observed=json.dumps(observed))
    return None if index is None else float(index)


def test_stability_index_of_known_mixes(empty_settings: Settings) -> None:
    even = {"glioma": 50, "normal": 50}
    assert stability_index(empty_settings, even, even) == 0
    assert stability_index(empty_settings, even, {"glioma": 500, "normal": 500}) == pytest.approx(0, abs=1e-4)
    share = 90.5 / 101  # half a count more in each of the two bins
    expected = (share - 0.5) * log(share / 0.5) + (0.5 - share) * log((1 - share) / 0.5)
    assert stability_index(empty_settings, even, {"glioma": 90, "normal": 10}) == pytest.approx(expected)
    assert (stability_index(empty_settings, even, {"glioma": 100}) or 0) > 0.25
    assert stability_index(empty_settings, {}, even) is None


def test_rule_file_with_a_missing_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("version = 1\n", encoding="utf-8")
    with pytest.raises(RunReportRulesError, match="missing key 'red_rejection_share'"):
        RunReportRules.load(tmp_path / "rules.toml")


def test_invalid_rule_file_fails_before_the_run(settings: Settings, put: Put, tmp_path: Path) -> None:
    put("a.png", png())
    (tmp_path / "rules.toml").write_text("version = 1\n", encoding="utf-8")
    with pytest.raises(RunReportRulesError, match=re.escape(str(tmp_path))):
        run_scoring_job(replace(settings, run_report_rules=str(tmp_path / "rules.toml")), run_key="night")
    assert rows(settings, "select count(*) from scoring_run") == [(0,)]
