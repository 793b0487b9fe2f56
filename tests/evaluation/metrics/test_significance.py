"""Paired statistics against values known by hand, from a table, and from SciPy."""

from __future__ import annotations

from collections import Counter
from itertools import repeat

import numpy as np
import pytest
from scipy.stats import bootstrap

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.significance import (
    ImagePrediction,
    ImagePredictions,
    PredictionPair,
    bootstrap_interval,
    difference_of_images,
    mcnemar,
    paired_test,
)
from braintumor.labels import TumorClass

RIGHT, WRONG = TumorClass.GLIOMA, TumorClass.NORMAL


def answers(corrects: str, *, group_size: int = 1, prefix: str = "image") -> ImagePredictions:
    """One image for each letter, ``r`` for a right answer; so many neighbors form a group."""
    return {
        f"{prefix} {i}": ImagePrediction(
            label=RIGHT, predicted=RIGHT if letter == "r" else WRONG, group_key=str(i // group_size)
        )
        for i, letter in enumerate(corrects)
    }


def pair(candidate: str, champion: str, *, group_size: int = 1) -> PredictionPair:
    return PredictionPair(
        candidate=answers(candidate, group_size=group_size), champion=answers(champion, group_size=group_size)
    )


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),  # nothing tells them apart
        (1, 0, 1 / 2),
        (5, 0, 1 / 32),
        (0, 5, 1.0),
        (8, 2, 56 / 1024),  # (45 + 10 + 1) / 2^10
        (9, 1, 11 / 1024),
        (3, 3, 42 / 64),
    ],
)
def test_mcnemar_is_the_share_of_coin_tosses_that_lose_so_many_or_more(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost=lost, gained=gained) == pytest.approx(p)


def test_each_image_is_counted_by_who_is_right() -> None:
    comparison = paired_test(pair("rrrrwwww", "rrwwrwww"))
    assert (comparison.count, comparison.count_group) == (8, 8)
    assert (comparison.lost, comparison.gained) == (1, 2)
    assert comparison.change == pytest.approx(1 / 8)
    assert comparison.p_worse == pytest.approx(7 / 8)
    assert comparison.low <= comparison.change <= comparison.high


def test_the_same_answers_leave_no_doubt() -> None:
    comparison = paired_test(pair("rrw" * 20, "rrw" * 20))
    assert (comparison.low, comparison.high, comparison.p_worse) == (0, 0, 1)


def test_one_seed_gives_one_interval_whatever_the_order_of_the_images() -> None:
    made = pair("rrrrwwww" * 30, "rrwwrwww" * 30)
    turned = PredictionPair(
        candidate=dict(reversed(made.candidate.items())), champion=dict(reversed(made.champion.items()))
    )
    assert paired_test(made) == paired_test(turned)


@pytest.mark.parametrize(("lost", "gained"), [(14, 12), (30, 10), (1, 9)])
def test_the_interval_is_scipys_where_each_image_stands_alone(lost: int, gained: int) -> None:
    changes = np.array([*repeat(-1, lost), *repeat(1, gained), *repeat(0, 430 - lost - gained)])
    theirs = bootstrap(
        (changes,),
        np.mean,
        confidence_level=0.90,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    ours = bootstrap_interval({(-1, 1): lost, (1, 1): gained, (0, 1): 430 - lost - gained})
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.0025)  # one image is 0.0023


def test_the_interval_is_that_of_whole_groups_drawn_one_by_one() -> None:
    """Forty groups of one to four images, resampled here the long way."""
    random = np.random.default_rng(5)
    sizes = random.integers(1, 5, 40)
    changes = np.array([random.integers(-size, size + 1) for size in sizes])
    drawn = random.integers(0, 40, (10_000, 40))
    expected = np.quantile(changes[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.05, 0.95])
    ours = bootstrap_interval(Counter(zip(changes.tolist(), sizes.tolist(), strict=True)))
    assert ours == pytest.approx(tuple(expected), abs=0.02)


def test_slices_of_one_head_are_no_independent_evidence() -> None:
    candidate, champion = "rrrr" * 90 + "wwww" * 4 + "rrrr" * 4, "rrrr" * 90 + "rrrr" * 4 + "wwww" * 4
    alone, together = paired_test(pair(candidate, champion)), paired_test(pair(candidate, champion, group_size=4))
    assert alone.count == together.count == 392 and together.count_group == 98
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_other_images_or_labels_are_named_and_never_compared() -> None:
    made = pair("rrr", "rrr")
    image = made.champion["image 1"]
    champion = {
        "image 0": made.champion["image 0"],
        "image 1": ImagePrediction(label=TumorClass.PITUITARY, predicted=image.predicted, group_key=image.group_key),
        **answers("rr", prefix="other"),
    }
    other = PredictionPair(candidate=made.candidate, champion=champion)
    assert difference_of_images(other) == (
        "1 images only the candidate predicted, 2 images only the champion predicted, 1 images differ in their label"
    )
    with pytest.raises(EvaluationError, match="only the champion predicted"):
        paired_test(other)
    with pytest.raises(EvaluationError, match="no predictions"):
        paired_test(PredictionPair(candidate={}, champion={}))
