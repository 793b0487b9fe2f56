"""Two models on the same test images, image by image: what one lost, what it gained, and what chance would do.

Only images on which exactly one of the two is right tell them apart. ``mcnemar`` asks whether the candidate loses more
of them than a fair coin would; the bootstrap interval says how much better or worse it may be.

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
"""Fixed, so that the same answers get the same verdict."""
CONFIDENCE = 0.95
"""Of each end of the interval by itself: the change lies above the lower end with this confidence."""


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """What one model said of one test image; ``group_key`` is that of the images that belong together."""

    label: TumorClass
    predicted: TumorClass
    group_key: str

    @property
    def is_correct(self) -> bool:
        """Whether it is the class that the image has."""
        return self.predicted is self.label


ImagePredictions = Mapping[str, ImagePrediction]
"""By the sha256 of the image."""


@dataclass(frozen=True, kw_only=True)
class PredictionPair:
    """The answers of a candidate and of the champion, each to all images that it was judged on."""

    candidate: ImagePredictions
    champion: ImagePredictions


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """What a candidate changes against the champion on the same images.

    Attributes:
        count: images.
        count_group: groups of images that belong together; as many as images where each stands alone.
        lost: images that the champion alone gets right.
        gained: images that the candidate alone gets right.
        low: lower end of the interval of ``change``.
        high: upper end.
        p_worse: of ``mcnemar``.
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
        """Accuracy of the candidate minus that of the champion."""
        return (self.gained - self.lost) / self.count


def difference_of_images(pair: PredictionPair) -> str:
    """Why the two were not judged on the same images with the same labels; empty where they were."""
    ours, theirs = pair.candidate.keys(), pair.champion.keys()
    found = {
        "only the candidate answered": len(ours - theirs),
        "only the champion answered": len(theirs - ours),
        "have another label since": sum(
            pair.candidate[image].label is not pair.champion[image].label for image in ours & theirs
        ),
    }
    return ", ".join(f"{count} images {words}" for words, count in found.items() if count)


def paired_test(pair: PredictionPair) -> PairedTest:
    """Set the answers of two models beside each other.

    Raises:
        EvaluationError: they are not of the same images, or there are none.
    """
    difference = difference_of_images(pair)
    if difference or not pair.candidate:
        raise EvaluationError(
            f"Only answers to the same images can be compared. Received: {difference or 'no answers'}. "
            "Evaluate both models on one snapshot."
        )
    changes = {
        image: int(answer.is_correct) - int(pair.champion[image].is_correct) for image, answer in pair.candidate.items()
    }
    held: defaultdict[str, list[int]] = defaultdict(list)
    for image, change in changes.items():
        held[pair.candidate[image].group_key].append(change)
    groups = Counter((sum(group), len(group)) for group in held.values())
    lost, gained = (list(changes.values()).count(change) for change in (-1, 1))
    low, high = bootstrap_interval(groups)
    return PairedTest(
        count=len(changes),
        count_group=groups.total(),
        lost=lost,
        gained=gained,
        low=low,
        high=high,
        p_worse=mcnemar(lost=lost, gained=gained),
    )


def mcnemar(*, lost: int, gained: int) -> float:
    """McNemar's exact test, one-sided: how often chance loses so many images or more, were both models equal.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947; exact by the binomial distribution.
    """
    if lost + gained == 0:
        return 1.0
    return float(binomtest(lost, lost + gained, alternative="greater").pvalue)


def bootstrap_interval(groups: Mapping[tuple[int, int], int], *, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Percentile interval of the change in accuracy, when whole groups of images are drawn again with replacement.

    Neighboring slices of one head are answered alike, so they are no independent evidence: they are drawn together.
    Groups of the same size and change are interchangeable, so it is enough to draw how many of each kind there are.
    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.

    Args:
        groups: (images gained minus images lost, images) -> number of such groups.
        resamples: how often they are drawn.
    """
    kinds = sorted(groups)  # in one order, so that one seed gives one interval
    count = np.array([groups[kind] for kind in kinds])
    change, size = np.array(kinds).T
    drawn = np.random.default_rng(SEED).multinomial(count.sum(), count / count.sum(), size=resamples)  # (R, kinds)
    low, high = np.quantile((drawn @ change) / (drawn @ size), [1 - CONFIDENCE, CONFIDENCE])
    return float(low), float(high)
