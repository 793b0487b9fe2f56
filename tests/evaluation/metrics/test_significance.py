"""Tests of paired statistics against values computed by hand, from a table and by SciPy."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
from scipy.stats import bootstrap

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.classification import wilson_interval
from braintumor.evaluation.metrics.significance import (
    ClusteredAccuracy,
    ImagePrediction,
    ImagePredictions,
    PredictionPair,
    bootstrap_interval,
    change_interval,
    clustered_interval,
    difference_of_images,
    mcnemar,
    paired_test,
)
from braintumor.labels import TumorClass

RIGHT, WRONG = TumorClass.GLIOMA, TumorClass.NORMAL


def predictions(corrects: str, *, group_size: int = 1, prefix: str = "image") -> ImagePredictions:
    """Return one image per letter, ``r`` for a correct prediction. ``group_size`` neighbors form a group."""
    return {
        f"{prefix} {i}": ImagePrediction(
            label=RIGHT, predicted=RIGHT if letter == "r" else WRONG, group_key=str(i // group_size)
        )
        for i, letter in enumerate(corrects)
    }


def pair(candidate: str, champion: str, *, group_size: int = 1) -> PredictionPair:
    return PredictionPair(
        candidate=predictions(candidate, group_size=group_size), champion=predictions(champion, group_size=group_size)
    )


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),  # no difference
        (1, 0, 1 / 2),
        (5, 0, 1 / 32),
        (0, 5, 1.0),
        (8, 2, 56 / 1024),  # (45 + 10 + 1) / 2^10
        (9, 1, 11 / 1024),
        (3, 3, 42 / 64),
    ],
)
def test_mcnemar_matches_binomial_probabilities(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost=lost, gained=gained) == pytest.approx(p)


def test_lost_and_gained_images_are_counted() -> None:
    comparison = paired_test(pair("rrrrwwww", "rrwwrwww"))
    assert (comparison.count, comparison.count_group) == (8, 8)
    assert (comparison.lost, comparison.gained) == (1, 2)
    assert comparison.change == pytest.approx(1 / 8)
    assert comparison.p_worse == pytest.approx(7 / 8)
    assert comparison.low <= comparison.change <= comparison.high


@pytest.mark.parametrize(
    ("lost", "gained", "low"),
    [
        (0, 0, -0.0487),  # 0.9513 ** 60 = 0.05
        (1, 0, -0.0766),  # the upper end of the Clopper-Pearson interval of 1 of 60
        (1, 1, -0.0487),
        (0, 3, 0.0138 - 0.0487),
    ],
)
def test_few_differences_have_an_exact_lower_end(lost: int, gained: int, low: float) -> None:
    same = "r" * (60 - lost - gained)
    comparison = paired_test(pair(same + "w" * lost + "r" * gained, same + "r" * lost + "w" * gained))
    assert comparison.low == pytest.approx(low, abs=0.0002)
    assert comparison.change <= comparison.high


def test_a_loss_at_the_margin_rarely_passes_in_few_groups() -> None:
    """Of 20,000 candidates that lose 5 points and gain none, 13% to 19% passed by the bootstrap alone."""
    random = np.random.default_rng(0)
    for count in (40, 60, 100):
        drawn = Counter(random.binomial(count, 0.05, 20_000).tolist())
        lows = {
            lost: change_interval({kind: n for kind, n in {(-1, 1): lost, (0, 1): count - lost}.items() if n})[0]
            for lost in drawn
        }
        assert sum(number for lost, number in drawn.items() if lows[lost] >= -0.05) <= 0.055 * 20_000


def test_the_interval_does_not_depend_on_the_image_order() -> None:
    made = pair("rrrrwwww" * 30, "rrwwrwww" * 30)
    turned = PredictionPair(
        candidate=dict(reversed(made.candidate.items())), champion=dict(reversed(made.champion.items()))
    )
    assert paired_test(made) == paired_test(turned)


@pytest.mark.parametrize(("lost", "gained"), [(14, 12), (30, 10), (1, 9)])
def test_the_interval_of_single_images_matches_scipy(lost: int, gained: int) -> None:
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


def test_the_interval_of_groups_matches_explicit_resampling() -> None:
    """Resample forty groups of one to four images explicitly."""
    random = np.random.default_rng(5)
    sizes = random.integers(1, 5, 40)
    changes = np.array([random.integers(-size, size + 1) for size in sizes])
    drawn = random.integers(0, 40, (10_000, 40))
    expected = np.quantile(changes[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.05, 0.95])
    ours = bootstrap_interval(Counter(zip(changes.tolist(), sizes.tolist(), strict=True)))
    assert ours == pytest.approx(tuple(expected), abs=0.02)


def test_grouped_images_widen_the_interval() -> None:
    candidate, champion = "rrrr" * 90 + "wwww" * 4 + "rrrr" * 4, "rrrr" * 90 + "rrrr" * 4 + "wwww" * 4
    alone, together = paired_test(pair(candidate, champion)), paired_test(pair(candidate, champion, group_size=4))
    assert alone.count == together.count == 392 and together.count_group == 98
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_different_images_or_labels_are_refused_with_counts() -> None:
    made = pair("rrr", "rrr")
    image = made.champion["image 1"]
    champion = {
        "image 0": made.champion["image 0"],
        "image 1": ImagePrediction(label=TumorClass.PITUITARY, predicted=image.predicted, group_key=image.group_key),
        **predictions("rr", prefix="other"),
    }
    other = PredictionPair(candidate=made.candidate, champion=champion)
    assert difference_of_images(other) == (
        "1 images only the candidate predicted, 2 images only the champion predicted, 1 images differ in their label"
    )
    with pytest.raises(EvaluationError, match="only the champion predicted"):
        paired_test(other)
    with pytest.raises(EvaluationError, match="no predictions"):
        paired_test(PredictionPair(candidate={}, champion={}))


def test_the_clustered_interval_matches_explicit_resampling() -> None:
    random = np.random.default_rng(7)
    sizes = random.integers(1, 30, 60)
    clusters = np.repeat(np.arange(60), sizes)
    hits = random.random(len(clusters)) < np.repeat(random.beta(4, 1, 60), sizes)
    right = np.bincount(clusters, hits)
    drawn = random.integers(0, 60, (10_000, 60))
    expected = np.quantile(right[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    assert clustered_interval(hits, clusters) == pytest.approx(tuple(expected), abs=0.005)


def test_a_cluster_per_image_gives_nearly_wilsons_interval() -> None:
    hits = [True] * 340 + [False] * 60
    assert clustered_interval(hits, range(400)) == pytest.approx(wilson_interval(340, 400), abs=0.006)


def test_clustered_intervals_cover_where_wilsons_do_not() -> None:
    """Draw 200 samples of 80 patients with 12 images each, whose accuracy varies by patient with mean 0.8."""
    random = np.random.default_rng(11)
    clusters = np.repeat(np.arange(80), 12)
    covered = {"clustered": 0, "Wilson": 0}
    for _ in range(200):
        hits = random.random(len(clusters)) < np.repeat(random.beta(1.6, 0.4, 80), 12)
        intervals = {
            "clustered": clustered_interval(hits, clusters),
            "Wilson": wilson_interval(int(hits.sum()), len(hits)),
        }
        for name, (low, high) in intervals.items():
            covered[name] += low <= 0.8 <= high
    assert covered["clustered"] >= 180  # 190 expected at 95%
    assert covered["Wilson"] <= 150


def test_the_clustered_interval_ignores_the_image_order() -> None:
    hits, clusters = [True, False, True, True, False], ["a", "a", "b", "c", "c"]
    assert clustered_interval(hits, clusters) == clustered_interval(hits[::-1], clusters[::-1])


def test_equal_clusters_give_wilsons_interval_of_the_clusters() -> None:
    assert clustered_interval([True] * 40, [f"patient {i // 10}" for i in range(40)]) == wilson_interval(4, 4)
    assert clustered_interval([True, False] * 8, ["one patient"] * 16) == wilson_interval(0.5, 1)


@pytest.mark.parametrize(("hits", "clusters"), [([], []), ([True, False], ["a"])])
def test_images_without_a_cluster_are_refused(hits: list[bool], clusters: list[str]) -> None:
    with pytest.raises(EvaluationError, match=f"Received: {len(hits)} images and {len(clusters)} clusters"):
        clustered_interval(hits, clusters)


def test_clustered_accuracy_counts_patients_and_groups() -> None:
    images = predictions("rrwrrwrrrr", group_size=2)
    known = [replace(each, has_patient=each.group_key != "4") for each in images.values()]
    accuracy = ClusteredAccuracy.of(known)
    assert (accuracy.count, accuracy.count_known, accuracy.count_cluster, accuracy.accuracy) == (10, 8, 5, 0.8)
    hits = [letter == "r" for letter in "rrwrrwrrrr"]
    assert (accuracy.low, accuracy.high) == clustered_interval(hits, [n // 2 for n in range(10)])
