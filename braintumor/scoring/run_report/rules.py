"""Read the bounds that make a run amber or red from a TOML file, and validate them.

>>> RunReportRules.load().red_rejection_share
0.25
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from braintumor.config.rule_files import RuleFile, Whole
from braintumor.errors import RunReportRulesError

_Positive = Annotated[float, Field(gt=0, le=1, description="a number above 0, up to 1")]


class RunReportRules(RuleFile):
    """Hold the bounds of one rule file. Comments in the packaged file ``run_report.toml`` explain each bound."""

    label = "run report"
    variable = "BRAINTUMOR_RUN_REPORT_RULES"
    reason = "a missing rule must not hide a fault of a run"
    packaged = Path(__file__).with_name("run_report.toml")
    error = RunReportRulesError

    red_rejection_share: _Positive
    red_rejection_count: Whole
    amber_rejection_share: _Positive
    amber_arrival_ratio: _Positive
    amber_drift: _Positive
    amber_accuracy_drop: _Positive
    minimum_drift_frames: Whole
    amber_free_disk_gib: Whole
    amber_subgroup_difference: _Positive
    subgroup_false_alarms: _Positive
