"""Test the schedules over three years in four timezones: each date has exactly one run."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from tests.airflow_process import AirflowProcess
from tests.dags.schedule_functions import runs_between

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
"""Northern summer time in Europe and America, southern summer time of half an hour, and no summer time."""

DAYS = [date(2026, 1, 2) + timedelta(days=number) for number in range(3 * 365)]
NIGHTLY, AWKWARD, WEEKLY = "0 1 * * *", "30 2 * * *", "0 3 * * 0"
"""The two default schedules, and a nightly one in the hour that a clock change skips or repeats."""

Runs = dict[str, list[datetime]]


@pytest.fixture(scope="module")
def runs(in_airflow: AirflowProcess) -> dict[str, Runs]:
    """Return the start times of each schedule in local time, computed by Airflow with a simulated clock."""
    days = DAYS[0] - timedelta(days=1), DAYS[-1]
    crons = NIGHTLY, AWKWARD, WEEKLY
    return {zone: {cron: in_airflow.call(runs_between, zone, cron, days) for cron in crons} for zone in ZONES}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", [NIGHTLY, AWKWARD])
def test_every_date_has_one_nightly_run(zone: str, cron: str, runs: dict[str, Runs]) -> None:
    assert [at.date() for at in runs[zone][cron]] == DAYS


@pytest.mark.parametrize("zone", ZONES)
def test_every_sunday_has_one_retrain(zone: str, runs: dict[str, Runs]) -> None:
    assert [at.date() for at in runs[zone][WEEKLY]] == [day for day in DAYS if day.isoweekday() == 7]


@pytest.mark.parametrize("zone", ZONES)
def test_local_time_matches_schedule_except_in_skipped_hour(zone: str, runs: dict[str, Runs]) -> None:
    found = runs[zone]
    assert {f"{at:%H:%M}" for at in found[NIGHTLY]} == {"01:00"}
    assert {f"{at:%H:%M}" for at in found[WEEKLY]} == {"03:00"}
    moved = [at for at in found[AWKWARD] if f"{at:%H:%M}" != "02:30"]
    has_gap = zone in {"Europe/Berlin", "America/New_York"}  # on Lord Howe Island 02:30 follows 01:59
    assert [f"{at:%H:%M}" for at in moved] == (["03:30"] * 3 if has_gap else [])
    assert len({at.utcoffset() for at in found[AWKWARD]}) == (1 if zone == "UTC" else 2), "the clock never changed"
