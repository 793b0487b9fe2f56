"""Load the rule file of the data quality gate: the bound of each check, and the consequence beyond the bound.

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
    """The consequence when the data exceeds the bound of a check.

    ``BLOCKING`` refuses the data. ``WARNING`` puts a warning into the report. ``OFF`` has no consequence.
    """

    BLOCKING = "blocking"
    WARNING = "warning"
    OFF = "off"


class QualityCheck(Rules):
    """The rule of one check.

    Attributes:
        level: the consequence when the data exceeds the bound.
        bound: the largest allowed share of affected files or images, 0 to 1. For ``imbalance`` a smallest share.
    """

    reason = 'only level = "off" leaves a check out'

    level: Annotated[Level, Field(strict=False, description=f"one of {', '.join(Level)}")]
    bound: Share


class QualityRules(RuleFile):
    """The rules of one rule file. Comments in the file name the denominator of each share.

    Attributes:
        maximum_images_label_errors: Number of distinct images above which label errors are not searched.
        unreadable: Files that cannot be decoded.
        outside: Files outside class folders.
        copies: Files with the pixels of another file.
        contradictions: Identical or near-identical images with different labels.
        imbalance: Number of images of the smallest class, divided by that number of the largest class. The bound is a
            minimum.
        not_mri: Images that do not look like MRI. The bound applies to each class by itself.
        label_errors: Images with likely label errors.
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
