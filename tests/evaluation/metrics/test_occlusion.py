"""Tests of occlusion with a graph that predicts from brightness, so the effect is known."""

from __future__ import annotations

import numpy as np
import pytest

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.occlusion import HidingEffect, Occlusion, occlude
from braintumor.evaluation.report.tables import occlusion_table
from braintumor.labels import TumorClass
from braintumor.serving.backend import LoadedModel

GLIOMA, MENINGIOMA, NORMAL = (TumorClass(name).position for name in ("glioma", "meningioma", "normal"))


def spots(*cells: tuple[int, int], ground: int = 0) -> np.ndarray:
    """Return one frame per cell (row, column) of the 4 x 4 map, bright only in that cell."""
    frames = np.full((len(cells), 128, 128, 3), ground, np.uint8)
    for frame, (row, column) in zip(frames, cells, strict=True):
        frame[row * 32 : (row + 1) * 32, column * 32 : (column + 1) * 32] = 255
    return frames


def hide(model: LoadedModel, frames: np.ndarray, labels: list[int], **options: int) -> Occlusion | None:
    return occlude(model, frames=frames, labels=np.array(labels), outputs=model.predict(frames), **options)


def test_hiding_only_the_marked_place_changes_the_prediction(brightness_model: LoadedModel) -> None:
    frames = spots((0, 0), (1, 2), (3, 3), ground=6)  # logit of glioma 1.62 + 0.56 against 1.8, and 0.6 when hidden
    occlusion = hide(brightness_model, frames, [GLIOMA] * 3)
    assert occlusion is not None
    assert occlusion.marked.count == occlusion.elsewhere.count == 3
    assert occlusion.marked.count_changed == 3
    assert occlusion.marked.mean_drop > 0.1
    assert (occlusion.elsewhere.count_changed, occlusion.elsewhere.mean_drop) == (0, pytest.approx(0, abs=1e-6))


def test_the_random_place_is_on_the_head_not_the_background(brightness_model: LoadedModel) -> None:
    frames = spots(*[(1, 0)] * 8)
    frames[:, :, :50][frames[:, :, :50] == 0] = 120  # the head covers 50 of 128 columns, so the median is black
    occlusion = hide(brightness_model, frames, [GLIOMA] * 8)
    assert occlusion is not None
    assert 0.02 < occlusion.elsewhere.mean_drop < occlusion.marked.mean_drop, "hiding black has no effect"


def test_only_correct_tumors_are_used_up_to_the_limit(brightness_model: LoadedModel) -> None:
    frames = spots((0, 0), (1, 1), (2, 2), (3, 3), (0, 3), ground=6)
    frames[4] = 0  # predicted as normal
    labels = [GLIOMA, MENINGIOMA, GLIOMA, GLIOMA, NORMAL]
    occlusion, few = hide(brightness_model, frames, labels), hide(brightness_model, frames, labels, most=2)
    assert occlusion is not None and occlusion.marked.count == 3
    assert few is not None and few.marked.count == 2
    assert hide(brightness_model, frames[4:], [NORMAL]) is None


def test_the_same_seed_hides_the_same_places(brightness_model: LoadedModel) -> None:
    random = np.random.default_rng(5)
    frames = random.integers(0, 120, (6, 128, 128, 3), dtype=np.uint8)
    first, again, other = (hide(brightness_model, frames, [GLIOMA] * 6, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first is not None and other is not None
    assert first.marked == other.marked and first.elsewhere != other.elsewhere


def test_the_given_frames_are_not_changed(brightness_model: LoadedModel) -> None:
    frames = spots((1, 1), ground=6)
    before = frames.copy()
    hide(brightness_model, frames, [GLIOMA])
    np.testing.assert_array_equal(frames, before)


def test_different_image_counts_of_the_places_are_refused() -> None:
    one, two = (HidingEffect(count=n, count_changed=0, mean_drop=0.0) for n in (1, 2))
    with pytest.raises(EvaluationError, match="Received: 1 and 2"):
        Occlusion(marked=one, elsewhere=two)


def test_a_table_without_images_says_not_assessed() -> None:
    assert occlusion_table(None, image_size=224).rows[0][0] == "not assessed"
    assert "56 x 56 pixels" in occlusion_table(None, image_size=224).note
