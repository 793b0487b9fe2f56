"""Test the figures of the live accuracy on rows in Postgres, and that every place shows the same ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database, saved_queries
from braintumor.db.database import transaction
from braintumor.labels import TumorClass
from braintumor.live_accuracy.figures import Figure, LiveFigure, estimate_figures, load_live_accuracy
from braintumor.live_accuracy.monitor import ALARM
from braintumor.review.page import dashboard_page
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import Balance
from braintumor.scoring.run_report.page import make_run_report, run_report_page, to_text
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.status import Alert, RunStatus, make_run_status
from tests.audits import add_model, add_run, add_scans, scan
from tests.reviews import add_reviews, retract_review
from tests.sql import change

RIGHT, WRONG = ("glioma", "glioma"), ("glioma", "normal")


@pytest.fixture
def site(empty_settings: Settings) -> Settings:
    add_model(empty_settings, accuracy=0.9)
    return empty_settings


@pytest.fixture
def engine(site: Settings) -> Iterator[Engine]:
    made = database.connect(site)
    yield made
    made.dispose()


def figures(engine: Engine, model_version_id: int = 1) -> dict[tuple[Figure, TumorClass | None], LiveFigure]:
    with transaction(engine) as connection:
        return {(each.figure, each.label): each for each in estimate_figures(connection, model_version_id)}


def per_scan(engine: Engine) -> LiveFigure:
    return figures(engine)[Figure.SCAN, None]


def finish(engine: Engine, settings: Settings, run: int) -> RunStatus:
    balance = Balance(**dict.fromkeys(Balance.__dataclass_fields__, 0))
    return make_run_status(engine, load_run(engine, run), balance, RunReportRules.load(), settings=settings)


def test_figure_states_how_many_scans_were_drawn_and_read(site: Settings, engine: Engine) -> None:
    others = [
        scan("glioma"),
        scan("glioma", "normal", "glioma"),
        scan("glioma", "cannot_tell"),
        scan("glioma", "unusable_image"),
        scan("glioma", chance=None),
    ]
    add_scans(site, add_run(site), [scan(*RIGHT)] * 30 + [scan(*WRONG)] * 10 + others)
    found = per_scan(engine)
    assert found.value == pytest.approx(30 / 41), "the first finding of the scan in conflict counts"
    assert found.low is not None and 0.56 < found.low < 0.60
    assert found.counts == "44 drawn, 43 read, 40 settled, 1 in conflict, 2 undecided"


def test_a_rarely_drawn_scan_weighs_more(site: Settings, engine: Engine) -> None:
    add_scans(site, add_run(site), [scan(*RIGHT, chance=0.02)] * 30 + [scan(*WRONG, chance=0.2)] * 30)
    assert per_scan(engine).value == pytest.approx(10 / 11, abs=1e-6)


def test_a_file_of_many_frames_counts_once(site: Settings, engine: Engine) -> None:
    add_scans(site, add_run(site), [scan(*RIGHT)] * 30 + [scan(*WRONG, frames=50)] * 10)
    found = per_scan(engine)
    assert (found.value, found.count_drawn) == (pytest.approx(0.75), 40)


def test_each_patient_counts_once_in_the_figure_per_patient(site: Settings, engine: Engine) -> None:
    of_one = [scan(*WRONG, patient="one")] * 20 + [scan("glioma", patient="one", chance=None)] * 20
    add_scans(site, add_run(site), [scan(*RIGHT, patient=f"p{n}") for n in range(30)] + of_one)
    found = figures(engine)
    assert found[Figure.SCAN, None].value == pytest.approx(0.6, abs=0.01)
    assert found[Figure.PATIENT, None].value == pytest.approx(30 / (30 + 20 / 40), abs=1e-6)


def test_class_figures_have_the_scans_of_their_class(site: Settings, engine: Engine) -> None:
    add_scans(site, add_run(site), [scan(*RIGHT)] * 24 + [scan(*WRONG)] * 6 + [scan("normal", "normal")] * 18)
    found = figures(engine)
    assert found[Figure.PREDICTED, TumorClass.GLIOMA].value == pytest.approx(0.8)
    assert found[Figure.FINDING, TumorClass.GLIOMA].value == pytest.approx(1.0)
    assert found[Figure.FINDING, TumorClass.NORMAL].value == pytest.approx(0.75)
    few = found[Figure.PREDICTED, TumorClass.NORMAL]
    assert str(few) == "not assessed: 18 of 20 required patients or scans have a finding"


def test_second_readings_remove_the_errors_of_reviewers(site: Settings, engine: Engine) -> None:
    once = [scan(*RIGHT)] * 40 + [scan(*WRONG)] * 10
    add_scans(site, add_run(site), once)
    found = figures(engine)
    reason = "not assessed: too few scans were read by two persons: 0 of 20 required patients or scans have a finding"
    assert str(found[Figure.CORRECTED, None]) == reason
    add_scans(site, add_run(site), [scan(*RIGHT, "glioma")] * 24 + [scan(*WRONG, "glioma")] * 6)
    found = figures(engine)
    readers, corrected = found[Figure.READERS, None], found[Figure.CORRECTED, None]
    assert (readers.value, readers.count_settled) == (pytest.approx(0.8), 30)
    assert corrected.counts == "80 scans" and corrected.value is not None and 0.88 < corrected.value < 0.92
    assert found[Figure.SCAN, None].counts == "80 drawn, 80 read, 74 settled, 6 in conflict, 0 undecided"


def test_a_second_reading_changes_no_evidence_of_a_drop(site: Settings, engine: Engine) -> None:
    run = add_run(site)
    add_scans(site, run, [scan(*RIGHT)] * 20 + [scan(*WRONG)] * 20)
    before = finish(engine, site, run).statistics.drop_evidence
    add_reviews(site, 1000 * run + 40, "glioma", "reviewer 2", purpose="audit", blind=True)
    assert finish(engine, site, run).statistics.drop_evidence == before is not None
    assert per_scan(engine).count_conflict == 1


def test_unread_scans_of_overwritten_files_are_not_drawn(site: Settings, engine: Engine) -> None:
    run = add_run(site)
    add_scans(site, run, [scan(*RIGHT)] * 30 + [scan(*WRONG)] * 10 + [scan("glioma")] * 2)
    change(site, "update scan set is_replaced = true where scan_id % 2 = 0")
    assert per_scan(engine).counts == "41 drawn, 40 read, 40 settled, 0 in conflict, 0 undecided"


def test_missing_data_gives_a_reason_and_no_number(site: Settings, engine: Engine) -> None:
    assert str(per_scan(engine)) == "not assessed: no scan of the last 90 days is in the audit sample"
    add_scans(site, add_run(site), [scan(*RIGHT)] * 19)
    assert str(per_scan(engine)) == "not assessed: reviewers found one class only (glioma)"
    assert str(figures(engine)[Figure.PATIENT, None]) == "not assessed: no patient of an audited scan is known"
    add_scans(site, add_run(site), [scan("glioma", "other_finding")])
    assert per_scan(engine).value == pytest.approx(0.95, abs=0.02)
    other = figures(engine, add_model(site, "other"))
    assert all(figure.value is None and figure.not_assessed for figure in other.values())


def test_only_the_first_blind_review_of_a_reviewer_counts(site: Settings, engine: Engine) -> None:
    run = add_run(site)
    add_scans(site, run, [scan(*RIGHT)] * 30 + [scan(*WRONG)] * 10)
    before = per_scan(engine)
    retract_review(site, 1000 * run + 40, "reviewer 1")
    add_reviews(site, 1000 * run + 40, "glioma", "reviewer 1", "reviewer 2")
    add_reviews(site, 1000 * run + 39, "glioma", "reviewer 1", purpose="repeat", blind=True)
    assert per_scan(engine) == before


def test_every_place_shows_the_same_figures(site: Settings, engine: Engine) -> None:
    run = add_run(site)
    add_scans(site, run, [scan(*RIGHT, confidence=0.6 + n / 100) for n in range(30)] + [scan(*WRONG)] * 10)
    status = finish(engine, site, run)
    assert finish(engine, site, run).statistics == status.statistics, "a second reconciliation replaces the rows"
    with transaction(engine) as connection:
        live = load_live_accuracy(connection)
    assert live is not None and tuple(live.figures) == status.statistics.live_figures
    report = make_run_report(engine, status, timezone="UTC")
    first = live.figures[0]
    assert first.value is not None
    for shown in (run_report_page(report), to_text(report), dashboard_page(engine, base="/r/")):
        assert str(first) in shown and "no patient of an audited scan is known" in shown
    query = saved_queries.run_query(engine, "live-accuracy")
    of_query = [dict(zip(query.columns, row, strict=True)) for row in query.rows]
    assert [(row["figure"], row["value"], row["high"], row["not_assessed"]) for row in of_query] == [
        (figure.figure, figure.value, figure.high, figure.not_assessed) for figure in live.figures
    ]


def test_many_contradictions_make_the_run_amber(site: Settings, engine: Engine) -> None:
    run = add_run(site)
    add_scans(site, run, [scan(*RIGHT)] * 80 + [scan(*WRONG)] * 10)
    fine = finish(engine, site, run)
    assert fine.statistics.drop_evidence is not None and fine.statistics.drop_evidence < ALARM
    assert Alert.ACCURACY_LOW not in {reason.alert for reason in fine.reasons}
    later = add_run(site)
    add_scans(site, later, [scan(*WRONG)] * 20 + [scan(*RIGHT)] * 20)
    assert Alert.ACCURACY_LOW in {reason.alert for reason in finish(engine, site, later).reasons}
    other = add_run(site, add_model(site, "other", accuracy=0.9))
    assert finish(engine, site, other).statistics.drop_evidence == 1, "another model starts again after an alarm"
