"""Test that approval decisions are recorded with the person, rejections too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import DatabaseError
from braintumor.promotion.approval import record_decision
from tests.sql import change, rows

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@pytest.fixture
def verdict(settings: Settings) -> int:
    ((made,),) = rows(
        settings,
        """
        insert into gate_verdict (run_key, model_version_id, is_passed, rules, summary)
        values ('run', 1, true, '{}', 'Passed') returning gate_verdict_id""",
    )
    return int(made)


def response(option: str, user: dict[str, str] | None) -> dict[str, Any]:
    """Return the result of Airflow's approval task."""
    return {"chosen_options": [option], "params_input": {}, "responded_at": AT, "responded_by_user": user}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (response("Approve", {"id": "7", "name": "Dr Okafor"}), ("approve", "Dr Okafor")),
        (response("Reject", {"id": "7", "name": "Dr Okafor"}), ("reject", "Dr Okafor")),
        (response("Reject", None), ("reject", "no answer")),
        (response("Reject", {"id": "7", "name": ""}), ("reject", "7")),
    ],
    ids=["approved", "rejected", "time ran out", "a login without a name"],
)
def test_approval_decision_is_recorded_once_with_person(
    settings: Settings, verdict: int, given: dict[str, Any], kept: tuple[str, str]
) -> None:
    assert [record_decision(settings, verdict, given).is_new for _ in range(2)] == [True, False]
    assert rows(settings, "select answer, person, answered_at from approval_decision") == [(*kept, AT)]


@pytest.mark.parametrize("verb", ["update approval_decision set person = 'x'", "delete from approval_decision"])
def test_approval_decisions_are_append_only(settings: Settings, verdict: int, verb: str) -> None:
    record_decision(settings, verdict, response("Reject", None))
    with pytest.raises(DatabaseError, match="append-only"):
        change(settings, verb)
