"""Define the bounds of the gate rules, which come from one validated TOML file.

Each verdict stores the version of the rule file.

>>> GateRules.load().minimum_accuracy
0.8
"""

from __future__ import annotations

from pathlib import Path

from braintumor.config.rule_files import RuleFile, Share, Whole
from braintumor.errors import GateRulesError


class GateRules(RuleFile):
    """Hold the bounds of one rule file. Comments in the file explain each bound.

    Attributes:
        minimum_accuracy: smallest share of test images with a correct prediction.
        minimum_macro_recall: smallest mean recall over the classes.
        minimum_class_sensitivity: smallest recall of each class.
        minimum_tumor_sensitivity: smallest share of tumor images that are predicted as any tumor.
        maximum_calibration_error: largest expected calibration error.
        minimum_images_per_class: smallest number of test images of each class.
        noninferiority_margin: largest loss of accuracy against the champion, with 95% confidence.
        significance: smallest allowed p value of McNemar's test against the champion.
        maximum_class_recall_loss: largest loss of recall against the champion, for each class.
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
