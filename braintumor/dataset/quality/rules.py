"""Load the rule file of the data quality gate: the bound of each check, and the consequence beyond the bound.

>>> QualityRules.load().not_mri
QualityCheck(level=<Level.BLOCKING: 'blocking'>, bound=0.1)
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from braintumor.config.rule_files import RuleFile, Share, Table, Whole
from braintumor.errors import QualityRulesError


class Level(StrEnum):
    """The consequence if the data exceeds the bound of a check: the data is refused, the report warns, or nothing."""

    BLOCKING = "blocking"
    WARNING = "warning"
    OFF = "off"


class QualityCheck(Table):
    """The rule of one check. ``bound`` is the largest allowed share, 0 to 1. For ``imbalance`` it is the smallest."""

    reason = 'only level = "off" leaves a check out'

    level: Annotated[Level, Field(strict=False, description=f"one of {', '.join(Level)}")]
    bound: Share


class QualityRules(RuleFile):
    """The rules of one rule file. Comments in the file name the denominator of each share.

    Attributes:
        maximum_images_label_errors: Number of distinct images above which label errors are not searched.
        copies: Files with the pixels of another file.
        contradictions: Identical or near-identical images with different labels.
        imbalance: Images of the smallest class divided by images of the largest class. The bound is a minimum.
        not_mri: Images that do not look like MRI. The bound applies to each class separately.
    """

    label = "data quality"
    variable = "BRAINTUMOR_QUALITY_RULES"
    reason = QualityCheck.reason
    packaged = Path(__file__).with_name("quality.toml")
    error = QualityRulesError

    maximum_images_label_errors: Whole
    unreadable: QualityCheck
    outside: QualityCheck
    copies: QualityCheck
    contradictions: QualityCheck
    imbalance: QualityCheck
    not_mri: QualityCheck
    label_errors: QualityCheck
