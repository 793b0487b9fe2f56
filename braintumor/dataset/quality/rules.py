"""The rule file of the data quality gate: for each check how much is too much, and what follows.

>>> QualityRules.load().not_mri
QualityCheck(level=<Level.BLOCKING: 'blocking'>, bound=0.1)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from braintumor.config.rule_files import is_number, is_whole, read_rules, refusal, require_keys
from braintumor.errors import QualityRulesError

_PACKAGED = Path(__file__).with_name("quality.toml")
_WHOLE = ("version", "maximum_images_label_errors")


class Level(StrEnum):
    """What follows when a check finds too much: the data is refused, or a line in the report, or nothing."""

    BLOCKING = "blocking"
    WARNING = "warning"
    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class QualityCheck:
    """One check: its level, and the share from 0 to 1 beyond which it finds something."""

    level: Level
    bound: float


@dataclass(frozen=True, kw_only=True)
class QualityRules:
    """The bounds of one rule file; its comments say what each is a share of.

    Attributes:
        version: raised whenever a value changes.
        maximum_images_label_errors: number of distinct images, 1 or more, up to which label errors are looked for.
        unreadable: files that cannot be decoded.
        outside: files outside class folders.
        copies: files that repeat another.
        contradictions: near-identical images with different labels.
        imbalance: smallest class to largest, a floor.
        not_mri: images that do not look like MRI, of a class.
        label_errors: likely label errors.
    """

    version: int
    maximum_images_label_errors: int
    unreadable: QualityCheck
    outside: QualityCheck
    copies: QualityCheck
    contradictions: QualityCheck
    imbalance: QualityCheck
    not_mri: QualityCheck
    label_errors: QualityCheck

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Read a rule file; ``None`` means the packaged one.

        Raises:
            QualityRulesError: the file is missing or not TOML, or a key is missing, unknown or out of range.
        """
        source = _PACKAGED if path is None else Path(path)
        values = read_rules(
            source, name="The data quality", variable="BRAINTUMOR_QUALITY_RULES", error=QualityRulesError
        )
        return cls.from_values(values, source=str(source))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, source: str = "given values") -> Self:
        """Build from plain values, all of them checked.

        Raises:
            QualityRulesError: a key is missing, unknown or out of range.
        """
        _require_keys(values, [f.name for f in fields(cls)], where=f"Data quality rules ({source})")
        checked: dict[str, Any] = {
            key: (_number if key in _WHOLE else _check)(key, value, source) for key, value in values.items()
        }
        return cls(**checked)


def _require_keys(values: Mapping[str, Any], known: list[str], *, where: str) -> None:
    why = 'a check is left out by level = "off" only'
    require_keys(values, known, where=where, why=why, error=QualityRulesError)


def _number(key: str, value: object, source: str) -> int:
    if is_whole(value):
        return value
    where = f"Data quality rules ({source}): {key}"
    raise refusal(where, allowed="a whole number, 1 or more", value=value, error=QualityRulesError)


def _check(key: str, value: object, source: str) -> QualityCheck:
    where = f"Data quality rules ({source}): {key}"
    if not isinstance(value, dict):
        raise QualityRulesError(f"{where} must be a table with level and bound. Received: {value!r}. Write [{key}].")
    _require_keys(value, ["level", "bound"], where=where)
    level, bound = value["level"], value["bound"]
    if level not in list(Level):
        allowed = f"one of {', '.join(Level)}"
        raise refusal(f"{where}.level", allowed=allowed, value=level, error=QualityRulesError)
    if not is_number(bound) or not 0 <= bound <= 1:
        raise refusal(f"{where}.bound", allowed="a number from 0 to 1", value=bound, error=QualityRulesError)
    return QualityCheck(level=Level(level), bound=float(bound))
