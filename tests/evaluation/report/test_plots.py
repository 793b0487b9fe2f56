from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.classification import Evaluation, evaluate
from braintumor.evaluation.report import plots
from braintumor.evaluation.report.cam_overlay import Sample, overlay
from braintumor.labels import CLASSES
from braintumor.serving.activation_map import upsample
from tests.loaded_modules import import_names, loaded_modules

SQUARE = (660, 660)
Predictions = tuple[np.ndarray, np.ndarray]


def _assert_image(png: bytes, size: tuple[int, int]) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB"))
        assert image.size == size
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert (pixels != 255).any(axis=-1).mean() > 0.01
    return pixels


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_history_plot_is_an_image(history: dict[str, list[float]]) -> None:
    _assert_image(plots.history_plot(history), SQUARE)


def test_history_of_one_epoch_is_an_image() -> None:
    _assert_image(plots.history_plot({key: [0.5] for key in ("accuracy", "val_accuracy", "loss", "val_loss")}), SQUARE)


def test_the_best_epoch_has_the_lowest_validation_loss(history: dict[str, list[float]]) -> None:
    assert plots.best_epoch(history) == 3


@pytest.mark.parametrize("change", [{"val_loss": []}, {"val_loss": [1.0]}])
def test_a_history_with_a_short_series_is_refused(history: dict[str, list[float]], change: dict[str, list]) -> None:
    with pytest.raises(EvaluationError, match=rf"val_loss \({len(change['val_loss'])}\)"):
        plots.history_plot(history | change)


def test_confusion_plot_is_an_image(good: Evaluation) -> None:
    _assert_image(plots.confusion_plot(good), SQUARE)


def _places(pixels: np.ndarray, color: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the pixels near this color."""
    wanted = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    return np.nonzero((np.abs(pixels.astype(int) - wanted) < 12).all(axis=-1))


@pytest.mark.parametrize("direction", [1, -1])
def test_the_confusion_plot_is_dark_at_the_predictions(
    evaluation_of: Callable[..., Evaluation], direction: int
) -> None:
    counts = np.eye(4, dtype=int)[::direction] * 50
    pixels = _assert_image(plots.confusion_plot(evaluation_of(counts.tolist())), SQUARE)
    rows, columns = _places(pixels, "#08306b")  # the dark end of Blues
    assert direction * np.corrcoef(rows, columns)[0, 1] > 0.8


def test_a_better_roc_curve_is_higher(predictions: Predictions) -> None:
    labels, chances = predictions
    last = plots.CLASS_COLORS[CLASSES[-1]]  # drawn over the others
    sure, wrong = np.eye(4)[labels], np.roll(np.eye(4)[labels], 1, axis=1)
    heights = [
        _places(_assert_image(plots.roc_plot(labels, probabilities), SQUARE), last)[0].mean()
        for probabilities in (sure, chances, wrong)
    ]
    assert heights == sorted(heights), "rows are numbered from the top"


def test_a_wrong_prediction_has_another_color(samples: list[Sample]) -> None:
    images = [_assert_image(plots.sample_grid([samples[i]]), (451, 302)) for i in (1, 4)]
    right, wrong = (pixels[:50] for pixels in images)  # only the title, because frames of noise have any color
    assert len(_places(right, "#00694d")[0]) > 50 and len(_places(wrong, "#b34700")[0]) > 50
    assert len(_places(right, "#b34700")[0]) < 10 and len(_places(wrong, "#00694d")[0]) < 10


def test_reliability_plot_is_an_image(predictions: Predictions) -> None:
    _assert_image(plots.reliability_plot(*predictions), SQUARE)


def test_roc_plot_is_an_image(predictions: Predictions) -> None:
    _assert_image(plots.roc_plot(*predictions), SQUARE)


def test_plots_of_a_split_with_an_absent_class_are_images(predictions: Predictions) -> None:
    labels, chances = (part[:90] for part in predictions)
    _assert_image(plots.roc_plot(labels, chances), SQUARE)
    _assert_image(plots.confusion_plot(evaluate(labels=labels, probabilities=chances, split="test")), SQUARE)


def test_plots_refuse_invalid_predictions() -> None:
    with pytest.raises(EvaluationError, match="not logits"):
        plots.roc_plot(np.array([0]), np.ones((1, 4)))


def test_accuracy_plot_grows_with_the_number_of_models(good: Evaluation) -> None:
    both = (replace(good, split="validation"), good)
    one, two = (
        _assert_image(plots.accuracy_plot({f"$model_{i}$": both for i in range(count)}), (990, height))
        for count, height in ((1, 211), (2, 279))
    )
    assert one.shape[0] < two.shape[0]


def test_sample_grid_has_a_row_for_every_three_samples(samples: list[Sample]) -> None:
    _assert_image(plots.sample_grid(samples), (1353, 605))
    _assert_image(plots.sample_grid(samples[:1]), (451, 302))


def test_a_grid_of_no_samples_is_refused() -> None:
    with pytest.raises(EvaluationError, match="Received: none"):
        plots.sample_grid([])


def test_upsampling_interpolates_and_scales_to_zero_to_one() -> None:
    large = upsample(np.array([[-3.0, 5.0]]), height=2, width=8)
    assert large.shape == (2, 8)
    assert (large[0, 0], large[0, -1]) == (0.0, 1.0)
    assert np.all(np.diff(large[0]) >= 0)
    assert large[0, 3] == pytest.approx(0.375)  # the cell centers are at 1.5 and 5.5 of 8


def test_a_flat_map_leaves_the_frame_unchanged() -> None:
    frame = np.full((32, 32, 3), 90, dtype=np.uint8)
    assert np.array_equal(overlay(frame, np.full((7, 7), 2.5)), frame)


def test_the_overlay_changes_only_the_marked_place() -> None:
    frame, marked = np.full((70, 70, 3), 90, dtype=np.uint8), np.zeros((7, 7))
    marked[1, 1] = 4.0
    shown = overlay(frame, marked)
    assert shown.dtype == np.uint8
    assert shown[15, 15].max() > 180
    assert shown[60, 60].tolist() == [90, 90, 90]


@pytest.mark.parametrize("bad", [np.zeros((7, 7, 4)), np.array([[np.nan]]), np.zeros((0, 3))])
def test_a_bad_activation_map_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match=r"shape \(h, w\)"):
        upsample(bad, height=4, width=4)


def test_a_frame_that_is_not_uint8_rgb_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"uint8 of shape \(H, W, 3\)"):
        Sample(name="x", frame=np.zeros((4, 4)), truth=CLASSES[0], predicted=CLASSES[0], confidence=0.5)  # type: ignore[arg-type]


def test_evaluation_needs_neither_pyplot_nor_a_model_library() -> None:
    heavy = {"matplotlib.pyplot", "tensorflow", "keras", "openvino", "sqlalchemy", "boto3"}
    assert not heavy & loaded_modules(import_names, "braintumor.evaluation.report")
