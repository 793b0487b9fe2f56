"""Accuracy of groups of images: by format, by source, by whatever is known of each image.

>>> results = slices(pd.DataFrame({"label": labels, "predicted": answers, "format": formats}))
>>> slices_frame(results)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.classification import wilson_interval

MINIMUM_IMAGES = 20
"""Below it an interval is wider than any difference that could be acted on: 18 of 19 is 0.75 to 0.99."""
NOT_GIVEN = "not given"
"""The group of the images that do not have an attribute which others have: they are in no value of it."""
_ANSWER = ("label", "predicted")


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """One group of images and how many of them were called their class.

    Attributes:
        attribute: what the images are grouped by, such as ``format``.
        value: what they have in common, such as ``jpeg``.
        count: number of images, 1 or more.
        count_correct: of these, called their class.
    """

    attribute: str
    value: str
    count: int
    count_correct: int

    @property
    def is_assessed(self) -> bool:
        """Whether there are images enough to say anything."""
        return self.count >= MINIMUM_IMAGES

    @property
    def accuracy(self) -> float | None:
        """Share called their class; ``None`` where not assessed."""
        return self.count_correct / self.count if self.is_assessed else None

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """95% Wilson interval of the accuracy; ``None`` where not assessed."""
        return wilson_interval(self.count_correct, self.count) if self.is_assessed else None


def slices(answers: pd.DataFrame) -> list[SliceResult]:
    """Group images by every attribute in turn.

    Args:
        answers: one row per image; columns ``label`` and ``predicted``, and one column for each attribute. A missing
            value is a group of its own, ``not given``.

    Returns:
        Attributes in the order of their columns, values in alphabetical order.

    Raises:
        EvaluationError: ``label`` or ``predicted`` is missing.
    """
    missing = [name for name in _ANSWER if name not in answers.columns]
    if missing:
        raise EvaluationError(
            f"Slices need the columns {' and '.join(_ANSWER)}, and one for each attribute. "
            f"Received: {', '.join(map(str, answers.columns)) or 'none'}. Add {' and '.join(missing)}."
        )
    is_correct = answers["label"] == answers["predicted"]
    attributes = [str(column) for column in answers.columns if column not in _ANSWER]
    return [result for name in attributes for result in _by(name, answers[name], is_correct)]


def slices_frame(results: Iterable[SliceResult]) -> pd.DataFrame:
    """One row per group; accuracy and interval are NaN where a group is not assessed."""
    columns = ["attribute", "value", "count", "count_correct", "accuracy", "accuracy_low", "accuracy_high"]
    rows = [
        (r.attribute, r.value, r.count, r.count_correct, r.accuracy, *(r.accuracy_interval or (None, None)))
        for r in results
    ]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[4:], "float64"))


def _by(attribute: str, values: pd.Series, is_correct: pd.Series) -> list[SliceResult]:
    groups = is_correct.groupby(values.astype("string").fillna(NOT_GIVEN), sort=True)
    return [
        SliceResult(attribute=attribute, value=str(value), count=len(group), count_correct=int(group.sum()))
        for value, group in groups
    ]
