"""Test the rule that names a faulty scanner, on counts and on rows of the database."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import Balance
from braintumor.scoring.run_report.page import make_run_report, run_report_page, to_text
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.status import RunStatus, make_run_status
from braintumor.scoring.run_report.subgroups import MEASURES, NIGHTS, SubgroupCounts, deviations
from tests.sql import change, rows

RULES = RunReportRules.load()
STATIONS = [digit * 32 for digit in "abcdef"]
NORMAL = MEASURES.index("normal")


def usual(patients: int = 20) -> SubgroupCounts:
    """Return counts of six stations: 5% rejected, no scan out of distribution, a quarter of each class."""
    totals = np.full((len(STATIONS), len(MEASURES), NIGHTS), patients)
    shares = np.array([0.05, 0, 0.25, 0.25, 0.25, 0.25])
    hits = np.rint(totals * shares[:, np.newaxis]).astype(int)
    return SubgroupCounts(attribute="station", subgroups=STATIONS, totals=totals, hits=hits)


def test_usual_nights_have_no_deviation() -> None:
    assert deviations([usual()], RULES) == []


def test_scanner_that_fails_tonight_is_named() -> None:
    counts = usual()
    counts.hits[2, 0, 0] = 18
    found = deviations([counts], RULES)
    assert found is not None
    (only,) = found
    assert (only.name, only.measure, only.nights, only.count, only.count_patient) == (
        "station cccccccc", "rejected", 1, 18, 20
    )  # fmt: skip
    assert only.sentence == (
        "Look at station cccccccc: the scans of 18 of 20 patients were rejected this night (5% elsewhere, 5% before)."
    )


def test_weaker_fault_is_named_after_several_nights() -> None:
    counts = usual()
    for night in range(3):
        found = deviations([counts], RULES)
        assert found == [], night
        counts.hits[2, 0, :] = np.roll(counts.hits[2, 0, :], 1)
        counts.hits[2, 0, 0] = 6
    found = deviations([counts], RULES)
    assert found and {each.subgroup for each in found} == {STATIONS[2]} and found[0].nights == 3


def test_ward_that_always_differs_does_not_deviate() -> None:
    counts = usual()
    counts.hits[0, NORMAL, :] = 20
    counts.hits[1, 0, :] = 10
    assert deviations([counts], RULES) == []


def test_change_of_all_scanners_does_not_deviate() -> None:
    counts = usual()
    counts.hits[:, 0, 0] = 10
    assert deviations([counts], RULES) == []


def test_new_scanner_is_compared_with_the_others_only() -> None:
    counts = usual()
    counts.totals[5, :, 2:] = counts.hits[5, :, 2:] = 0
    counts.hits[5, 0, :2] = 15
    found = deviations([counts], RULES)
    assert found and (found[0].subgroup, found[0].before) == (STATIONS[5], None)
    assert "before" not in found[0].sentence


def test_fewer_predictions_of_a_class_deviate_too() -> None:
    counts = usual(40)
    counts.hits[3, NORMAL, :3] = 0
    found = deviations([counts], RULES)
    assert found and (found[0].subgroup, found[0].outcome) == (STATIONS[3], "predicted as normal")


def test_few_patients_are_not_assessed() -> None:
    assert deviations([usual(2)], RULES) is None
    assert deviations([], RULES) is None
    one = usual()
    alone = SubgroupCounts(attribute="sex", subgroups=["F"], totals=one.totals[:1], hits=one.hits[:1])
    assert deviations([alone], RULES) is None


def test_small_difference_of_many_patients_does_not_deviate() -> None:
    counts = usual(10_000)
    counts.hits[2, 0, 0] = 1_000
    assert deviations([counts], RULES) == []
    strict = RULES.model_copy(update={"amber_subgroup_difference": 0.01})
    assert deviations([counts], strict)


def add_nights(settings: Settings, *, nights: int, broken: int, slices: int = 1) -> int:
    """Insert nights of six stations with 20 patients each, and return the last run's ID.

    In the ``broken`` last nights, every scan of station f is rejected.
    """
    change(
        settings,
        """
        insert into scoring_run (run_key, scans_uri, model_version_id, engine, state, started_at)
        select 'night ' || days, 's3://b/s/', 1, 'openvino-cpu', 'balanced', now() - make_interval(days => days)
        from generate_series(:nights - 1, 0, -1) as days order by days desc""",
        nights=nights,
    )
    change(
        settings,
        """
        insert into scan (state, scoring_run_id, size_bytes, arrived_at, patient_pseudonym, station_pseudonym,
                          manufacturer, sex)
        select case when station = 'f' and run_key in (select 'night ' || broken from generate_series(0, :broken - 1)
                         as broken) then 'rejected' else 'scored' end::scan_state,
            scoring_run_id, 1, now(), run_key || station || person, repeat(station, 32),
            case when station < 'd' then 'siemens' else 'ge' end, case when person % 2 = 0 then 'F' else 'M' end
        from scoring_run
        cross join unnest(array['a', 'b', 'c', 'd', 'e', 'f']) as station
        cross join generate_series(1, 20) as person
        cross join generate_series(1, :slices)
        where scans_uri = 's3://b/s/'""",
        broken=broken,
        slices=slices,
    )
    ((run,),) = rows(settings, "select max(scoring_run_id) from scoring_run")
    return int(run)


def status_of(engine: Engine, settings: Settings, run: int) -> RunStatus:
    balance = Balance(**dict.fromkeys(Balance.__dataclass_fields__, 0))
    return make_run_status(engine, load_run(engine, run), balance, RULES, settings=settings)


def test_report_of_a_faulty_scanner_is_amber_and_names_it(settings: Settings, engine: Engine) -> None:
    status = status_of(engine, settings, add_nights(settings, nights=9, broken=1))
    (reason,) = [reason for reason in status.reasons if reason.alert == "subgroup_deviates"]
    assert reason.level == "amber" and reason.message == (
        "Look at station ffffffff: the scans of 20 of 20 patients were rejected this night (0% elsewhere, 0% before). "
        "The table shows 1 more."
    )
    report = make_run_report(engine, status, timezone="UTC")
    page = run_report_page(report)
    assert "Subgroups that deviate" in page and "20 of 60" in page and "manufacturer ge" in page
    assert "Subgroups: station ffffffff deviates, manufacturer ge deviates" in to_text(report)


def test_night_that_began_later_in_its_day_is_another_night(settings: Settings, engine: Engine) -> None:
    run = add_nights(settings, nights=9, broken=1)
    change(settings, "update scoring_run set started_at = date_trunc('day', started_at) + interval '1 hour'")
    later = "update scoring_run set started_at = started_at + interval '1 minute' where scoring_run_id <> :run"
    change(settings, later, run=run)
    found = status_of(engine, settings, run).statistics.deviations
    assert found and (found[0].count, found[0].count_patient, found[0].period) == (20, 20, "this night")


def test_many_slices_of_few_patients_are_not_assessed(settings: Settings, engine: Engine) -> None:
    run = add_nights(settings, nights=2, broken=0, slices=5)
    change(settings, "update scan set patient_pseudonym = 'p' || scan_id % 5")
    status = status_of(engine, settings, run)
    assert status.statistics.deviations is None and "subgroup_deviates" not in {each.alert for each in status.reasons}
    page = run_report_page(make_run_report(engine, status, timezone="UTC"))
    assert "not assessed: fewer than 20 patients" in page and "Subgroups that deviate" not in page


def test_nights_of_another_prefix_do_not_count(settings: Settings, engine: Engine) -> None:
    run = add_nights(settings, nights=9, broken=1)
    change(settings, "update scoring_run set scans_uri = 's3://b/other/' where scoring_run_id = :run", run=run)
    assert status_of(engine, replace(settings), run).statistics.deviations is not None
    found = status_of(engine, settings, run).statistics.deviations
    assert found and found[0].before is None
