"""Test the choice of the gate's reference model."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.errors import PromotionError
from braintumor.registry import model_versions, promotions
from braintumor.registry.reference_model import find_reference, name_reference
from tests.models import add_model
from tests.sql import change, rows


def name(engine: Engine, model_name: str) -> bool:
    return name_reference(engine, model_versions.find_model(engine, model_name), actor="ann", reason="validated here")


def test_the_newest_choice_is_the_reference(settings: Settings, engine: Engine) -> None:
    add_model(settings, "b")
    assert find_reference(engine) is None
    assert name(engine, "1") and name(engine, "b")
    reference = find_reference(engine)
    assert reference is not None and reference.model_name == "b"
    assert rows(settings, "select actor, reason from reference_model") == [("ann", "validated here")] * 2


def test_the_present_reference_gets_no_second_row(settings: Settings, engine: Engine) -> None:
    assert name(engine, "1")
    assert not name(engine, "1")
    assert rows(settings, "select count(*) from reference_model") == [(1,)]


def test_a_withdrawn_model_is_no_reference(settings: Settings, engine: Engine) -> None:
    add_model(settings, "b")
    name(engine, "b")
    promotions.withdraw(engine, model_versions.find_model(engine, "b"), actor="ann", reason="mislabeled")
    assert find_reference(engine) is None
    with pytest.raises(PromotionError, match="b was withdrawn, so it cannot be the reference model"):
        name(engine, "b")


def test_a_pruned_model_cannot_be_named(settings: Settings, engine: Engine) -> None:
    add_model(settings, "b")
    change(
        settings,
        """
        insert into pruning (model_version_id, actor, reason)
        select model_version_id, 'a', 'r' from model_version where model_name = 'b'""",
    )
    with pytest.raises(PromotionError, match="b has no files, because they were pruned"):
        name(engine, "b")
