"""Test that reviewed frames join labeled images without changing the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.splits.reviewed_frames_split import (
    IN_TEST,
    NEAR_EXCLUDED,
    ReviewedFramesSplit,
    split_images,
    split_reviewed_frames,
)
from braintumor.dataset.splits.split import Split
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.images import labeled_image

LABEL = TumorClass.GLIOMA


@pytest.fixture(scope="module")
def images() -> list[LabeledImage]:
    return [labeled_image(drawn(seed), f"image {seed}", LABEL) for seed in range(20)]


def drawn(seed: int, *, contrast: float = 1) -> np.ndarray:
    drawing = Image.fromarray(draw(LABEL, seed=seed, size=128).pixels)
    return np.asarray(ImageEnhance.Contrast(drawing).enhance(contrast))


def frame(number: int, pixels: np.ndarray, *patient: str, label: TumorClass = LABEL) -> LabeledImage:
    made = labeled_image(pixels, f"frame {number}", label, patient=frozenset(patient))
    return replace(made, reviewed=f"scan {number}, frame 0")


def splits(joined: ReviewedFramesSplit) -> dict[str, Split]:
    return {
        file.name: joined.splits[min(member.image.image_sha256 for member in group)]
        for group in joined.grouping.groups
        for member in group
        for file in member.files
    }


def reasons(joined: ReviewedFramesSplit) -> dict[str, str]:
    return {item.image_uri: item.reason for item in joined.grouping.excluded}


def seed_of(joined: ReviewedFramesSplit, split: Split) -> int:
    return next(int(name.split()[1]) for name, of in splits(joined).items() if of is split)


def memory(images: Sequence[LabeledImage], joined: ReviewedFramesSplit) -> dict[str, Split]:
    by_name = splits(joined)
    return {image.image_sha256: by_name[image.name] for image in images if image.name in by_name}


def test_reviewed_frames_do_not_change_splits_of_first_snapshot(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    frames = [frame(number, drawn(number)) for number in range(100, 120)]
    joined = split_reviewed_frames(images, frames, {}, [])
    by_name = splits(joined)
    assert {name: by_name[name] for name in splits(alone)} == splits(alone)
    assert {by_name[each.name] for each in frames} == {Split.TRAIN} and reasons(joined) == {}
    known = split_reviewed_frames(
        images, frames, dict.fromkeys((each.image_sha256 for each in frames), Split.TRAIN), []
    )
    assert splits(known) == by_name


def test_frames_in_group_of_test_image_are_excluded(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    seed = seed_of(alone, Split.TEST)
    paler = frame(1, drawn(seed, contrast=0.7), "patient p")
    joined = split_reviewed_frames(images, [paler, frame(2, drawn(100), "patient p"), frame(3, drawn(101))], {}, [])
    assert reasons(joined) == {"scan 1, frame 0": IN_TEST, "scan 2, frame 0": IN_TEST}
    assert splits(joined) == {**splits(alone), "scan 3, frame 0": Split.TRAIN}
    other_label = split_reviewed_frames(images, [replace(paler, label=TumorClass.NORMAL)], {}, [])
    assert splits(other_label) == splits(alone), "the test image of another label stays too"


def test_frame_of_test_patient_is_excluded(images: list[LabeledImage]) -> None:
    seed = seed_of(split_images(images, {}), Split.TEST)
    named = [replace(image, patient=frozenset({"patient p"})) if image is images[seed] else image for image in images]
    assert reasons(split_reviewed_frames(named, [frame(1, drawn(100), "patient p")], {}, [])) == {
        "scan 1, frame 0": IN_TEST
    }


def test_frame_near_removed_test_image_is_excluded(images: list[LabeledImage]) -> None:
    absent = labeled_image(drawn(200), "absent", LABEL)
    joined = split_reviewed_frames(images, [frame(1, drawn(200, contrast=0.7))], {}, [absent.perceptual_hash, b""])
    assert reasons(joined) == {"scan 1, frame 0": IN_TEST}


def test_frame_joins_split_of_near_image(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    for split in (Split.TRAIN, Split.VALIDATION):
        joined = split_reviewed_frames(images, [frame(1, drawn(seed_of(alone, split), contrast=0.7))], {}, [])
        assert splits(joined) == {**splits(alone), "scan 1, frame 0": split}


def test_frame_between_train_and_validation_is_excluded(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    near = drawn(seed_of(alone, Split.TRAIN), contrast=0.7), drawn(seed_of(alone, Split.VALIDATION), contrast=0.7)
    joined = split_reviewed_frames(
        images, [frame(number, pixels, "study s") for number, pixels in enumerate(near)], {}, []
    )
    assert splits(joined) == splits(alone)
    assert set(reasons(joined).values()) == {"linked to images in train and validation"}


def test_new_image_near_training_frame_is_not_in_test(images: list[LabeledImage]) -> None:
    seed = seed_of(split_images(images, {}), Split.TEST)
    trains = frame(1, drawn(seed, contrast=0.7))
    others = [image for image in images if image is not images[seed]]
    first = split_reviewed_frames(others, [trains], {}, [])
    remembered = memory([*others, trains], first)
    second = splits(split_reviewed_frames(images, [trains], remembered, []))
    assert second["scan 1, frame 0"] is second[images[seed].name] is Split.TRAIN


def test_frame_near_excluded_image_is_excluded(images: list[LabeledImage]) -> None:
    duplicates = [labeled_image(drawn(300), f"{label}", label) for label in (LABEL, TumorClass.NORMAL)]
    joined = split_reviewed_frames([*images, *duplicates], [frame(1, drawn(300, contrast=0.7))], {}, [])
    assert reasons(joined)["scan 1, frame 0"] == NEAR_EXCLUDED
    assert splits(joined) == splits(split_images([*images, *duplicates], {}))


def test_same_frames_again_change_nothing(images: list[LabeledImage]) -> None:
    frames = [frame(number, drawn(number)) for number in (100, 101)]
    first = split_reviewed_frames(images, frames, {}, [])
    assert splits(split_reviewed_frames(images, frames, memory([*images, *frames], first), [])) == splits(first)
