"""Test the significance of the difference between two models on the same test images.

Only images that exactly one of the two models predicts correctly matter. ``mcnemar`` tests whether the candidate loses
more of them than chance would. The bootstrap interval bounds the change of accuracy.

>>> comparison = paired_test(candidate, champion)
>>> comparison.change, comparison.low, comparison.high
(-0.0047, -0.0256, 0.0163)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from braintumor.errors import EvaluationError
from braintumor.labels import TumorClass

RESAMPLES = 10_000
SEED = 20_261_123
"""Fixed, so that the same predictions get the same verdict."""
CONFIDENCE = 0.95
"""One-sided, for each end of the interval: the change is above the lower end with this confidence."""


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """A model's prediction for one test image. ``group_key`` is the same for images that belong together."""

    label: TumorClass
    predicted: TumorClass
    group_key: str

    @property
    def is_correct(self) -> bool:
        """Whether the predicted class is the label."""
        return self.predicted is self.label


ImagePredictions = Mapping[str, ImagePrediction]
"""By the sha256 of the image."""


@dataclass(frozen=True, kw_only=True)
class PredictionPair:
    """The predictions of a candidate and of the champion for all images of their evaluations."""

    candidate: ImagePredictions
    champion: ImagePredictions


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """The difference between a candidate and the champion on the same images.

    Attributes:
        count: number of images.
        count_group: number of groups of images that belong together.
        lost: images that only the champion predicts correctly.
        gained: images that only the candidate predicts correctly.
        low: lower end of the interval of ``change``.
        high: upper end of the interval of ``change``.
        p_worse: p value of ``mcnemar``.
    """

    count: int
    count_group: int
    lost: int
    gained: int
    low: float
    high: float
    p_worse: float

    @property
    def change(self) -> float:
        """Return the candidate's accuracy minus the champion's."""
        return (self.gained - self.lost) / self.count


def difference_of_images(pair: PredictionPair) -> str:
    """Describe how images or labels of the two differ. Empty if they are the same."""
    ours, theirs = pair.candidate.keys(), pair.champion.keys()
    counts = {
        "only the candidate predicted": len(ours - theirs),
        "only the champion predicted": len(theirs - ours),
        "differ in their label": sum(
            pair.candidate[image].label is not pair.champion[image].label for image in ours & theirs
        ),
    }
    return ", ".join(f"{count} images {words}" for words, count in counts.items() if count)


def paired_test(pair: PredictionPair) -> PairedTest:
    """Compare the predictions of two models.

    Raises:
        EvaluationError: they are for different images, or there are none.
    """
    difference = difference_of_images(pair)
    if difference or not pair.candidate:
        raise EvaluationError(
            f"Only predictions for the same images can be compared. Received: {difference or 'no predictions'}. "
            "Evaluate both models on one snapshot."
        )
    grouped: defaultdict[str, list[int]] = defaultdict(list)
    for image, prediction in pair.candidate.items():
        change = int(prediction.is_correct) - int(pair.champion[image].is_correct)
        grouped[prediction.group_key].append(change)
    groups = Counter((sum(changes), len(changes)) for changes in grouped.values())
    lost, gained = (sum(changes.count(change) for changes in grouped.values()) for change in (-1, 1))
    low, high = bootstrap_interval(groups)
    return PairedTest(
        count=len(pair.candidate),
        count_group=groups.total(),
        lost=lost,
        gained=gained,
        low=low,
        high=high,
        p_worse=mcnemar(lost=lost, gained=gained),
    )


def mcnemar(*, lost: int, gained: int) -> float:
    """Return the p value of McNemar's exact one-sided test.

    It is the probability of losing this many images or more by chance if both models are equal.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947, exact with the binomial distribution.
    """
    if lost + gained == 0:
        return 1.0
    return float(binomtest(lost, lost + gained, alternative="greater").pvalue)


def bootstrap_interval(groups: Mapping[tuple[int, int], int], *, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the percentile interval of the change in accuracy, with groups of images resampled with replacement.

    Neighboring slices of one head get similar predictions and are not independent, so a group is resampled as a whole.
    Groups of the same size and change are interchangeable, so only the number of each kind is drawn.
    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.

    Args:
        groups: (images gained minus images lost, images) -> number of such groups.
        resamples: number of resamples.
    """
    kinds = sorted(groups)  # a fixed order, so that one seed gives one interval
    count = np.array([groups[kind] for kind in kinds])
    change, size = np.array(kinds).T
    drawn = np.random.default_rng(SEED).multinomial(count.sum(), count / count.sum(), size=resamples)  # (R, kinds)
    low, high = np.quantile((drawn @ change) / (drawn @ size), [1 - CONFIDENCE, CONFIDENCE])
    return float(low), float(high)
