"""The bounds of the gate: one validated TOML file. Each verdict stores the file's version.

>>> GateRules.load().minimum_accuracy
0.8
"""

from __future__ import annotations

from pathlib import Path

from braintumor.config.rule_files import RuleFile, Share, Whole
from braintumor.errors import GateRulesError


class GateRules(RuleFile):
    """The bounds of one rule file. Comments in the file explain each.

    Attributes:
        minimum_accuracy: Share of test images.
        minimum_macro_recall: Mean over classes.
        minimum_class_sensitivity: Bound for each class.
        minimum_tumor_sensitivity: Share of tumors predicted as any tumor.
        maximum_calibration_error: Expected calibration error.
        minimum_images_per_class: Number of test images.
        noninferiority_margin: Difference of accuracy to the champion.
        significance: Level of McNemar's test against the champion.
        maximum_class_recall_loss: Difference to the champion, for each class.
    """

    label = "gate"
    variable = "BRAINTUMOR_GATE_RULES"
    reason = "a missing rule must not weaken the gate"
    packaged = Path(__file__).with_name("gate.toml")
    error = GateRulesError

    minimum_accuracy: Share
    minimum_macro_recall: Share
    minimum_class_sensitivity: Share
    minimum_tumor_sensitivity: Share
    maximum_calibration_error: Share
    minimum_images_per_class: Whole
    noninferiority_margin: Share
    significance: Share
    maximum_class_recall_loss: Share
