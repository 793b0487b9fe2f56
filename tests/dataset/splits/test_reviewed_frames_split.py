"""Reviewed frames join labeled images, and the test split does not notice."""

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
    picture = Image.fromarray(draw(LABEL, seed=seed, size=128).pixels)
    return np.asarray(ImageEnhance.Contrast(picture).enhance(contrast))


def frame(number: int, pixels: np.ndarray, *patient: str, label: TumorClass = LABEL) -> LabeledImage:
    made = labeled_image(pixels, f"frame {number}", label, patient=frozenset(patient))
    return replace(made, reviewed=f"scan {number}, frame 0")


def splits(joined: ReviewedFramesSplit) -> dict[str, Split]:
    return {
        file.name: joined.splits[min(picture.image.image_sha256 for picture in group)]
        for group in joined.grouping.groups
        for picture in group
        for file in picture.files
    }


def reasons(joined: ReviewedFramesSplit) -> dict[str, str]:
    return {item.image_uri: item.reason for item in joined.grouping.excluded}


def seed_of(joined: ReviewedFramesSplit, split: Split) -> int:
    return next(int(name.split()[1]) for name, of in splits(joined).items() if of is split)


def memory(images: Sequence[LabeledImage], joined: ReviewedFramesSplit) -> dict[str, Split]:
    found = splits(joined)
    return {image.image_sha256: found[image.name] for image in images if image.name in found}


def test_a_first_snapshot_has_the_same_splits_with_many_frames_as_without(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    frames = [frame(number, drawn(number)) for number in range(100, 120)]
    joined = split_reviewed_frames(images, frames, {}, [])
    found = splits(joined)
    assert {name: found[name] for name in splits(alone)} == splits(alone)
    assert {found[each.name] for each in frames} == {Split.TRAIN} and reasons(joined) == {}
    known = split_reviewed_frames(
        images, frames, dict.fromkeys((each.image_sha256 for each in frames), Split.TRAIN), []
    )
    assert splits(known) == found


def test_a_frame_near_a_test_image_and_what_belongs_to_it_stay_out(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    seed = seed_of(alone, Split.TEST)
    paler = frame(1, drawn(seed, contrast=0.7), "patient p")
    joined = split_reviewed_frames(images, [paler, frame(2, drawn(100), "patient p"), frame(3, drawn(101))], {}, [])
    assert reasons(joined) == {"scan 1, frame 0": IN_TEST, "scan 2, frame 0": IN_TEST}
    assert splits(joined) == {**splits(alone), "scan 3, frame 0": Split.TRAIN}
    other_label = split_reviewed_frames(images, [replace(paler, label=TumorClass.NORMAL)], {}, [])
    assert splits(other_label) == splits(alone), "the test image of another label stays too"


def test_a_frame_of_a_patient_in_test_stays_out(images: list[LabeledImage]) -> None:
    seed = seed_of(split_images(images, {}), Split.TEST)
    named = [replace(image, patient=frozenset({"patient p"})) if image is images[seed] else image for image in images]
    assert reasons(split_reviewed_frames(named, [frame(1, drawn(100), "patient p")], {}, [])) == {
        "scan 1, frame 0": IN_TEST
    }


def test_a_frame_near_a_test_image_that_is_not_here_today_stays_out(images: list[LabeledImage]) -> None:
    absent = labeled_image(drawn(200), "absent", LABEL)
    joined = split_reviewed_frames(images, [frame(1, drawn(200, contrast=0.7))], {}, [absent.perceptual_hash, b""])
    assert reasons(joined) == {"scan 1, frame 0": IN_TEST}


def test_a_frame_joins_the_split_of_what_it_is_near(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    for split in (Split.TRAIN, Split.VALIDATION):
        joined = split_reviewed_frames(images, [frame(1, drawn(seed_of(alone, split), contrast=0.7))], {}, [])
        assert splits(joined) == {**splits(alone), "scan 1, frame 0": split}


def test_a_frame_between_train_and_validation_stays_out(images: list[LabeledImage]) -> None:
    alone = split_images(images, {})
    near = drawn(seed_of(alone, Split.TRAIN), contrast=0.7), drawn(seed_of(alone, Split.VALIDATION), contrast=0.7)
    joined = split_reviewed_frames(
        images, [frame(number, pixels, "study s") for number, pixels in enumerate(near)], {}, []
    )
    assert splits(joined) == splits(alone)
    assert set(reasons(joined).values()) == {"near images in train and validation"}


def test_a_new_image_near_a_frame_that_trains_is_no_test_image(images: list[LabeledImage]) -> None:
    seed = seed_of(split_images(images, {}), Split.TEST)
    trains = frame(1, drawn(seed, contrast=0.7))
    others = [image for image in images if image is not images[seed]]
    first = split_reviewed_frames(others, [trains], {}, [])
    remembered = memory([*others, trains], first)
    second = splits(split_reviewed_frames(images, [trains], remembered, []))
    assert second["scan 1, frame 0"] is second[images[seed].name] is Split.TRAIN


def test_a_frame_near_an_image_that_was_left_out_stays_out_too(images: list[LabeledImage]) -> None:
    twins = [labeled_image(drawn(300), f"{label}", label) for label in (LABEL, TumorClass.NORMAL)]
    joined = split_reviewed_frames([*images, *twins], [frame(1, drawn(300, contrast=0.7))], {}, [])
    assert reasons(joined)["scan 1, frame 0"] == NEAR_EXCLUDED
    assert splits(joined) == splits(split_images([*images, *twins], {}))


def test_the_same_frames_again_change_nothing(images: list[LabeledImage]) -> None:
    frames = [frame(number, drawn(number)) for number in (100, 101)]
    first = split_reviewed_frames(images, frames, {}, [])
    assert splits(split_reviewed_frames(images, frames, memory([*images, *frames], first), [])) == splits(first)
