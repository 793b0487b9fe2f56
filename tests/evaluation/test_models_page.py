"""Tests of the pages that list and compare models."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import EvaluationError
from braintumor.evaluation.report.compare_page import compare_page
from braintumor.evaluation.report.index_page import Reader, overview_page
from braintumor.promotion.approval import record_decision
from braintumor.promotion.promote import promote_candidate
from devstack.stack import Stack
from tests.conftest import as_role
from tests.evaluation.judging import JudgedRun, champion
from tests.models import RUN
from tests.sql import rows

EVERYTHING = Reader(sees_scoring=True, sees_rescores=True, sees_people=True)


def models_page(stack: Stack, settings: Settings, reader: Reader) -> str:
    """Return the page as the role of the plugin renders it."""
    return overview_page(database.connect(as_role(stack, settings, Role.REVIEWER)), reader)


def test_models_page_links_the_candidate_without_decision(stack: Stack, judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    page = models_page(stack, two, EVERYTHING)
    approval = f'href="../../dags/weekly_retrain/runs/{quote(RUN, safe="")}/tasks/approve/required_actions"'
    assert approval in page and f'Champion: <a href="model/{champion(two)}/report.html">' in page
    rows(two, "update gate_verdict set run_key = 'int8 of first'")
    page = models_page(stack, two, EVERYTHING)
    assert approval not in page and "flip_preview" not in page, "a command has no DAG run and no flip preview"
    assert "<code>braintumor model promote first</code>" in page
    rows(two, "update gate_verdict set run_key = :run", run=RUN)
    assert promote_candidate(two, verdict["gate_verdict_id"])
    page = models_page(stack, two, EVERYTHING)
    assert "Candidates without a decision" not in page and 'Champion: <a href="model/first/report.html">' in page


def test_models_page_hides_people_and_runs_without_rights(stack: Stack, judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    user = {"id": "7", "name": "Dr. Who"}
    decision = {"chosen_options": ["Approve"], "responded_by_user": user, "responded_at": datetime.now(UTC)}
    record_decision(two, verdict["gate_verdict_id"], decision)
    assert promote_candidate(two, verdict["gate_verdict_id"], approval=decision, must_be_approved=True)
    everything, restricted = (models_page(stack, two, reader) for reader in (EVERYTHING, Reader()))
    assert everything.count("Dr. Who") == 3, "the champion, the approval of the run, and the promotion"
    assert "Dr. Who" not in restricted and "<td>approve</td>" in restricted
    for words in ("Scoring runs", "Rescores"):
        assert words in everything and words not in restricted


def test_two_selected_models_are_compared(stack: Stack, two: Settings) -> None:
    engine = database.connect(as_role(stack, two, Role.REVIEWER))
    page = compare_page(engine, ["first", "second"])
    assert "They predict different classes for 0 of" in page and page.count(">identical</td>") == 6
    with pytest.raises(EvaluationError, match=r"Selected: 1\. Go back"):
        compare_page(engine, ["first", "first"])
    assert compare_page(engine, ["first", "first", "second"]) == page
    rows(two, "delete from evaluation where split = 'test' and model_version_id = 1")
    assert "were never evaluated on the same test images" in compare_page(engine, ["first", champion(two)])
