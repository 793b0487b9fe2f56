"""Simulate one faulty scanner among six, and years without a fault: ``python -m benchmarks.faulty_scanner``.

The rule is that of the run report (decision 0049). The scanners differ in their usual rejections and classes, as those
of wards do. A patient has one scan. Age, sex and sequence are drawn at random. The seed is fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.subgroups import MEASURES, NIGHTS, Deviation, SubgroupCounts, deviations

_STATIONS, _FAULTY = 6, 2
_REJECTED = np.array((0.01, 0.02, 0.02, 0.03, 0.04, 0.08))
_OUTSIDE = np.array((0.01, 0.01, 0.02, 0.03, 0.03, 0.05))
"""Usual shares of rejected and of out-of-distribution scans by scanner."""
_NORMAL = np.array((0.85, 0.75, 0.65, 0.55, 0.45, 0.35))
"""Share of scans predicted as normal by scanner. The other classes are equally frequent."""
_LAST = 30
"""Number of nights after the fault in which the scanner can be named."""

FAULTS: dict[str, dict[str, float]] = {
    "all scans are rejected": {"rejected": 1.0},
    "30% of the scans are rejected": {"rejected": 0.3},
    "15% of the scans are rejected": {"rejected": 0.15},
    "30% of the scans are out of distribution": {"outside": 0.3},
    "half of the scans are predicted as glioma": {"glioma": 0.5},
}
"""Share of the faulty scanner's scans with each outcome, by name of the fault."""


def simulate(
    random: np.random.Generator, *, patients: float, nights: int, fault: dict[str, float], since: int
) -> list[SubgroupCounts]:
    """Return the counts of ``nights`` nights by attribute, oldest first, with about ``patients`` per scanner and night.

    ``fault`` begins at night ``since`` at one scanner.
    """
    night = np.repeat(np.arange(nights), random.poisson(patients * _STATIONS, size=nights))
    station = random.integers(_STATIONS, size=len(night))
    is_faulty = (station == _FAULTY) & (night >= since)
    rejected = _share(random, np.where(is_faulty, fault.get("rejected", _REJECTED[_FAULTY]), _REJECTED[station]))
    outside = _share(random, np.where(is_faulty, fault.get("outside", _OUTSIDE[_FAULTY]), _OUTSIDE[station]))
    label = np.where(_share(random, _NORMAL[station]), 2, random.choice((0, 1, 3), size=len(night)))
    label = np.where(is_faulty & _share(random, np.full(len(night), fault.get("glioma", 0.0))), 0, label)
    hits = np.stack([rejected, ~rejected & outside, *(~rejected & (label == each) for each in range(4))], axis=1)
    totals = np.stack([np.ones(len(night), bool), *[~rejected] * (len(MEASURES) - 1)], axis=1)
    attributes = {
        "station": (station, _STATIONS),
        "manufacturer": (station // 2, _STATIONS // 2),
        "field strength": (station % 2, 2),
        "sequence family": (random.integers(4, size=len(night)), 4),
        "age band": (random.integers(9, size=len(night)), 9),
        "sex": (random.integers(2, size=len(night)), 2),
    }
    counts = []
    for name, (value, many) in attributes.items():
        shape = (many, len(MEASURES), nights)
        both = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for array, outcomes in zip(both, (totals, hits), strict=True):
            np.add.at(array.transpose(0, 2, 1), (value, night), outcomes)
        names = [str(each) for each in range(many)]
        counts.append(SubgroupCounts(attribute=name, subgroups=names, totals=both[0], hits=both[1]))
    return counts


def judged(counts: list[SubgroupCounts], rules: RunReportRules, first: int) -> Iterator[list[Deviation]]:
    """For each night from night ``first`` on, yield the deviations that its run report would name."""
    for night in range(first, counts[0].totals.shape[2]):
        known = slice(night, night - NIGHTS, -1)
        seen = [
            SubgroupCounts(
                attribute=each.attribute,
                subgroups=each.subgroups,
                totals=each.totals[:, :, known],
                hits=each.hits[:, :, known],
            )
            for each in counts
        ]
        yield deviations(seen, rules) or []


def nights_to_alarm(
    random: np.random.Generator, rules: RunReportRules, *, patients: float, fault: dict[str, float]
) -> float:
    """Return the nights until the report names the faulty scanner first, or infinity if it does not within 30."""
    counts = simulate(random, patients=patients, nights=NIGHTS + _LAST, fault=fault, since=NIGHTS)
    for night, found in enumerate(judged(counts, rules, NIGHTS), start=1):
        if found and (found[0].attribute, found[0].subgroup) == ("station", str(_FAULTY)):
            return night
    return np.inf


def false_alarms(random: np.random.Generator, rules: RunReportRules, *, patients: float) -> int:
    """Return the number of nights with an alarm in 52 weeks without a fault."""
    counts = simulate(random, patients=patients, nights=NIGHTS + 364, fault={}, since=0)
    return sum(bool(found) for found in judged(counts, rules, NIGHTS))


def _share(random: np.random.Generator, share: NDArray[np.floating]) -> NDArray[np.bool_]:
    return random.random(len(share)) < share


def main() -> None:
    """Print the tables of decision 0049."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--years", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rules, random = RunReportRules.load(), np.random.default_rng(options.seed)
    print("| fault | patients a scanner and night | named in 3 nights | in 7 | in 30 | median nights |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, fault in FAULTS.items():
        for patients in (20, 5):
            took = np.array(
                [nights_to_alarm(random, rules, patients=patients, fault=fault) for _ in range(options.runs)]
            )
            shares = " | ".join(f"{(took <= nights).mean():.2f}" for nights in (3, 7, _LAST))
            print(f"| {name} | {patients} | {shares} | {np.median(took):.0f} |", flush=True)
    print("\n| patients a scanner and night | nights with a false alarm in 52 weeks | years with one |")
    print("|---:|---:|---:|")
    for patients in (20, 5):
        alarms = np.array([false_alarms(random, rules, patients=patients) for _ in range(options.years)])
        print(f"| {patients} | {alarms.mean():.2f} | {(alarms > 0).mean():.2f} |", flush=True)


if __name__ == "__main__":
    main()
