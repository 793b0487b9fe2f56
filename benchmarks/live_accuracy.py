"""Simulate intervals and alarms of the live accuracy: ``python -m benchmarks.live_accuracy``.

A month has 4,200 scans of patients with one or more scans. The confidences of one patient's scans are alike. The chance
that a prediction is correct is equal to its confidence, or lower by a shift. Reviewers read a scan with a probability
of 0.02 (audit sample). They read a scan with a confidence below 0.6 with a probability of 0.5. The seed is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braintumor.evaluation.metrics.live_accuracy import (
    Estimate,
    Floats,
    ReviewedScans,
    estimate_accuracy,
    monitor_wealth,
)

_DRAWS = 1000
_SCANS = 4200
_AUDIT, _FLAGGED, _FLAGGED_BELOW = 0.02, 0.5, 0.6
_WEEKLY = 20
"""Number of scans in the audit sample of a week, with 140 scans a night."""
_ALARM = 20
"""Wealth of the bet in ``monitor_wealth`` that raises an alarm. At most 5% of years have a false alarm."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The share of intervals that contain the true accuracy, and the mean width of the intervals."""

    covered: float
    width: float


def coverage(*, shift: float, only_audit: bool, seed: int = 0, draws: int = _DRAWS) -> dict[str, Coverage]:
    """Return the coverage of each estimate over ``draws`` months.

    Args:
        shift: how much lower the chance of a correct prediction is than its confidence.
        only_audit: whether reviewers read the audit sample only. Otherwise they also read scans with low confidence.
        seed: seed of all random numbers.
        draws: number of months.
    """
    random = np.random.default_rng(seed)
    results: dict[str, list[tuple[bool, float]]] = {"unweighted": [], "weighted": [], "with confidences": []}
    for _ in range(draws):
        patient = np.repeat(np.arange(_SCANS), random.poisson(0.3, size=_SCANS) + 1)[:_SCANS]
        typical = random.beta(6, 0.8, size=_SCANS)[patient]
        confidence = np.clip(0.25 + 0.75 * (0.9 * typical + 0.1 * random.random(_SCANS)), 0.25, 1)
        chance = np.clip(confidence - shift, 0, 1)
        correct = (random.random(_SCANS) < chance).astype(float)
        probability = np.where((confidence < _FLAGGED_BELOW) & (not only_audit), _FLAGGED, _AUDIT)
        read = random.random(_SCANS) < probability
        reviewed = _reviewed(correct[read], probability[read], patient[read], confidence[read])
        unweighted = _reviewed(correct[read], np.ones(read.sum()), patient[read], confidence[read])
        estimates = {
            "unweighted": estimate_accuracy(unweighted),
            "weighted": estimate_accuracy(reviewed),
            "with confidences": estimate_accuracy(reviewed, confidence),
        }
        for name, estimate in estimates.items():
            if isinstance(estimate, Estimate):
                is_covered = bool(estimate.low <= chance.mean() <= estimate.high)
                results[name].append((is_covered, estimate.high - estimate.low))
    return {
        name: Coverage(covered=float(np.mean([row[0] for row in rows])), width=float(np.mean([row[1] for row in rows])))
        for name, rows in results.items()
    }


def alarms(*, accuracy: float, target: float, weeks: int = 52, seed: int = 0) -> Floats:
    """Return the week of the first alarm in each of 1,000 simulated years. It is infinite if there is no alarm."""
    random = np.random.default_rng(seed)
    correct = (random.random((_DRAWS, weeks * _WEEKLY)) < accuracy).astype(float)
    reached = monitor_wealth(correct, target=target)[:, _WEEKLY - 1 :: _WEEKLY] >= _ALARM  # checked once a week
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def _reviewed(correct: Floats, probability: Floats, patient: NDArray[np.integer], confidence: Floats) -> ReviewedScans:
    return ReviewedScans(
        correct=correct, probability=probability, clusters=[str(each) for each in patient], confidence=confidence
    )


def main() -> None:
    """Print the coverage of the intervals and the delay of the alarms."""
    print("| shift | read | estimate | coverage | width |\n|---:|---|---|---:|---:|")
    for shift in (0.0, 0.08):
        for only_audit in (True, False):
            for name, found in coverage(shift=shift, only_audit=only_audit).items():
                read = "audit sample" if only_audit else "audit sample and flagged"
                print(f"| {shift:.2f} | {read} | {name} | {found.covered:.3f} | {found.width:.3f} |", flush=True)
    print("\n| target | accuracy | years with an alarm | median week |\n|---:|---:|---:|---:|")
    for target in (0.85, 0.95):
        for drop in (0.0, 0.05, 0.10):
            weeks = alarms(accuracy=target - drop, target=target)
            print(f"| {target} | {target - drop:.2f} | {np.isfinite(weeks).mean():.3f} | {np.median(weeks):.0f} |")


if __name__ == "__main__":
    main()
