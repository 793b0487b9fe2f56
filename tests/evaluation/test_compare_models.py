"""Tests of the comparison of two models on the same test images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import EvaluationError
from braintumor.evaluation.compare_models import compare
from braintumor.evaluation.evaluate_model import evaluate_on
from braintumor.labels import TumorClass
from braintumor.registry import model_versions
from tests.models import add_model
from tests.sql import change, rows


@pytest.fixture
def engine(two: Settings) -> Iterator[Engine]:
    made = database.connect(two)
    yield made
    made.dispose()


def set_predictions(settings: Settings, name: str, right: int, *, skip: int = 0) -> None:
    """Make ``right`` predictions per class correct after the first ``skip``, and all others wrong."""
    change(
        settings,
        """
        with place as (
            select evaluation_id, image_sha256, label,
                   row_number() over (partition by evaluation_id, label order by image_sha256) as number
            from test_prediction join evaluation using (evaluation_id) join model_version using (model_version_id)
            where model_name = :name and split = 'test'
        )
        update test_prediction
        set predicted_class = case
            when number > :skip and number <= :skip + :right then test_prediction.label
            when test_prediction.label = 'glioma' then 'normal'::tumor_class else 'glioma' end
        from place
        where test_prediction.evaluation_id = place.evaluation_id
          and test_prediction.image_sha256 = place.image_sha256""",
        name=name,
        right=right,
        skip=skip,
    )


def test_images_are_counted_in_total_and_by_class(two: Settings, engine: Engine) -> None:
    set_predictions(two, "first", right=3)
    set_predictions(two, "second", right=2, skip=2)
    comparison = compare(
        engine, model_versions.find_model(engine, "first"), model_versions.find_model(engine, "second")
    )
    per_class = comparison.all.count // 4
    assert per_class >= 4
    assert (comparison.all.both, comparison.all.only_a, comparison.all.only_b) == (4, 8, 4)
    assert comparison.all.neither == 4 * per_class - 16
    assert comparison.all.a == pytest.approx(12 / comparison.all.count) and comparison.difference == pytest.approx(
        -4 / comparison.all.count
    )
    assert set(comparison.by_class) == set(TumorClass)
    glioma = comparison.by_class[TumorClass.GLIOMA]
    assert (glioma.a, glioma.b) == (pytest.approx(3 / per_class), pytest.approx(2 / per_class))


def test_the_newest_common_snapshot_is_compared(two: Settings, engine: Engine) -> None:
    change(
        two,
        """
        insert into snapshot select 'newer', source_uri, count_image, count_copy, left_out, now() from snapshot;
        insert into snapshot_image select 'newer', image_sha256, group_key, label, split, image_uri, pixel_sha256,
            perceptual_hash, attributes, count_file from snapshot_image""",
    )
    first, second = model_versions.find_model(engine, "first"), model_versions.find_model(engine, "second")
    evaluate_on(two, "first", "newer", access_key="first")
    assert compare(engine, first, second).snapshot_id != "newer"
    evaluate_on(two, "second", "newer", access_key="first")
    assert compare(engine, first, second).snapshot_id == "newer"


def test_models_without_common_test_images_are_not_compared(two: Settings, engine: Engine) -> None:
    late = add_model(two, "late")
    with pytest.raises(
        EvaluationError, match=r"never evaluated on the same test images.*model evaluate NAME --snapshot"
    ):
        compare(engine, model_versions.find_model(engine, "first"), late)
    assert rows(two, "select distinct model_name from model_leaderboard order by 1") == [("first",), ("second",)]


def test_different_images_of_one_snapshot_are_not_paired(two: Settings, engine: Engine) -> None:
    change(
        two,
        """
        delete from test_prediction where (evaluation_id, image_sha256) in (
            select evaluation_id, min(image_sha256) from test_prediction join evaluation using (evaluation_id)
            join model_version using (model_version_id)
            where model_name = 'second' and split = 'test' group by evaluation_id)""",
    )
    with pytest.raises(EvaluationError, match="1 have a prediction of one model only"):
        compare(engine, model_versions.find_model(engine, "first"), model_versions.find_model(engine, "second"))
