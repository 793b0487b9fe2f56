"""Test the tabs and counts of the worklist, the summary of a session, and the notes of a frame."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.errors import ReviewError
from braintumor.review.decisions import retract_review as undo
from braintumor.review.decisions import save_review
from braintumor.review.finding import Finding
from braintumor.review.page import Caller, dashboard_page, frame_page, session_page, url_after_undo, worklist_page
from braintumor.review.session import find_open_session, find_session, next_item, start_session, summarize_session
from braintumor.review.worklist import AUDIT, Filters, Tab, count_waiting, list_worklist
from braintumor.serving.prediction import ReviewReason
from tests.review.conftest import AUDITED
from tests.reviews import add_reviews, given, retract_review
from tests.sql import change, rows

ANN = Caller(person="ann", is_reviewer=True, base="/r/")
VIEWER = Caller(person="viewer", is_reviewer=False, base="/r/")


def listed(engine: Engine, tab: Tab, person: str = "ann") -> list[tuple[int, str | None, str | None]]:
    items = list_worklist(engine, Filters(tab=tab), person=person)
    return [(each.scan_id, each.finding, each.own_finding) for each in items]


def test_tabs_list_conflicts_own_and_all_answers(scored: Settings, engine: Engine) -> None:
    add_reviews(scored, 1, "glioma", "ann", "bob")
    add_reviews(scored, 2, "normal", "bob")
    add_reviews(scored, 3, "glioma", "eve")
    add_reviews(scored, 3, "pituitary", "bob")
    add_reviews(scored, 5, "glioma", "ann")
    add_reviews(scored, 5, "cannot_tell", "bob")
    assert listed(engine, Tab.MINE) == [(5, "glioma", "glioma"), (1, "glioma", "glioma")]
    assert [scan for scan, *_ in listed(engine, Tab.ANSWERED)] == [5, 2, 1]
    assert listed(engine, Tab.CONFLICT) == [(3, None, None)]
    assert listed(engine, Tab.CONFLICT, "bob") == [(3, None, "pituitary")]
    page = worklist_page(engine, Filters(tab=Tab.CONFLICT), ANN, number=0)
    assert "reviewers disagree: you decide" in page and 'href="frame/3/0?tab=conflict"' in page
    assert "you decide" not in worklist_page(engine, Filters(tab=Tab.CONFLICT), VIEWER, number=0)
    retract_review(scored, 5, "ann")
    assert listed(engine, Tab.MINE) == [(1, "glioma", "glioma")]


def test_second_reading_hides_the_finding_of_the_first(scored: Settings, engine: Engine) -> None:
    add_reviews(scored, 1, "glioma", "bob")
    add_reviews(scored, 2, "glioma", "bob", "eve")
    add_reviews(scored, 3, "unusable_image", "bob")
    assert [scan for scan, *_ in listed(engine, Tab.SECOND)] == [1]
    assert listed(engine, Tab.SECOND, "bob") == []
    page = frame_page(engine, (1, 0), ANN, filters=Filters(tab=Tab.SECOND))
    assert "Decisions of others are shown after yours." in page and "bob" not in page
    assert "bob" in frame_page(engine, (1, 0), VIEWER, filters=Filters())
    add_reviews(scored, 1, "glioma", "ann")
    assert "bob" in frame_page(engine, (1, 0), ANN, filters=Filters()) and listed(engine, Tab.SECOND) == []


def test_two_persons_read_a_quarter_of_the_audit_sample(scored: Settings, engine: Engine) -> None:
    change(scored, "update scan set audit_probability = 0.02 where scan_id = 6")
    ((frame,),) = rows(scored, "select frame_index from audited_scan where scan_id = 6 and has_two_readers")

    def audit(person: str) -> list[tuple[int, int]]:
        return [(each.scan_id, each.frame_index) for each in list_worklist(engine, AUDIT, person=person)]

    assert audit("ann") == [(6, frame), (AUDITED, 0)]
    for scan_id, shown in ((6, frame), (AUDITED, 0)):
        assert save_review(engine, given(scan_id, frame_index=shown), person="ann").is_blind
    assert audit("ann") == [] and audit("bob") == [(6, frame)], "one person reads the other scan"
    page = frame_page(engine, (6, frame), Caller(person="bob", is_reviewer=True, base="/r/"), filters=AUDIT)
    assert "Read blind" in page and ">ann" not in page
    retract_review(scored, 6, "ann")
    assert save_review(engine, given(6, Finding.NORMAL, frame_index=frame), person="bob").is_blind
    findings = "select finding::text, second_finding::text, outcome from audited_scan where scan_id = 6"
    assert rows(scored, findings) == [("glioma", "normal", "conflict")], "a retraction changes no finding"
    assert audit("bob") == []


def test_old_audited_scans_wait_for_no_second_person(scored: Settings, engine: Engine) -> None:
    change(scored, "update scan set audit_probability = case scan_id when 6 then 0.02 end")
    add_reviews(scored, 6, "glioma", "ann", purpose="audit", blind=True)
    assert [each.scan_id for each in list_worklist(engine, AUDIT, person="bob")] == [6]
    change(scored, "update scan set processed_at = processed_at - interval '91 days'")
    assert list_worklist(engine, AUDIT, person="bob") == []


def test_overwritten_files_leave_the_worklist_and_sessions(scored: Settings, engine: Engine) -> None:
    session = start_session(engine, person="ann", minutes=1)
    listed_before = [each.scan_id for each in list_worklist(engine, Filters(), person="ann")]
    change(scored, "update scan set is_replaced = true where scan_id <> 1")
    assert 1 in listed_before and len(listed_before) > 1
    assert [each.scan_id for each in list_worklist(engine, Filters(), person="ann")] == [1]
    with transaction(engine) as connection:
        found = find_session(connection, session, person="ann")
        assert (next_item(connection, session) is None) == (found.count_item == 0), (
            "the session leads to a page without an image"
        )
    with pytest.raises(ReviewError, match="file of scan 2 was overwritten"):
        frame_page(engine, (2, 0), ANN, filters=Filters())


def test_overwritten_files_take_no_place_on_a_page(scored: Settings, engine: Engine) -> None:
    add_reviews(scored, 1, "glioma", "ann")
    add_reviews(scored, 2, "glioma", "ann")
    change(scored, "update scan set is_replaced = true where scan_id = 2")
    items = list_worklist(engine, Filters(tab=Tab.MINE), person="ann", count=1)
    assert [each.scan_id for each in items] == [1]


def test_undo_leads_to_the_frame_with_its_filters(scored: Settings, engine: Engine) -> None:
    add_reviews(scored, 2, "glioma", "ann")
    assert undone(engine, Filters(tab=Tab.MINE)) == "frame/2/0?tab=mine"


def test_undo_of_an_overwritten_file_leads_to_the_next_frame(scored: Settings, engine: Engine) -> None:
    add_reviews(scored, 2, "glioma", "ann")
    change(scored, "update scan set is_replaced = true where scan_id in (2, 4)")
    (first, *_) = list_worklist(engine, Filters(), person="ann")
    assert first.scan_id != 2 and undone(engine) == f"frame/{first.scan_id}/{first.frame_index}"
    add_reviews(scored, 2, "glioma", "ann")
    assert undone(engine, Filters(tab=Tab.CONFLICT)) == "?tab=conflict", "the tab is empty"
    assert rows(scored, "select count(*) from review_retraction") == [(2,)]


def test_undo_in_a_session_skips_overwritten_files(scored: Settings, engine: Engine) -> None:
    session = start_session(engine, person="ann", minutes=1)
    with transaction(engine) as connection:
        first = next_item(connection, session)
        assert first is not None
        second = next_item(connection, session, after=first)
    assert second is not None
    for replaced, expected in (
        (f"scan_id = {first[0]}", f"frame/{second[0]}/{second[1]}?session={session}"),
        ("true", f"session/{session}"),
    ):
        save_review(engine, given(first[0], frame_index=first[1], session_id=session), person="ann")
        change(scored, f"update scan set is_replaced = true where {replaced}")
        assert undone(engine) == expected


def undone(engine: Engine, filters: Filters | None = None) -> str:
    """Undo ann's last decision, and return the URL of the page that she sees next."""
    retracted = undo(engine, person="ann")
    assert retracted is not None
    return url_after_undo(engine, retracted, ANN, filters or Filters())


