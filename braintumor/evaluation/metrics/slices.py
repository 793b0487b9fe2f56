"""Compute the accuracy of groups of images, for example by format or source.

>>> slices(pd.DataFrame({"label": labels, "predicted": predicted, "format": formats}))
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from braintumor.errors import EvaluationError

MINIMUM_IMAGES = 20
"""Smallest number of images for which a group's accuracy is computed.

For 18 correct predictions of 19 images, the interval is 0.75 to 0.99, which is too wide to act on.
"""
NOT_GIVEN = "not given"
"""Name of the group of images without a value of the attribute."""
_PREDICTION = ("label", "predicted")


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """Hold one group of images with its number of correct predictions.

    Attributes:
        attribute: name of the attribute by which the images are grouped, such as ``format``.
        value: value of the attribute, which all images of the group have, such as ``jpeg``.
        count: number of images, 1 or more.
        count_correct: number of images with a correct prediction.
    """

    attribute: str
    value: str
    count: int
    count_correct: int

    @property
    def is_assessed(self) -> bool:
        """Return whether the group has ``MINIMUM_IMAGES`` images or more."""
        return self.count >= MINIMUM_IMAGES


def slices(predictions: pd.DataFrame) -> list[SliceResult]:
    """Return the result of each group of images with the same value of an attribute.

    Args:
        predictions: one row per image with the columns ``label`` and ``predicted``, and one column for each attribute.
            Missing values form the group ``not given``.

    Returns:
        The groups, with attributes in the order of their columns and the values of an attribute in alphabetical order.

    Raises:
        EvaluationError: the column ``label`` or ``predicted`` is missing.
    """
    missing = [name for name in _PREDICTION if name not in predictions.columns]
    if missing:
        raise EvaluationError(
            f"Slices need the columns {' and '.join(_PREDICTION)}, and one for each attribute. "
            f"Received: {', '.join(map(str, predictions.columns)) or 'none'}. Add {' and '.join(missing)}."
        )
    is_correct = predictions["label"] == predictions["predicted"]
    attributes = [str(column) for column in predictions.columns if column not in _PREDICTION]
    return [result for name in attributes for result in _by(name, predictions[name], is_correct)]


def _by(attribute: str, values: pd.Series, is_correct: pd.Series) -> list[SliceResult]:
    groups = is_correct.groupby(values.astype("string").fillna(NOT_GIVEN), sort=True)
    return [
        SliceResult(attribute=attribute, value=str(value), count=len(group), count_correct=int(group.sum()))
        for value, group in groups
    ]
