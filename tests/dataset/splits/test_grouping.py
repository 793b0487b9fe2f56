"""Test that duplicates, mirrored images and patients are in one split, and the exclusions that this needs."""

from __future__ import annotations

import io
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.perceptual_hash import NEAR, near_pairs, nearest, perceptual_hashes
from braintumor.dataset.splits import grouping as grouping_module
from braintumor.dataset.splits import near_links as near_links_module
from braintumor.dataset.splits.grouping import Grouping, form_groups
from braintumor.dataset.splits.near_links import ComparedImages, near_links
from braintumor.dataset.splits.split import Split
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.images import labeled_image, saved

TURNS = list(Image.Transpose)


def drawn(seed: int, label: TumorClass = TumorClass.GLIOMA) -> Image.Image:
    return Image.fromarray(draw(label, seed=seed, size=256).pixels)


def image(
    drawing: Image.Image, name: str, label: TumorClass = TumorClass.GLIOMA, patient: str | None = None
) -> LabeledImage:
    named = frozenset() if patient is None else frozenset({patient})
    return labeled_image(np.asarray(drawing), name, label, patient=named)


def between(one: Image.Image, other: Image.Image) -> int:
    first, second = (perceptual_hashes(np.asarray(drawing))[None] for drawing in (one, other))
    return int(nearest(first, second)[1][0])


def names(grouping: Grouping) -> list[list[str]]:
    return sorted(sorted(member.image.image_uri for member in group) for group in grouping.groups)


def reasons(grouping: Grouping) -> dict[str, str]:
    return {item.image_uri: item.reason for item in grouping.excluded}


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.name)
def test_flipped_or_turned_duplicate_is_near(turn: Image.Transpose) -> None:
    assert between(drawn(1), drawn(1).transpose(turn)) <= 8


@pytest.mark.parametrize(
    "change",
    [
        lambda drawing: ImageEnhance.Contrast(drawing).enhance(0.7),
        lambda drawing: drawing.resize((180, 180)),
        lambda drawing: Image.open(io.BytesIO(saved(drawing, "JPEG", quality=30))),
    ],
    ids=["paler", "smaller", "recompressed"],
)
def test_changed_duplicate_is_near(change: object) -> None:
    assert between(drawn(1), change(drawn(1))) <= NEAR  # type: ignore[operator]


def test_different_images_are_far() -> None:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)) for _ in range(20)]
    hashes = np.stack([perceptual_hashes(np.asarray(drawing)) for drawing in noise])
    assert list(near_pairs(hashes)) == []


def test_near_pairs_match_naive_bit_comparison() -> None:
    rng = np.random.default_rng(0)
    hashes: NDArray[np.uint64] = rng.integers(0, 2**63, (700, 8, 4), dtype=np.uint64)
    hashes[600, 0] = hashes[10, 3] ^ np.uint64(7)
    assert list(near_pairs(hashes)) == [(10, 600, 12)]
    hashes[10, 0] = hashes[600, 5]
    assert list(near_pairs(hashes)) == [(10, 600, 0)]


def test_duplicates_are_one_image_and_mirrored_ones_one_group() -> None:
    one = drawn(1)
    mirrored = one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    grouping = form_groups([image(one, "a"), image(one, "copy"), image(mirrored, "mirrored"), image(_other(), "b")], {})
    assert sorted(len(group) for group in grouping.groups) == [1, 2]
    assert sum(len(member.files) for group in grouping.groups for member in group) == 4
    assert grouping.excluded == ()


def _other() -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 255, (64, 64), dtype=np.uint8))


def _far(count: int) -> list[Image.Image]:
    """Make images that are not near each other."""
    rng = np.random.default_rng(9)
    return [Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)) for _ in range(count)]


def test_images_of_one_patient_are_one_group() -> None:
    a, b, c = _far(3)
    grouping = form_groups([image(a, "a", patient="p"), image(b, "b", patient="q"), image(c, "c", patient="p")], {})
    assert names(grouping) == [["a", "c"], ["b"]]


def test_patient_group_survives_exclusion_of_a_linking_image() -> None:
    a, b, c = (image(drawing, name, patient="p") for drawing, name in zip(_far(3), "abc", strict=True))
    by_sha = sorted((a, b, c), key=lambda item: item.image_sha256)
    middle = by_sha[1]
    duplicate = LabeledImage(
        **{**vars(middle), "pixel_sha256": "other", "image_sha256": "f" * 64, "image_uri": "duplicate",
           "label": TumorClass.NORMAL, "patient": frozenset()}
    )  # fmt: skip
    assert len(names(form_groups([a, b, c, duplicate], {}))) == 1
    remembered = {
        by_sha[0].image_sha256: Split.TRAIN,
        middle.image_sha256: Split.TRAIN,
        by_sha[2].image_sha256: Split.TEST,
    }
    assert names(form_groups([a, b, c], remembered)) == [[by_sha[2].image_uri]]


