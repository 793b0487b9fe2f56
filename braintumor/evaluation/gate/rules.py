"""The bounds of the gate: one validated TOML file, whose version is recorded with each verdict.

>>> GateRules.load().minimum_accuracy
0.8
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from braintumor.config.rule_files import is_number, is_whole, read_rules, refusal, require_keys
from braintumor.errors import GateRulesError

_PACKAGED = Path(__file__).with_name("gate.toml")


@dataclass(frozen=True, kw_only=True)
class GateRules:
    """The bounds of one rule file; its comments say what each means.

    Attributes:
        version: raised whenever a value changes.
        minimum_accuracy: 0 to 1.
        minimum_macro_recall: 0 to 1.
        minimum_class_sensitivity: 0 to 1, of each class.
        minimum_tumor_sensitivity: 0 to 1, any tumor called any tumor.
        maximum_calibration_error: 0 to 1.
        minimum_images_per_class: number of test images, 1 or more.
        noninferiority_margin: 0 to 1, of accuracy against the champion.
        significance: 0 to 1, of McNemar's test against the champion.
        maximum_class_recall_loss: 0 to 1, of each class against the champion.
    """

    version: int
    minimum_accuracy: float
    minimum_macro_recall: float
    minimum_class_sensitivity: float
    minimum_tumor_sensitivity: float
    maximum_calibration_error: float
    minimum_images_per_class: int
    noninferiority_margin: float
    significance: float
    maximum_class_recall_loss: float

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Read a rule file; ``None`` means the packaged one.

        Raises:
            GateRulesError: the file is missing or not TOML, or a key is missing, unknown or out of range.
        """
        source = _PACKAGED if path is None else Path(path)
        values = read_rules(source, name="The gate's", variable="BRAINTUMOR_GATE_RULES", error=GateRulesError)
        return cls.from_values(values, source=str(source))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, source: str = "given values") -> Self:
        """Build from plain values, all of them checked.

        Raises:
            GateRulesError: a key is missing, unknown or out of range.
        """
        known = [f.name for f in fields(cls)]
        why = "leaving a rule out never weakens the gate"
        require_keys(values, known, where=f"Gate rules ({source})", why=why, error=GateRulesError)
        for key in known:
            _check_range(key, values[key], source)
        return cls(**values)


def _check_range(key: str, value: object, source: str) -> None:
    whole = key in {"version", "minimum_images_per_class"}
    if is_whole(value) if whole else is_number(value) and 0 <= value <= 1:
        return
    allowed = "a whole number, 1 or more" if whole else "a number from 0 to 1"
    raise refusal(f"Gate rules ({source}): {key}", allowed=allowed, value=value, error=GateRulesError)
