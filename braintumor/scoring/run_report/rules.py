"""The bounds of the morning sheet: one validated TOML file.

>>> MorningRules.load().red_rejection_share
0.25
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from braintumor.config.rule_files import is_number, is_whole, read_rules, refusal, require_keys
from braintumor.errors import RunReportRulesError

VARIABLE = "BRAINTUMOR_RUN_REPORT_RULES"
_PACKAGED = Path(__file__).with_name("run_report.toml")


@dataclass(frozen=True, kw_only=True)
class RunReportRules:
    """The bounds of one rule file; its comments say what each means."""

    version: int
    red_rejection_share: float
    red_rejection_count: int
    amber_rejection_share: float
    amber_arrival_ratio: float
    amber_drift: float
    minimum_drift_frames: int
    amber_free_disk_gib: int

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Read a rule file; ``None`` means the packaged one.

        Raises:
            RunReportRulesError: the file is missing or not TOML, or a key is missing, unknown or out of range.
        """
        source = _PACKAGED if path is None else Path(path)
        values = read_rules(source, name="The morning sheet's", variable=VARIABLE, error=RunReportRulesError)
        known = [field.name for field in fields(cls)]
        where = f"Morning rules ({source})"
        require_keys(
            values, known, where=where, why="leaving a rule out never hides a night", error=RunReportRulesError
        )
        for key in known:
            _check_range(key, values[key], where)
        return cls(**values)


def _check_range(key: str, value: object, where: str) -> None:
    whole = key in {"version", "red_rejection_count", "minimum_drift_frames", "amber_free_disk_gib"}
    if is_whole(value) if whole else is_number(value) and 0 < value <= 1:
        return
    allowed = "a whole number, 1 or more" if whole else "a number above 0, up to 1"
    raise refusal(f"{where}: {key}", allowed=allowed, value=value, error=RunReportRulesError)