def test_conflict_to_decide_is_before_own_conflict(scored: Settings, engine: Engine) -> None:
    for scan_id, others in ((2, ("bob", "eve")), (3, ("ann", "bob"))):
        for person, finding in zip(others, ("glioma", "normal"), strict=True):
            add_reviews(scored, scan_id, finding, person)
    assert [scan for scan, *_ in listed(engine, Tab.CONFLICT)] == [2, 3]
    assert [scan for scan, *_ in listed(engine, Tab.CONFLICT, "eve")] == [3, 2]


def test_tabs_leave_out_frames_that_are_read_blind(scored: Settings, engine: Engine) -> None:
    add_reviews(scored, AUDITED, "glioma", "bob", blind=True)
    assert listed(engine, Tab.ANSWERED) == [] and listed(engine, Tab.ANSWERED, "bob") != []
    add_reviews(scored, 1, "glioma", "ann")
    change(scored, "insert into review_session (reviewer, minutes) values ('ann', 5)")
    change(scored, "insert into review_session_item values (1, 0, 1, 0, 'repeat')")
    assert listed(engine, Tab.MINE) == [], "a repeat must not show the earlier decision"
    assert [scan for scan, *_ in listed(engine, Tab.ANSWERED, "bob")] == [1, AUDITED]


def test_counts_agree_with_the_filtered_lists(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set review_reasons = '{}'")
    change(scored, "update prediction set review_reasons = '{no_likely_class}' where scan_id in (1, 2, 6)")
    change(
        scored, "update prediction set review_reasons = '{out_of_distribution}' where scan_id = 6 and frame_index > 4"
    )
    for reviewed in (2, 3):
        add_reviews(scored, reviewed, "glioma", "ann")
    add_reviews(scored, 3, "normal", "bob")
    for person, conflicts in (("ann", 0), ("eve", 1)):
        counts = count_waiting(engine, Filters(reason=ReviewReason.NO_LIKELY_CLASS), person=person)
        assert counts.is_complete and counts.count_conflict == conflicts
        assert counts.count_scan == len(list_worklist(engine, Filters(), person=person))
        assert set(counts.by_reason) == {ReviewReason.NO_LIKELY_CLASS, ReviewReason.OUT_OF_DISTRIBUTION}
        for reason, count in counts.by_reason.items():
            assert len(list_worklist(engine, Filters(reason=reason), person=person)) == count > 0
    page = worklist_page(engine, Filters(reason=ReviewReason.NO_LIKELY_CLASS), ANN, number=0)
    assert 'reason=no_likely_class" aria-current="true">no likely class <b>2</b>' in page
    assert 'reason=out_of_distribution">out of distribution <b>1</b>' in page


def test_reason_behind_the_counted_frames_has_no_count(
    scored: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(scored, "update prediction set review_reasons = '{}'")
    change(scored, "update prediction set review_reasons = '{out_of_distribution}' where scan_id = 1")
    change(scored, "update prediction set review_reasons = '{no_likely_class}' where scan_id = 2")
    monkeypatch.setattr("braintumor.review.worklist._MAX_COUNTED", 1)
    page = worklist_page(engine, Filters(reason=ReviewReason.NO_LIKELY_CLASS), ANN, number=0)
    assert 'aria-current="true">no likely class</a>' in page and "scan 2 ·" in page
    assert "out of distribution <b>1+</b>" in page


def test_worklist_card_counts_slices_from_one(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set review_reasons = '{}'")
    frames = [frame for (frame,) in rows(scored, "select frame_index from prediction where scan_id = 6 order by 1")]
    riskiest = "update prediction set review_reasons = '{no_likely_class}' where scan_id = 6 and frame_index = :frame"
    change(scored, riskiest, frame=frames[2])
    assert {each.scan_id: each.slice for each in list_worklist(engine, Filters(), person="ann")}[6] == 3
    assert "scan 6, slice 3 ·" in worklist_page(engine, Filters(), ANN, number=0)


def test_open_session_is_offered_until_it_is_complete(scored: Settings, engine: Engine) -> None:
    session = start_session(engine, person="ann", minutes=1)
    items = rows(scored, "select scan_id, frame_index from review_session_item order by place")
    with transaction(engine) as connection:
        found = find_open_session(connection, person="ann")
        assert found is not None and (found[0].session_id, found[1]) == (session, items[0])
        assert find_open_session(connection, person="bob") is None
    page = worklist_page(engine, Filters(), ANN, number=0)
    assert f"Resume the session: 0 of {len(items)} decided" in page
    review_all(scored, session)
    assert "Resume the session" not in worklist_page(engine, Filters(), ANN, number=0)
    change(scored, "insert into review_retraction select max(review_id) from review")
    assert "Resume the session: 2 of 3" in worklist_page(engine, Filters(), ANN, number=0)
    change(scored, "update review_session set started_at = now() - interval '25 hours'")
    assert "Resume the session" not in worklist_page(engine, Filters(), ANN, number=0)


def test_session_summary_names_findings_and_differences(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set predicted_class = 'normal'")
    session = start_session(engine, person="ann", minutes=1)
    assert "Your session so far" in session_page(engine, session, ANN)
    review_all(scored, session)
    scan_ids = [scan for (scan,) in rows(scored, "select scan_id from review_session_item order by place")]
    with transaction(engine) as connection:
        summary = summarize_session(connection, session)
    assert summary.findings == {"glioma": 2, "cannot_tell": 1} and summary.count_class == 2
    assert [(each.scan_id, each.finding, each.predicted_class) for each in summary.differences] == [
        (scan, "glioma", "normal") for scan in scan_ids[:2]
    ]
    assert summary.median_seconds == 8.0
    page = session_page(engine, session, ANN)
    assert "Your session is complete" in page and "3 of 3 frames decided" in page and "2 of 2 frames" in page
    assert f"scan {scan_ids[0]}</a>: you glioma, model none of the three tumors" in page
    with pytest.raises(ReviewError, match="no session"):
        session_page(engine, session, VIEWER)


def test_frame_page_tells_of_conflict_and_other_patient(scored: Settings, engine: Engine) -> None:
    change(scored, "update scan set pixel_sha256 = 'same', patient_pseudonym = 'patient ' || scan_id "
                  "where scan_id in (1, 2, :audited)", audited=AUDITED)  # fmt: skip
    add_reviews(scored, 1, "glioma", "bob")
    add_reviews(scored, 1, "normal", "eve")
    page = frame_page(engine, (1, 0), ANN, filters=Filters())
    assert 'filed under another patient: <a href="frame/2/0">scan 2</a>' in page and "you decide" in page
    add_reviews(scored, 1, "cannot_tell", "ann")
    page = frame_page(engine, (1, 0), ANN, filters=Filters())
    assert "Reviewers disagree." in page and "you decide" not in page
    page = frame_page(engine, (AUDITED, 0), ANN, filters=Filters())
    assert "Read blind" in page and "another patient" not in page


def test_probabilities_out_of_distribution_are_gray(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set review_reasons = '{out_of_distribution}' where scan_id = 2")
    pages = {scan: frame_page(engine, (scan, 0), ANN, filters=Filters()) for scan in (1, 2)}
    assert "is-gray" in pages[2] and "probabilities are not reliable" in pages[2] and "is-gray" not in pages[1]


def test_last_frame_of_a_session_leads_to_its_summary(scored: Settings, engine: Engine) -> None:
    session = start_session(engine, person="ann", minutes=1)
    ((scan, frame),) = rows(scored, "select scan_id, frame_index from review_session_item where place = 0")
    in_session = frame_page(engine, (scan, frame), ANN, filters=Filters(), session_id=session)
    assert f"&#34;end&#34;: &#34;session/{session}&#34;" in in_session
    assert "&#34;end&#34;: &#34;?tab=mine&#34;" in frame_page(engine, (1, 0), ANN, filters=Filters(tab=Tab.MINE))


def test_dashboard_links_run_reports_for_those_who_may(scored: Settings, engine: Engine) -> None:
    change(scored, "update scoring_run set run_key = 'nightly_scoring manual__2026'")
    link = 'href="../reports/runs/nightly_scoring-manual__2026/morning.html"'
    assert dashboard_page(engine, base="/r/", has_reports=True).count(link) == 2, "the bar and the row of the table"
    page = dashboard_page(engine, base="/r/")
    assert link not in page
    ((day,),) = rows(scored, "select to_char(started_at at time zone 'utc', 'Mon DD') from scoring_run")
    assert f">{day}</text>" in page


def review_all(settings: Settings, session: int) -> None:
    """Write a decision for each frame of a session of three: glioma, glioma, cannot tell."""
    change(
        settings,
        """insert into review (request_key, review_session_id, scan_id, frame_index, model_version_id, reviewer,
                               finding, purpose, is_blind, seconds)
           select 'key ' || place, review_session_id, scan_id, frame_index, 1, 'ann',
                  (array['glioma', 'glioma', 'cannot_tell'])[place + 1]::review_finding, purpose, false, 4 * (place + 1)
           from review_session_item where review_session_id = :session""",
        session=session,
    )
