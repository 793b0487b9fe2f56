"""Test that the review pages name the classes of a prediction set."""

from __future__ import annotations

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.review.page import Caller, frame_page, worklist_page
from braintumor.review.worklist import AUDIT, Filters, list_worklist
from tests.sql import change

ANN = Caller(person="ann", is_reviewer=True, base="/r/")


def pages(engine: Engine) -> tuple[str, str]:
    """Return the worklist and the page of scan 1."""
    return worklist_page(engine, Filters(), ANN, number=0), frame_page(engine, (1, 0), ANN, filters=Filters())


def test_pages_name_the_predicted_class_and_others_of_the_set(scored: Settings, engine: Engine) -> None:
    change(
        scored, "update prediction set predicted_class = 'meningioma', prediction_set = '{glioma,meningioma,pituitary}'"
    )
    for page in pages(engine):
        assert "meningioma or glioma or pituitary" in page


def test_pages_name_the_predicted_class_without_a_set(scored: Settings, engine: Engine) -> None:
    for stored in ("'{}'", "null"):
        change(scored, f"update prediction set predicted_class = 'glioma', prediction_set = {stored}")
        worklist, frame = pages(engine)
        assert "<b>glioma</b>" in worklist and "<em>glioma</em>" in frame


def test_audit_sample_hides_the_prediction_set(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set prediction_set = '{glioma,meningioma}'")
    hidden = list_worklist(engine, AUDIT, person="ann")
    assert hidden and all(each.prediction_set == () for each in hidden)
