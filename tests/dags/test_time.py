"""Test the schedules over three years in four timezones: each date has exactly one run."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.dags.conftest import in_airflow

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
"""Northern summer time in Europe and America, southern summer time of half an hour, and no summer time."""

DAYS = [date(2026, 1, 2) + timedelta(days=number) for number in range(3 * 365)]
NIGHTLY, AWKWARD, WEEKLY = "0 1 * * *", "30 2 * * *", "0 3 * * 0"
"""The two default schedules, and a nightly one in the hour that a clock change skips or repeats."""

_ENUMERATE = """
import json, os
from datetime import timedelta
import pendulum
import airflow.timetables.trigger as trigger
from airflow.serialization.encoders import coerce_to_core_timetable
from airflow.timetables.base import TimeRestriction
from braintumor.config.variables import Kind, Variable
from common import schedule

AS_IN_DAGS = TimeRestriction(earliest=None, latest=None, catchup=False)
QUICKER = TimeRestriction(earliest=None, latest=None, catchup=True)  # depends on the last run, not on the clock

def following(timetable, interval, now, restriction=AS_IN_DAGS):
    trigger.utcnow = lambda: now
    return timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)

def runs(zone, cron, days):
    # The scheduler computes the next run when a run starts, and again each time that it parses the file.
    os.environ.update(CRON=cron, BRAINTUMOR_TIMEZONE=zone)
    timetable = coerce_to_core_timetable(schedule(Variable(name="CRON", kind=Kind.CRON, doc="")))
    begin, end = (pendulum.parse(f"{day}T12:00", tz=zone).in_timezone("UTC") for day in days)
    run = following(timetable, None, begin)
    while run.run_after < end:
        yield run.run_after.isoformat()
        now = run.run_after + timedelta(seconds=10)
        next_run = following(timetable, run.data_interval, now, QUICKER)
        if now.in_timezone(zone).utcoffset() != next_run.run_after.in_timezone(zone).utcoffset():  # a change of clocks
            while now < min(next_run.run_after, run.run_after + timedelta(hours=30)):
                assert following(timetable, run.data_interval, now) == next_run, (run, now)
                now += timedelta(minutes=15)
        run = next_run

print(json.dumps({zone: {cron: list(runs(zone, cron, days)) for cron in crons} for zone in zones}))
"""

Runs = dict[str, list[datetime]]


@pytest.fixture(scope="module")
def runs(airflow_env: dict[str, str]) -> dict[str, Runs]:
    """Return the start times of each schedule in local time, computed by Airflow with a simulated clock."""
    asked = ZONES, [NIGHTLY, AWKWARD, WEEKLY], [str(DAYS[0] - timedelta(days=1)), str(DAYS[-1])]
    done = in_airflow(airflow_env, f"zones, crons, days = {asked!r}\n{_ENUMERATE}")
    assert done.returncode == 0, done.stderr
    return {
        zone: {
            cron: [datetime.fromisoformat(at).astimezone(ZoneInfo(zone)) for at in found] for cron, found in of.items()
        }
        for zone, of in json.loads(done.stdout.splitlines()[-1]).items()
    }


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
