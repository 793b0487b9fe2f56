"""Compare the accuracies that the paper published with those of our models. The project reproduces this paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from braintumor.evaluation.report.formatting import interval
from braintumor.evaluation.report.model_report import ModelReport
from braintumor.evaluation.report.tables import ReportTable

_NONE = "—"


@dataclass(frozen=True, kw_only=True)
class PaperResult:
    """Hold an accuracy that the paper published for a model, and the name of our recipe for the same model."""

    model: str
    accuracy: str
    recipe: str


PAPER_RESULTS = (
    PaperResult(model="VGG16 without augmentation (dropout 0.5, 10 epochs)", accuracy="0.98", recipe="paper_vgg16"),
    PaperResult(
        model="VGG16 with augmentation (dropout 0.5, 12 epochs)", accuracy="0.97", recipe="paper_vgg16_augmented"
    ),
    PaperResult(model="ResNet (dropout 0.1, 10 epochs)", accuracy="0.966", recipe="paper_resnet_dropout_01"),
    PaperResult(model="ResNet (dropout 0.8, 8 epochs)", accuracy="0.88", recipe="paper_resnet_dropout_08_8_epochs"),
    PaperResult(model="ResNet (dropout 0.8, 15 epochs)", accuracy="0.96", recipe="paper_resnet_dropout_08_15_epochs"),
)


def paper_table(models: Sequence[ModelReport]) -> ReportTable:
    """Return a table with a row for each model of the paper: its published accuracy, and our accuracies."""
    return ReportTable(
        title="Comparison with the paper",
        note=(
            "The figures are not comparable. The paper uses its own 3,096 images. Its validation set (928) contains "
            "its test set (464), so its test images were also used for tuning. 468 of its images are byte-identical "
            "to another one (217 groups), so test images can be duplicates of training images. Our test split shares "
            "no identical image with training or validation."
        ),
        columns=("The paper's model", "Its test accuracy", "Our recipe", "Ours on test (95% interval)"),
        rows=tuple((row.model, row.accuracy, row.recipe, _ours(row.recipe, models)) for row in PAPER_RESULTS),
    )


def _ours(recipe: str, models: Sequence[ModelReport]) -> str:
    tests = [model.test for model in models if model.recipe_name == recipe]
    return "; ".join(interval(test.accuracy, test.accuracy_low, test.accuracy_high) for test in tests) or _NONE
