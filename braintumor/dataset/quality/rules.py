"""The rule file of the data quality gate: the bound of each check and its consequence.

>>> QualityRules.load().not_mri
QualityCheck(level=<Level.BLOCKING: 'blocking'>, bound=0.1)
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from braintumor.config.rule_files import RuleFile, Rules, Share, Whole
from braintumor.errors import QualityRulesError


class Level(StrEnum):
    """The consequence when a check exceeds its bound: the data is refused, the report has a warning, or none."""

    BLOCKING = "blocking"
    WARNING = "warning"
    OFF = "off"


class QualityCheck(Rules):
    """One check: its level, and the share from 0 to 1 that it must not exceed."""

    reason = 'only level = "off" leaves a check out'

    level: Annotated[Level, Field(strict=False, description=f"one of {', '.join(Level)}")]
    bound: Share


class QualityRules(RuleFile):
    """The bounds of one rule file. Comments in the file name the denominator of each share.

    Attributes:
        maximum_images_label_errors: Number of distinct images above which label errors are not searched.
        unreadable: Files that cannot be decoded.
        outside: Files outside class folders.
        copies: Files with the pixels of another file.
        contradictions: Near-identical images with different labels.
        imbalance: Smallest class to largest. Its bound is a minimum.
        not_mri: Images that do not look like MRI, by class.
        label_errors: Likely label errors.
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
