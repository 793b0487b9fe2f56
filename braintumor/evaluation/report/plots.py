"""Plot an evaluation as PNG bytes.

The plots use ``Figure`` objects because pyplot's state is shared between threads. The colors are those of Okabe and
Ito ("Color Universal Design", 2008), distinguishable with any color vision. A class has one color in every plot.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.calibration import calibration_bins, expected_calibration_error
from braintumor.evaluation.metrics.classification import Evaluation, validate_predictions
from braintumor.evaluation.report.cam_overlay import Sample, overlay
from braintumor.labels import CLASSES, TumorClass

CLASS_COLORS: dict[TumorClass, str] = {
    TumorClass.GLIOMA: "#D55E00",
    TumorClass.MENINGIOMA: "#0072B2",
    TumorClass.NORMAL: "#009E73",
    TumorClass.PITUITARY: "#CC79A7",
}
_INK, _QUIET, _GRID = "#1c2733", "#5b6875", "#dfe4ea"
_TRAIN, _VALIDATION = "#56B4E9", "#D55E00"
_RIGHT, _WRONG = "#00694d", "#b34700"  # darker versions of the palette, readable as text
_DASHES = ("-", "--", "-.", ":")
_DPI = 110
_SIDE = 6.0  # in inches, like all sizes here: the four plots of a report form a square
_TITLE, _LABEL, _TICK = 13, 11, 10  # points
_PAIRS_PER_ROW = 3
_CELL_WIDTH, _CELL_HEIGHT, _IMAGE_SIDE = 4.1, 2.75, 1.95  # inches; a cell shows a frame and its activation map


def history_plot(history: Mapping[str, Sequence[float]]) -> bytes:
    """Plot accuracy and loss by epoch for training and validation, and mark the epoch of the lowest validation loss.

    ``history`` holds ``accuracy``, ``val_accuracy``, ``loss`` and ``val_loss``, each with one number per epoch.

    Raises:
        EvaluationError: a series is missing or empty, or the series differ in length.
    """
    best = best_epoch(history)
    figure = _figure(_SIDE, _SIDE)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, key, words in zip(panels, ("accuracy", "loss"), ("Accuracy", "Loss"), strict=True):
        epochs = range(1, len(history[key]) + 1)
        axes.plot(epochs, history[key], "o-", color=_TRAIN, label="training", markersize=4, linewidth=2)
        axes.plot(epochs, history[f"val_{key}"], "s-", color=_VALIDATION, label="validation", markersize=4, linewidth=2)
        axes.axvline(best, color=_QUIET, linestyle=":", linewidth=1.5, label=f"best epoch: {best}", zorder=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _style(
            axes,
            title=f"{words} by epoch",
            x="Epoch" if key == "loss" else "",
            y="Cross-entropy loss" if key == "loss" else words,
        )
        axes.legend(fontsize=_TICK, frameon=False, loc="best")
    return _png(figure)


def best_epoch(history: Mapping[str, Sequence[float]]) -> int:
    """Return the epoch, counted from 1, with the lowest validation loss. ``history`` is as for ``history_plot``.

    Raises:
        EvaluationError: a series is missing or empty, or the series differ in length.
    """
    needed = ("accuracy", "val_accuracy", "loss", "val_loss")
    lengths = {key: len(history.get(key, ())) for key in needed}
    if len(set(lengths.values())) != 1 or not lengths["loss"]:
        raise EvaluationError(
            f"A history needs {', '.join(needed)}, one number per epoch each. Received: "
            f"{', '.join(f'{key} ({length})' for key, length in lengths.items())}. Pass Keras's History.history."
        )
    return int(np.argmin(history["val_loss"])) + 1


def confusion_plot(evaluation: Evaluation) -> bytes:
    """Plot the confusion matrix: rows are true classes. Each cell shows its count and its share of the row."""
    counts = np.array(evaluation.confusion)  # (4, 4)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # (4, 4)
    names = [label.value for label in CLASSES]
    figure = _figure(_SIDE, _SIDE)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.55 else _INK  # noqa: PLR2004  # the blue is dark above it
        axes.text(column, row - 0.1, f"{count}", ha="center", va="center", color=color, fontsize=15, weight="bold")
        axes.text(column, row + 0.2, f"{shares[row, column]:.1%}", ha="center", va="center", color=color, fontsize=10)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), [f"{n}\n(n = {s})" for n, s in zip(names, counts.sum(axis=1), strict=True)])
    title = f"Confusion matrix, {evaluation.split} ({evaluation.count} images)"
    _style(axes, title=title, x="Predicted class", y="True class", grid=False)
    return _png(figure)


def reliability_plot(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> bytes:
    """Plot accuracy against confidence in 15 bins (Guo et al. 2017), above a histogram of confidence.

    ``labels`` (N,) are positions in ``CLASSES``. The columns of ``probabilities`` (N, 4) are in the order of
    ``CLASSES``.

    Raises:
        EvaluationError: a shape, type or value is not as described.
    """
    bins = calibration_bins(*validate_predictions(labels, probabilities))
    centers, width = [(b.low + b.high) / 2 for b in bins], bins[0].high - bins[0].low
    figure = _figure(_SIDE, _SIDE)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=_QUIET, linestyle="--", linewidth=1.5, label="perfectly calibrated")
    upper.bar(centers, [b.accuracy for b in bins], width * 0.92, color="#0072B2", alpha=0.35, label="accuracy in bin")
    points = [b.confidence for b in bins], [b.accuracy for b in bins]
    upper.plot(*points, "o", color="#0072B2", markersize=6, label="mean confidence in bin")
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(fontsize=_TICK, frameon=False, loc="upper left")
    error = expected_calibration_error(bins)
    _style(upper, title=f"Reliability, expected calibration error {error:.3f}", y="Accuracy")
    lower.bar(centers, [b.count for b in bins], width * 0.92, color=_QUIET)
    _style(lower, x="Confidence (probability of the predicted class)", y="Images")
    return _png(figure)


def roc_plot(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> bytes:
    """Plot the ROC curve of each class against the rest. The arrays are as for ``reliability_plot``.

    A class has no curve if none or all of the images belong to it. The legend names each class without a curve.
    """
    truth, chances = validate_predictions(labels, probabilities)
    figure = _figure(_SIDE, _SIDE)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GRID, linewidth=1.5)
    for label, dash in zip(CLASSES, _DASHES, strict=True):
        positive, score = truth == label.position, chances[:, label.position]
        style: dict[str, Any] = {"color": CLASS_COLORS[label], "linestyle": dash, "linewidth": 2.2}
        if positive.all() or not positive.any():
            axes.plot([], [], **style, label=f"{label}: not defined, one kind of image only")
            continue
        false_alarms, hits, _ = roc_curve(positive, score)
        area = roc_auc_score(positive, score)
        axes.plot(false_alarms, hits, **style, label=f"{label}: AUROC {area:.3f}")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    axes.legend(fontsize=_TICK, frameon=False, loc="lower right")
    _style(axes, title="ROC, one class against the rest", x="1 - specificity", y="Sensitivity")
    return _png(figure)


def accuracy_plot(evaluations: Mapping[str, Sequence[Evaluation]]) -> bytes:
    """Plot the accuracies of several models with 95% intervals, one line per model and one mark per split.

    ``evaluations`` maps the name of each model to its evaluations on validation and test.
    """
    figure = _figure(9, 1.3 + 0.62 * len(evaluations))
    axes = figure.subplots()
    marks = {"validation": ("s", _VALIDATION, -0.13), "test": ("o", "#0072B2", 0.13)}
    named: set[str] = set()
    for row, evaluation in ((row, e) for row, given in enumerate(evaluations.values()) for e in given):
        mark, color, shift = marks.get(evaluation.split, ("^", _QUIET, 0.0))
        low, high = evaluation.accuracy - evaluation.accuracy_low, evaluation.accuracy_high - evaluation.accuracy
        name = None if evaluation.split in named else evaluation.split
        named.add(evaluation.split)
        style: dict[str, Any] = {"color": color, "markersize": 7, "capsize": 3, "linewidth": 2}
        axes.errorbar(evaluation.accuracy, row + shift, xerr=[[low], [high]], fmt=mark, label=name, **style)
    axes.set_yticks(range(len(evaluations)), [_shorten(name, 40) for name in evaluations])
    axes.set_ylim(len(evaluations) - 0.5, -0.5)
    _style(axes, title="Accuracy with its 95% interval", x="Accuracy")
    axes.legend(fontsize=_TICK, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def sample_grid(samples: Sequence[Sample]) -> bytes:
    """Plot one or more frames with truth, prediction and confidence, each next to its activation map overlay."""
    if not samples:
        raise EvaluationError("A grid needs samples. Received: none. Leave the grid out.")
    columns = min(_PAIRS_PER_ROW, len(samples))
    rows = -(-len(samples) // columns)
    width, height = _CELL_WIDTH * columns, _CELL_HEIGHT * rows
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # in inches, the origin at the top left
    axes.set_axis_off()
    for place, sample in enumerate(samples):
        _draw_sample(axes, sample, x=place % columns * _CELL_WIDTH, y=place // columns * _CELL_HEIGHT)
    return _png(figure)


def _draw_sample(axes: Axes, sample: Sample, *, x: float, y: float) -> None:
    """Draw a sample into the cell whose top left corner is at ``x`` and ``y``, in inches."""
    mark, color = ("\N{CHECK MARK}", _RIGHT) if sample.is_correct else ("\N{BALLOT X}", _WRONG)
    title = f"truth: {sample.truth}\n{mark} predicted {sample.predicted} ({sample.confidence:.0%})"
    title_style: dict[str, Any] = {"fontsize": _LABEL, "color": color, "weight": "bold", "linespacing": 1.2}
    axes.text(x + _CELL_WIDTH / 2, y + 0.41, title, ha="center", va="baseline", **title_style)
    half = _IMAGE_SIDE / 2
    small: dict[str, Any] = {"ha": "center", "color": _QUIET}
    left, right, middle = x + 0.06 + half, x + _CELL_WIDTH / 2 + 0.03 + half, y + 0.5 + half

    def show(image: NDArray[np.uint8], center: float, words: str) -> None:
        high, wide = np.array(image.shape[:2]) / max(image.shape[:2]) * half
        axes.imshow(image, extent=(center - wide, center + wide, middle + high, middle - high), aspect="auto")
        axes.text(center, middle + half + 0.06, words, va="top", fontsize=8, **small)

    show(sample.frame, left, _shorten(sample.name))
    if sample.activation_map is not None:
        show(overlay(sample.frame, sample.activation_map), right, "activation map")
    else:
        axes.text(right, middle, "no activation\nmap", va="center", **small)


def _shorten(name: str, most: int = 26) -> str:
    short = name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 :]}"
    return short.replace("$", r"\$")  # a dollar sign starts mathematical text


def _style(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: bool = True) -> None:
    axes.set_title(title, fontsize=_TITLE, color=_INK, loc="left", weight="bold", pad=10)
    axes.set_xlabel(x, fontsize=_LABEL, color=_QUIET)
    axes.set_ylabel(y, fontsize=_LABEL, color=_QUIET)
    axes.tick_params(labelsize=_TICK, colors=_INK, length=0)
    axes.spines[:].set_visible(False)
    if grid:
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), facecolor="white", layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
