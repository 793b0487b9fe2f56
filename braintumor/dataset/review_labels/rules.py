"""The rule by which reviews become labels: one validated TOML file.

>>> LabelRules.load().minimum_readers
2
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from braintumor.config.rule_files import is_whole, read_rules, refusal, require_keys
from braintumor.errors import LabelRulesError

_PACKAGED = Path(__file__).with_name("label_rules.toml")


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """One rule file; its comments say what each value means."""

    version: int
    minimum_readers: int
    senior_readers: tuple[str, ...]
    blind_only: bool
    retrain_after: int

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Read a rule file; ``None`` means the packaged one.

        Raises:
            LabelRulesError: the file is missing or not TOML, or a key is missing, unknown or out of range.
        """
        source = _PACKAGED if path is None else Path(path)
        values = read_rules(source, name="The label", variable="BRAINTUMOR_LABEL_RULES", error=LabelRulesError)
        known = [field.name for field in fields(cls)]
        where = f"Label rules ({source})"
        require_keys(values, known, where=where, why="a label is made by a whole rule", error=LabelRulesError)
        for key in known:
            _check(key, values[key], where)
        return cls(**values | {"senior_readers": tuple(values["senior_readers"])})


def _check(key: str, value: object, where: str) -> None:
    if key == "senior_readers":
        allowed = "a list of user names"
        is_right = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    elif key == "blind_only":
        allowed, is_right = "true or false", isinstance(value, bool)
    else:
        allowed, is_right = "a whole number, 1 or more", is_whole(value)
    if not is_right:
        raise refusal(f"{where}: {key}", allowed=allowed, value=value, error=LabelRulesError)
