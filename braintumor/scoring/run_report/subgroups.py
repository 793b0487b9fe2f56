"""Find subgroups of scans, such as those of one scanner, that differ from the others and from their own past.

A subgroup is the scans with one value of a DICOM attribute (view ``scan_subgroup``). It is compared in the share of
patients whose scan was rejected or is out of distribution, and in the predicted classes. Each comparison is Fisher's
exact test, because counts are small. A subgroup deviates only if two tests agree: against the other subgroups of the
attribute in the same nights, and against the own nights before. Without the second test, a ward with more tumors would
deviate each night. Decision 0049 has the measured false alarms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from braintumor.db.statements import statement
from braintumor.scoring.run_report.rules import RunReportRules

MEASURES = ("rejected", "out of distribution", "glioma", "meningioma", "normal", "pituitary")
"""Compared shares. Fewer rejected or out-of-distribution scans than elsewhere are no fault."""
WINDOWS = (1, 3, 7)
"""Numbers of last nights that are tested together. A grave fault shows in one night, a small site needs seven."""
NIGHTS = 35
"""Number of nights that are read. Those before the window are the subgroup's past."""
LEAST_PATIENTS = 20
"""Least number of patients of a subgroup in a window. Below it, the subgroup is not assessed."""
_ONLY_MORE = 2
"""Number of ``MEASURES``, from the first, of which only a larger share than elsewhere deviates."""
_PSEUDONYMS = frozenset({"site", "station"})
_SHOWN_DIGITS = 8

