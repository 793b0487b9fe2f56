"""Watch the live accuracy for a drop below the test accuracy, with few false alarms in a year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from braintumor.db.statements import statement
from braintumor.live_accuracy.estimate import Floats

ALARM = 20
"""Wealth that raises an alarm. At most 1 / 20 of the years have a false alarm."""
DROPS = (0.02, 0.05, 0.10, 0.20)
"""Possible drops of the accuracy below its target. ``monitor_wealth`` makes one bet for each drop."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Hold the blind finding on one audited scan.

    ``is_agreed`` says whether the finding is the class that the model ``model_version_id`` predicted. ``target`` is the
    smallest acceptable accuracy of this model, 0 to 1.
    """

    model_version_id: int
    is_agreed: bool
    target: float


def monitor_wealth(correct: Floats, *, target: Floats | float) -> Floats:
    """Return the wealth from bets that the accuracy is below ``target``, after each reviewed patient or scan.

    The wealth starts at 1 and grows while predictions are wrong more often than ``target`` allows. If the accuracy is
    ``target`` or more, the probability that the wealth ever reaches 1 / a is at most a. The bound holds for all times
    together, so the wealth may be checked every night. For example, scans are counted over one year, and a wealth of 20
    raises an alarm. Then the probability of a false alarm in this year is at most 5%.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024.

    Args:
        correct: (..., n) share of correct predictions of each patient or scan, 0 to 1, oldest first.
        target: the smallest acceptable accuracy, above 0 and below 1, one for all or one for each, (n,).

    Returns:
        (..., n), the mean wealth of the bets. There is one bet for each of the drops ``DROPS``.
    """
    aim = np.asarray(target)[..., None]
    stakes = np.minimum(DROPS, 0.9 * aim) / (aim * (1 - aim))
    gains = np.log1p(stakes * (aim - correct[..., None]))  # (..., n, stakes)
    wealth: Floats = np.exp(gains.cumsum(axis=-2)).mean(axis=-1)
    return wealth


def drop_evidence(answers: Sequence[Answer], model_version_id: int) -> float:
    """Return the largest wealth so far of bets that the accuracy is too low, 1 without answers.

    ``answers`` are of one year, oldest first. ``model_version_id`` is the model that scores now. After an alarm the
    bets start again at the first answer about another model. A false alarm is possible only if the bets have reached
    ``ALARM`` once, so the bound on false alarms in a year stays valid.
    """
    start = 0
    while start < len(answers):
        rest = answers[start:]
        correct = np.array([answer.is_agreed for answer in rest], float)
        wealth = monitor_wealth(correct, target=np.array([answer.target for answer in rest]))
        reached = np.flatnonzero(wealth >= ALARM)
        if not len(reached):
            return float(wealth.max())
        alarmed = rest[reached[0]].model_version_id
        others = (n for n in range(int(reached[0]), len(rest)) if rest[n].model_version_id != alarmed)
        following = next(others, None)
        if following is None:
            return float(wealth.max()) if alarmed == model_version_id else 1.0
        start += following
    return 1.0


def read_drop_evidence(connection: Connection, model_version_id: int, *, drop: float) -> float | None:
    """Return the evidence of this year (UTC) that the live accuracy is too low, ``None`` without an audited scan.

    The smallest acceptable accuracy is ``drop`` below the accuracy of the scan's model on test. Each patient or scan
    counts once, with the first finding.
    """
    rows = connection.execute(statement("live_accuracy/answers_of_year"))
    answers = [
        Answer(
            model_version_id=row.model_version_id,
            is_agreed=row.is_agreed,
            target=min(max(row.test_accuracy - drop, _LOWEST), _HIGHEST),
        )
        for row in rows
    ]
    return drop_evidence(answers, model_version_id) if answers else None


_LOWEST, _HIGHEST = 0.05, 0.995
