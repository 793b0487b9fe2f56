"""Define the bounds of the gate rules, which come from one validated TOML file.

Each verdict stores the version of the rule file.

>>> GateRules.load().minimum_accuracy
0.8
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

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
        significance: smallest allowed p value of McNemar's test against the champion, and against the reference model.
        maximum_class_recall_loss: largest loss of recall against the champion, for each class.
        reference_margin: largest loss of accuracy against the reference model, with ``reference_confidence``.
        yearly_error: largest probability that one or more candidates of a year pass with a true loss above
            ``reference_margin``.
        candidates_per_year: number of candidates that share ``yearly_error`` on one test split.
        same_split_share: smallest share of common test images for which two test splits count as the same split.
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
    reference_margin: Share
    yearly_error: Annotated[float, Field(gt=0, le=1, description="a number above 0, at most 1")]
    candidates_per_year: Whole
    same_split_share: Share

    @property
    def reference_confidence(self) -> float:
        """Return the one-sided confidence of each comparison with the reference model.

        Each candidate of a year gets an equal share of ``yearly_error``. The probability of one or more errors is at
        most the sum of the shares.

        Source: Dunn, "Multiple comparisons among means", JASA 1961 (the Bonferroni inequality).
        """
        return 1 - self.yearly_error / self.candidates_per_year
