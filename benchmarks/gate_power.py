"""Simulate how often the gate refuses a candidate by comparison with the champion: ``python -m benchmarks.gate_power``.

The candidate and the champion predict the same test images. On a share of the images, the discordance, only one of the
two is right. A worse candidate has a known loss of accuracy. The spread of the discordance over the classes was
measured on the test split of the SARTAJ dataset. The compared models were trainings of one recipe on nearly the same
images (see docs/decisions/0014).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.metrics.significance import change_interval, mcnemar

SARTAJ = (133, 123, 49, 125)
"""Images of each class in SARTAJ's test split, 430 in all."""
PHANTOMS = (90, 90, 90, 90)
"""Test images of 600 phantoms a class, 360 in all."""
SPREAD = (0.4, 2.0, 1.5, 0.4)
"""Discordance of each class, as a multiple of the discordance of all images."""
_DISCORDANCES = (0.04, 0.06, 0.08, 0.10, 0.14)
_WORSE = (0.0, 0.03, 0.05)
_TRIALS = 4000


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """The share of simulated candidates that each rule refuses, and the share that at least one rule refuses."""

    noninferiority: float
    mcnemar: float
    class_recall: float
    any: float


def refusals(
    rules: GateRules, counts: tuple[int, ...], *, discordance: float, worse: float, trials: int = _TRIALS, seed: int = 0
) -> Refusals:
    """Judge ``trials`` simulated candidates, and return the shares that the gate refuses.

    ``counts`` are the numbers of test images by class. ``worse`` is the accuracy that each candidate loses against the
    champion. ``discordance`` is the share of images on which only one of the two is right.
    """
    random = np.random.default_rng(seed)
    spread = np.array(SPREAD) * sum(counts) / np.dot(SPREAD, counts)
    differ = np.maximum(discordance * spread, worse)  # a class that differs less could not be worse by so much
    chances = np.stack([(differ + worse) / 2, (differ - worse) / 2, 1 - differ], axis=1)  # (4, lost gained same)
    outcomes = np.array(
        [
            [random.multinomial(count, chance)[:2] for count, chance in zip(counts, chances, strict=True)]
            for _ in range(trials)
        ]
    )  # (trials, 4, 2)
    lost, gained = outcomes.sum(axis=1).T
    low = [_low(int(a), int(b), sum(counts)) for a, b in zip(lost, gained, strict=True)]
    chance = [mcnemar(lost=int(a), gained=int(b)) for a, b in zip(lost, gained, strict=True)]
    by_class = (outcomes[..., 0] - outcomes[..., 1]) / np.array(counts)
    refused = np.array(
        [
            np.array(low) < -rules.noninferiority_margin,
            np.array(chance) < rules.significance,
            (by_class > rules.maximum_class_recall_loss + 1e-9).any(axis=1),
        ]
    )
    return Refusals(
        noninferiority=float(refused[0].mean()),
        mcnemar=float(refused[1].mean()),
        class_recall=float(refused[2].mean()),
        any=float(refused.any(axis=0).mean()),
    )


@cache
def _low(lost: int, gained: int, count: int) -> float:
    groups = {(-1, 1): lost, (1, 1): gained, (0, 1): count - lost - gained}
    return change_interval({kind: number for kind, number in groups.items() if number}, resamples=2000)[0]


def main() -> None:
    """Print the table of decision 0014."""
    rules = GateRules.load()
    print("| images | discordance | candidate | margin | McNemar | class | **refused** |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for counts in (SARTAJ, PHANTOMS):
        for worse in _WORSE:
            for discordance in _DISCORDANCES:
                if worse > discordance:
                    continue
                found = refusals(rules, counts, discordance=discordance, worse=worse)
                who = f"{worse:.2f} worse" if worse else "equal"
                print(
                    f"| {sum(counts)} | {discordance:.2f} | {who} | {found.noninferiority:.3f} | {found.mcnemar:.3f} | "
                    f"{found.class_recall:.3f} | **{found.any:.3f}** |"
                )


if __name__ == "__main__":
    main()
