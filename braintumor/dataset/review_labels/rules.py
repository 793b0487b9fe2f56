"""The rules that turn reviews into labels: one validated TOML file.

>>> LabelRules.load().minimum_readers
2
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from braintumor.config.rule_files import RuleFile, Whole
from braintumor.errors import LabelRulesError

_Name = Annotated[str, Field(min_length=1)]


class LabelRules(RuleFile):
    """One rule file. Comments in the file explain each value."""

    label = "label"
    variable = "BRAINTUMOR_LABEL_RULES"
    reason = "a label needs every rule"
    packaged = Path(__file__).with_name("label_rules.toml")
    error = LabelRulesError

    minimum_readers: Whole
    senior_readers: Annotated[tuple[_Name, ...], Field(strict=False, description="a list of user names")]
    blind_only: Annotated[bool, Field(description="true or false")]
    retrain_after: Whole
