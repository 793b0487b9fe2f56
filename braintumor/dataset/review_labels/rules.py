"""Load the rules that turn reviews into labels, from one validated TOML file.

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
    """The rules of one rule file. Comments in the file explain each value.

    Attributes:
        minimum_readers: Number of reviewers who must name the same class, while no reviewer names another class.
        senior_readers: User names of reviewers whose single review is enough, unless another reviewer disagrees.
        blind_only: Whether only reviews count that were given before the prediction was shown.
        retrain_after: Number of new labels from which a retrain is requested.
    """

    label = "label"
    variable = "BRAINTUMOR_LABEL_RULES"
    reason = "a label needs every rule"
    packaged = Path(__file__).with_name("label_rules.toml")
    error = LabelRulesError

    minimum_readers: Whole
    senior_readers: Annotated[tuple[_Name, ...], Field(strict=False, description="a list of user names")]
    blind_only: Annotated[bool, Field(description="true or false")]
    retrain_after: Whole