Counts = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class SubgroupCounts:
    """Hold the counts of the subgroups of one attribute.

    ``totals`` and ``hits`` have shape (subgroups, measures, ``NIGHTS``): the patients, and those of them with the
    outcome. Night 0 is that of the run.
    """

    attribute: str
    subgroups: Sequence[str]
    totals: Counts
    hits: Counts


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Describe a subgroup that deviates in one measure.

    Attributes:
        nights: number of last nights, of which the run is one.
        count: patients of the subgroup with the outcome, of ``count_patient``.
        others: share of patients with the outcome in the other subgroups, 0 to 1.
        before: share in the own nights before, 0 to 1. It is ``None`` if there are too few patients.
        p_value: the larger p-value of the two tests.
    """

    attribute: str
    subgroup: str
    measure: str
    nights: int
    count: int
    count_patient: int
    others: float
    before: float | None
    p_value: float

    @property
    def name(self) -> str:
        """Return attribute and subgroup as text. A pseudonym is shortened."""
        shown = self.subgroup[:_SHOWN_DIGITS] if self.attribute in _PSEUDONYMS else self.subgroup
        return f"{self.attribute} {shown}"

    @property
    def outcome(self) -> str:
        """Return the measure as words, such as ``predicted as glioma``."""
        return self.measure if self.measure in MEASURES[:_ONLY_MORE] else f"predicted as {self.measure}"

    @property
    def period(self) -> str:
        """Return the nights as text."""
        return "this night" if self.nights == 1 else f"in the last {self.nights} nights"

    @property
    def sentence(self) -> str:
        """Return the deviation as one sentence."""
        before = "" if self.before is None else f", {self.before:.0%} before"
        return (
            f"Look at {self.name}: the scans of {self.count} of {self.count_patient} patients were {self.outcome} "
            f"{self.period} ({self.others:.0%} elsewhere{before})."
        )


def find_deviations(connection: Connection, values: Mapping[str, Any], rules: RunReportRules) -> list[Deviation] | None:
    """Return the deviating subgroups of a run, the clearest first, or ``None`` if no subgroup has enough patients.

    ``values`` has the run's ID (``run``), its model's ID (``model``) and the timezone of the days (``timezone``).
    """
    rows = connection.execute(statement("scoring/subgroup_counts"), {**values, "nights": NIGHTS}).all()
    by_attribute: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_attribute[row.attribute].append(row)
    counts = [_counts_of(attribute, group) for attribute, group in by_attribute.items()]
    return deviations(counts, rules)


def deviations(counts: Sequence[SubgroupCounts], rules: RunReportRules) -> list[Deviation] | None:
    """Return the deviating subgroups of all attributes, the clearest first, with one measure each.

    The result is ``None`` if no subgroup has enough patients.

    The p-values are multiplied by the number of tests in a year of nights (Bonferroni). So at most
    ``rules.subgroup_false_alarms`` nights of a year are expected to have a false alarm, however the tests depend on
    each other.
    """
    tested = [(each, window, _is_assessed(each, window)) for each in counts for window in WINDOWS]
    count_test = sum(int(is_assessed.sum()) for *_, is_assessed in tested)
    if not count_test:
        return None
    found = [
        deviation
        for each, window, is_assessed in tested
        if is_assessed.any()
        for deviation in _deviations_of(each, window, is_assessed, rules)
    ]
    found = [deviation for deviation in found if deviation.p_value * count_test * 365 <= rules.subgroup_false_alarms]
    clearest: dict[tuple[str, str], Deviation] = {}
    for deviation in sorted(found, key=lambda each: (each.p_value, each.attribute != "station")):
        clearest.setdefault((deviation.attribute, deviation.subgroup), deviation)
    return list(clearest.values())


def _counts_of(attribute: str, rows: Sequence[Any]) -> SubgroupCounts:
    places = {name: place for place, name in enumerate(dict.fromkeys(row.subgroup for row in rows))}
    totals = np.zeros((len(places), len(MEASURES), NIGHTS), np.int64)
    hits = np.zeros_like(totals)
    for row in rows:
        place = places[row.subgroup]
        totals[place, :, row.nights_ago] = (row.count_patient, *[row.count_predicted] * (len(MEASURES) - 1))
        hits[place, :, row.nights_ago] = [getattr(row, name.replace(" ", "_")) for name in MEASURES]
    return SubgroupCounts(attribute=attribute, subgroups=tuple(places), totals=totals, hits=hits)


def _is_assessed(counts: SubgroupCounts, window: int) -> NDArray[np.bool_]:
    """Return for each subgroup and measure whether subgroup and others have enough patients: shape (S, M)."""
    recent = counts.totals[:, :, :window].sum(axis=2)
    is_assessed: NDArray[np.bool_] = (recent >= LEAST_PATIENTS) & (recent.sum(axis=0) - recent >= LEAST_PATIENTS)
    return is_assessed


def _deviations_of(
    counts: SubgroupCounts, window: int, is_assessed: NDArray[np.bool_], rules: RunReportRules
) -> list[Deviation]:
    """Return the subgroups of one attribute that differ enough in one window, with p-values that are not corrected."""
    total, hit = counts.totals[:, :, :window].sum(axis=2), counts.hits[:, :, :window].sum(axis=2)
    past_total, past_hit = counts.totals[:, :, window:].sum(axis=2), counts.hits[:, :, window:].sum(axis=2)
    other_total, other_hit = total.sum(axis=0) - total, hit.sum(axis=0) - hit
    has_past = past_total >= LEAST_PATIENTS
    share, others = hit / np.maximum(total, 1), other_hit / np.maximum(other_total, 1)
    before = past_hit / np.maximum(past_total, 1)
    found = []
    for sign in (1, -1):
        is_large = is_assessed & (sign * (share - others) >= rules.amber_subgroup_difference)
        is_large &= ~has_past | (sign * (share - before) >= rules.amber_subgroup_difference)
        if sign < 0:
            is_large[:, :_ONLY_MORE] = False
        for place in map(tuple, np.argwhere(is_large)):
            own = (hit[place], total[place])
            p_value = _fisher(sign, own, (other_hit[place], other_total[place]))
            if has_past[place]:
                p_value = max(p_value, _fisher(sign, own, (past_hit[place], past_total[place])))
            found.append(
                Deviation(
                    attribute=counts.attribute,
                    subgroup=counts.subgroups[place[0]],
                    measure=MEASURES[place[1]],
                    nights=window,
                    count=int(hit[place]),
                    count_patient=int(total[place]),
                    others=float(others[place]),
                    before=float(before[place]) if has_past[place] else None,
                    p_value=p_value if place[1] < _ONLY_MORE else 2 * p_value,  # two directions
                )
            )
    return found


def _fisher(sign: int, own: tuple[int, int], other: tuple[int, int]) -> float:
    """Return the one-sided p-value of Fisher's exact test: of a larger share than the other's, or smaller if negative.

    ``own`` and ``other`` are the number of patients with the outcome, and of all patients.
    """
    from scipy.stats import hypergeom  # imported here because it takes two seconds, and few runs need it

    (hit, total), (other_hit, other_total) = own, other
    if sign < 0:
        hit, other_hit = total - hit, other_total - other_hit
    return float(hypergeom.sf(hit - 1, total + other_total, hit + other_hit, total))
