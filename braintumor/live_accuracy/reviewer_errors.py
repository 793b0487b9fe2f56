"""Estimate how often reviewers err, from scans that two of them read blind, and correct the live accuracy for it."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np

from braintumor.labels import CLASSES
from braintumor.live_accuracy.estimate import Estimate, Floats

LOWEST_AGREEMENT = 0.5
"""Smallest lower end of the reviewers' agreement for a correction. Below it, small changes of the agreement change the
result a lot."""
_OTHERS = len(CLASSES) - 1


def correct_for_reviewers(
    agreement: Estimate | str, readers: Estimate | str, correlation: float = 0.0
) -> Estimate | str:
    """Return the share of scans that the model predicts correctly, or a text that says why there is no estimate.

    A reviewer errs with a probability e, so two reviewers agree on a share (1 - e)² + e² / 3 of the scans. This gives
    e. A model with the accuracy A agrees with a reviewer on a share A (1 - e) + (1 - A) e / 3. This gives A. Both
    formulas assume that reviewers err independently of each other and of the model, on all classes equally often, and
    that they confuse a class with each other class equally often.

    The interval combines the ends of the two intervals.

    Source: Rogan and Gladen, "Estimating prevalence from the results of a screening test", American Journal of
    Epidemiology 107 (1978) 71. Zou, "Toward using confidence intervals to compare correlations", Psychological Methods
    12 (2007) 399 (the interval).

    Args:
        agreement: share of scans on which one blind reviewer agrees with the model.
        readers: share of scans on which two blind reviewers agree with each other.
        correlation: correlation of these two estimates, by ``correlation_of_estimates``.
    """
    if isinstance(agreement, str):
        return agreement
    if isinstance(readers, str):
        return f"too few scans were read by two persons: {readers}"
    if readers.low < LOWEST_AGREEMENT:
        return f"two reviewers may agree on less than half of the scans (from {readers.low:.0%})"
    value, repeated = _accuracy(agreement.value, readers.value), readers.value
    below = value - _accuracy(agreement.low, repeated), value - _accuracy(agreement.value, readers.high)
    above = _accuracy(agreement.high, repeated) - value, _accuracy(agreement.value, readers.low) - value
    ends = value, value - _sum(*below, correlation), value + _sum(*above, correlation)
    value, low, high = (min(max(end, 0.0), 1.0) for end in ends)
    return replace(agreement, value=value, low=low, high=high)


def correlation_of_estimates(agreed: Floats, repeated: Floats, count: int) -> float:
    """Return the correlation of the two shares that ``correct_for_reviewers`` combines.

    Args:
        agreed: (n,) 1 if the first reviewer agrees with the model, 0 if not, for the scans that two reviewers read.
        repeated: (n,) 1 if these two reviewers agree with each other, 0 if not.
        count: number of scans that one reviewer or two read.
    """
    if not len(agreed) or not agreed.std() or not repeated.std():
        return 0.0
    return float(np.corrcoef(agreed, repeated)[0, 1]) * sqrt(len(agreed) / count)


def error_of_reviewers(repeated: float) -> float:
    """Return the probability of a wrong finding, if two readers agree on the share ``repeated`` (at least 1/4)."""
    return _OTHERS / len(CLASSES) * (1 - sqrt(max(0.0, 1 - len(CLASSES) / _OTHERS * (1 - repeated))))


def _sum(of_agreement: float, of_readers: float, correlation: float) -> float:
    """Return the deviation from two deviations. A larger agreement of the readers lowers the result."""
    return sqrt(of_agreement**2 + of_readers**2 - 2 * correlation * of_agreement * of_readers)


def _accuracy(agreement: float, repeated: float) -> float:
    error = error_of_reviewers(repeated)
    return (agreement - error / _OTHERS) / (1 - error - error / _OTHERS)