def test_many_images_of_one_placeholder_patient_are_grouped() -> None:
    one = image(_far(1)[0], "one", patient="patient ANONYMOUS")
    count = 20_000
    images = [replace(one, image_sha256=f"{n:064}", pixel_sha256=f"{n}") for n in range(count)]
    with patch.object(grouping_module, "near_links", return_value=[]):
        grouping = form_groups(images, {images[0].image_sha256: Split.TRAIN, images[1].image_sha256: Split.TEST})
    (group,) = grouping.groups
    assert len(group) == count - 1 and len(grouping.excluded) == 1


def test_near_images_with_different_labels_are_excluded() -> None:
    one = drawn(1)
    paler = ImageEnhance.Contrast(one).enhance(0.9)
    grouping = form_groups([image(one, "a"), image(paler, "b", TumorClass.NORMAL), image(_other(), "c")], {})
    assert names(grouping) == [["c"]]
    assert reasons(grouping) == dict.fromkeys(["a", "b"], "near-identical images are labeled glioma and normal")


def test_new_image_joins_split_of_its_group() -> None:
    one = drawn(1)
    old = image(one, "old")
    new = image(one.transpose(Image.Transpose.ROTATE_90), "new")
    grouping = form_groups([new, old], {old.image_sha256: Split.TEST})
    assert names(grouping) == [["new", "old"]] and list(grouping.known.values()) == [Split.TEST]


def test_new_image_between_two_splits_is_excluded() -> None:
    a, b, c = _far(3)
    kept = {"train": image(a, "a", patient="p"), "test": image(b, "b", patient="q")}
    bridge = LabeledImage(**{**vars(image(c, "bridge")), "patient": frozenset({"p", "q"})})
    grouping = form_groups([*kept.values(), bridge], {item.image_sha256: Split(split) for split, item in kept.items()})
    assert names(grouping) == [["a"], ["b"]]
    assert reasons(grouping) == {"bridge": "linked to images in test and train"}


def test_chain_of_new_images_between_two_splits_is_excluded() -> None:
    drawings = _far(4)
    patients = [{"p"}, {"p", "r"}, {"r", "q"}, {"q"}]
    images = [
        LabeledImage(**{**vars(image(drawing, name)), "patient": frozenset(identifiers)})
        for drawing, name, identifiers in zip(drawings, "abcd", patients, strict=True)
    ]
    grouping = form_groups(images, {images[0].image_sha256: Split.TRAIN, images[3].image_sha256: Split.TEST})
    assert names(grouping) == [["a"], ["d"]] and set(reasons(grouping)) == {"b", "c"}


def test_of_two_near_known_images_the_test_image_is_kept() -> None:
    one = drawn(1)
    ours, theirs = image(one, "train"), image(one.transpose(Image.Transpose.ROTATE_180), "test")
    grouping = form_groups([ours, theirs], {ours.image_sha256: Split.TRAIN, theirs.image_sha256: Split.TEST})
    assert names(grouping) == [["test"]]
    assert reasons(grouping) == {"train": "was in train, and is linked to an image in test"}


def test_no_images_give_no_groups() -> None:
    assert form_groups([], {}).groups == ()


def test_identified_classes_know_half_of_their_patients() -> None:
    images = [
        image(drawn(seed, label), f"{label} {seed}", label, patient=f"patient {seed}" if seed % 4 < known else None)
        for label, known in ((TumorClass.GLIOMA, 2), (TumorClass.PITUITARY, 1))
        for seed in range(20 + 100 * label.position, 28 + 100 * label.position)
    ]
    grouping = form_groups(images, {})
    assert grouping.identified_classes() == {TumorClass.GLIOMA}
    groups = grouping.to_split(grouping.identified_classes()).values()
    assert sum(not group.may_test for group in groups) == 4
    assert all(group.may_test for group in groups if group.label is TumorClass.PITUITARY)


def test_study_alone_is_no_known_patient() -> None:
    (group,) = form_groups([image(drawn(1), "one", patient="study 1.2")], {}).groups
    assert not group[0].has_patient


def test_images_of_two_searches_are_compared_once() -> None:
    rng = np.random.default_rng(0)
    hashes: NDArray[np.uint64] = rng.integers(0, 2**63, (150, 8, 4), dtype=np.uint64)
    hashes[100, 0] = hashes[10, 3] ^ np.uint64(7)
    hashes[140, 2], hashes[20] = hashes[130, 0], hashes[5]
    images = [replace(image(drawn(1), str(i)), perceptual_hash=each.tobytes()) for i, each in enumerate(hashes)]
    assert near_links(images) == [(5, 20), (10, 100), (130, 140)]
    compared = ComparedImages()
    assert near_links(images[:120], compared) == [(5, 20), (10, 100)]
    with patch.object(near_links_module, "near_pairs", wraps=near_pairs) as search:
        assert near_links(images[::-1], compared) == [(9, 19), (49, 139), (129, 144)]
        assert near_links(images[5:21], compared) == [(0, 15)]
    assert [call.args[1] for call in search.call_args_list] == [119], "119 different hashes were compared before"
