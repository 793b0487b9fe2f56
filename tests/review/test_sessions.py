"""Test review sessions: their mix of frames, blind repeats and the time budget."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.errors import ReviewError
from braintumor.review.decisions import retract_review, save_review
from braintumor.review.session import find_session, next_item, previous_item, start_session
from tests.review.conftest import AUDITED
from tests.reviews import given, read
from tests.sql import change, rows


def _reviewed_long_ago(settings: Settings, *, scan_id: int) -> None:
    change(
        settings,
        """insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose,
                               is_blind, reviewed_at)
           values ('long ago', :scan, 0, 1, 'ann', 'glioma', 'risk', false, now() - interval '9 days')""",
        scan=scan_id,
    )


def test_session_mixes_purposes_and_resumes_after_reload(scored: Settings, engine: Engine) -> None:
    _reviewed_long_ago(scored, scan_id=1)
    session = start_session(engine, person="ann", minutes=2)
    mix = rows(scored, "select purpose::text, count(*) from review_session_item group by 1 order by 1")
    assert mix == [("audit", 1), ("repeat", 1), ("risk", 4)]
    shown = []
    for _ in range(6):
        with transaction(engine) as connection:
            item = next_item(connection, session)
            assert item == next_item(connection, session), "a reload shows the same"
        assert item is not None
        shown.append(item)
        before = read(engine, item[0], frame=item[1])
        save_review(engine, given(item[0], frame_index=item[1], session_id=session), person="ann")
        assert before.is_blind == (item[0] in {1, AUDITED})
    with transaction(engine) as connection:
        assert next_item(connection, session) is None
        assert previous_item(connection, session, before=shown[2]) == shown[1]
        progress = find_session(connection, session, person="ann")
        assert (progress.count_reviewed, progress.count_item, progress.minutes) == (6, 6, 2)
        with pytest.raises(ReviewError, match="no session"):
            find_session(connection, session, person="bob")
    purposes = rows(scored, "select purpose::text, is_blind, count(*) from review group by 1, 2 order by 1")
    assert purposes == [("audit", True, 1), ("repeat", True, 1), ("risk", False, 5)]


def test_retracted_repeat_is_not_blind_and_not_offered_again(scored: Settings, engine: Engine) -> None:
    _reviewed_long_ago(scored, scan_id=1)
    session = start_session(engine, person="ann", minutes=2)
    assert read(engine, 1).is_blind and not read(engine, 1, "bob").is_blind
    save_review(engine, given(1, session_id=session), person="ann")
    taken = retract_review(engine, person="ann")
    assert taken is not None and (taken.scan_id, taken.session_id) == (1, session)
    assert not read(engine, 1).is_blind
    with transaction(engine) as connection:
        progress = find_session(connection, session, person="ann")
        assert progress.count_reviewed == 1, "only the repeat, which can be blind once"
        offered = set()
        item = next_item(connection, session)
        while item is not None and item not in offered:
            offered.add(item)
            item = next_item(connection, session, after=item)
    assert offered and (1, 0) not in offered and len(offered) == progress.count_item - 1


def test_repeat_stays_blind_after_another_session_starts(scored: Settings, engine: Engine) -> None:
    _reviewed_long_ago(scored, scan_id=1)
    session = start_session(engine, person="ann", minutes=2)
    start_session(engine, person="ann", minutes=1)
    assert read(engine, 1).is_blind
    change(scored, "update review_session set started_at = now() - interval '25 hours'")
    assert not read(engine, 1).is_blind, "the session is older than a day"
    change(scored, "update review_session set started_at = now()")
    assert save_review(engine, given(1, session_id=session), person="ann").is_blind


def test_open_repeat_is_in_no_second_session(scored: Settings, engine: Engine) -> None:
    _reviewed_long_ago(scored, scan_id=1)
    for minutes in (2, 2):
        start_session(engine, person="ann", minutes=minutes)
    repeats = "select review_session_id from review_session_item where purpose = 'repeat'"
    assert rows(scored, repeats) == [(1,)]


def test_time_budget_bounds_a_session(scored: Settings, engine: Engine) -> None:
    start_session(engine, person="ann", minutes=1)
    assert rows(scored, "select count(*) from review_session_item") == [(3,)]
    for minutes in (0, -1, 481):
        with pytest.raises(ReviewError, match="1 to 480 minutes"):
            start_session(engine, person="ann", minutes=minutes)
