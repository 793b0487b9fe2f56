"""Compute the accuracy of slices, which are images with a common attribute, for example one format or source.

>>> slices(pd.DataFrame({"label": labels, "predicted": predicted, "group_key": patients, "format": formats}))
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.optimism import MINIMUM_GROUPS
from braintumor.evaluation.metrics.significance import clustered_interval

NOT_GIVEN = "not given"
"""Value of the images without a value of the attribute."""
PREDICTION = ("label", "predicted", "group_key")
"""Columns of the predictions that are no attributes."""


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """Hold one slice with its number of correct predictions.

    Attributes:
        attribute: name of the attribute, such as ``format``.
        value: value of the attribute, which all images of the slice have, such as ``jpeg``.
        count: number of images, 1 or more.
        count_group: number of groups of related images. A group has the images of one patient, or near-duplicates.
        count_correct: number of images with a correct prediction.
        interval: 95% interval (low, high) of the accuracy, from ``clustered_interval``. ``None`` with fewer than
            ``MINIMUM_GROUPS`` groups.
    """

    attribute: str
    value: str
    count: int
    count_group: int
    count_correct: int
    interval: tuple[float, float] | None

    @property
    def accuracy(self) -> float:
        """Return the share of images with a correct prediction."""
        return self.count_correct / self.count


def slices(predictions: pd.DataFrame) -> list[SliceResult]:
    """Return the slices: for each attribute and value, the result of the images with this value.

    Args:
        predictions: one row per image with the columns ``label``, ``predicted`` and ``group_key``, and one column for
            each attribute. Related images, such as those of one patient, have the same ``group_key``. Missing values
            of an attribute form the slice ``not given``.

    Returns:
        The slices, with attributes in the order of their columns and the values of an attribute in alphabetical order.

    Raises:
        EvaluationError: the column ``label``, ``predicted`` or ``group_key`` is missing.
    """
    missing = [name for name in PREDICTION if name not in predictions.columns]
    if missing:
        raise EvaluationError(
            f"Slices need the columns {', '.join(PREDICTION)}, and one for each attribute. "
            f"Received: {', '.join(map(str, predictions.columns)) or 'none'}. Add {' and '.join(missing)}."
        )
    attributes = [str(column) for column in predictions.columns if column not in PREDICTION]
    return [
        _slice(name, str(value), images)
        for name in attributes
        for value, images in predictions.groupby(predictions[name].astype("string").fillna(NOT_GIVEN), sort=True)
    ]


def _slice(attribute: str, value: str, images: pd.DataFrame) -> SliceResult:
    hits = images["label"] == images["predicted"]
    count_group = images["group_key"].nunique()
    return SliceResult(
        attribute=attribute,
        value=value,
        count=len(images),
        count_group=count_group,
        count_correct=int(hits.sum()),
        interval=clustered_interval(hits, images["group_key"]) if count_group >= MINIMUM_GROUPS else None,
    )
