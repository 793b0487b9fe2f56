"""Compute the runs of a schedule with a simulated clock, in a process that has imported Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from braintumor.config.variables import TIMEZONE, Kind, Variable


def runs_between(zone: str, cron: str, days: tuple[date, date]) -> list[datetime]:
    """Return the start times of a schedule from noon of one day to noon of another, in local time."""
    from airflow.serialization.encoders import coerce_to_core_timetable

    from common import schedule

    os.environ.update({"CRON": cron, TIMEZONE.name: zone})
    timetable = coerce_to_core_timetable(schedule(Variable(name="CRON", kind=Kind.CRON, doc="")))
    return [datetime.fromisoformat(at).astimezone(ZoneInfo(zone)) for at in _start_times(timetable, zone, days)]


def _start_times(timetable: Any, zone: str, days: tuple[date, date]) -> Iterator[str]:
    """Compute the next run when a run starts, and again each time that the scheduler parses the file."""
    import pendulum

    begin, end = (pendulum.datetime(day.year, day.month, day.day, 12, tz=zone).in_timezone("UTC") for day in days)
    run = _next_run(timetable, None, begin)
    while run.run_after < end:
        yield run.run_after.isoformat()
        now = run.run_after + timedelta(seconds=10)
        # With catchup the next run depends on the last run and not on the clock, which is quicker.
        next_run = _next_run(timetable, run.data_interval, now, catchup=True)
        if now.in_timezone(zone).utcoffset() != next_run.run_after.in_timezone(zone).utcoffset():  # a change of clocks
            while now < min(next_run.run_after, run.run_after + timedelta(hours=30)):
                assert _next_run(timetable, run.data_interval, now) == next_run, (run, now)
                now += timedelta(minutes=15)
        run = next_run


def _next_run(timetable: Any, interval: Any, now: datetime, *, catchup: bool = False) -> Any:
    """Return the next run after the data interval of the last run, with the clock at ``now``."""
    from airflow.timetables import trigger
    from airflow.timetables.base import TimeRestriction

    trigger.utcnow = lambda: now  # type: ignore[attr-defined]
    restriction = TimeRestriction(earliest=None, latest=None, catchup=catchup)
    return timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
