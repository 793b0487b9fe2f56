"""Test the simulation of a faulty scanner on a few runs."""

from __future__ import annotations

import numpy as np

from benchmarks.faulty_scanner import FAULTS, false_alarms, nights_to_alarm
from braintumor.scoring.run_report.rules import RunReportRules

RULES = RunReportRules.load()


def test_dead_scanner_is_named_in_the_first_night() -> None:
    took = nights_to_alarm(np.random.default_rng(1), RULES, patients=20, fault=FAULTS["all scans are rejected"])
    assert took == 1


def test_scanner_without_fault_is_not_named() -> None:
    assert nights_to_alarm(np.random.default_rng(1), RULES, patients=20, fault={}) == np.inf


def test_a_year_without_fault_has_no_alarm() -> None:
    assert false_alarms(np.random.default_rng(1), RULES, patients=5) == 0
