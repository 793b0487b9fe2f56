"""Test the folds, counts and stored results of the accuracy benchmark."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.cells import Cell, planned
from benchmarks.accuracy.data import Dataset, SplitBy, read_dataset
from benchmarks.accuracy.figures import Counts
from benchmarks.accuracy.lesions import Pointing, count_pointing, read_boxes
from benchmarks.accuracy.results import Results
from braintumor.dataset.splits.split import Split
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.labels import CLASSES
from braintumor.serving.artifact import sha256_of

PER_CLASS = 14


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return phantoms: two consecutive ones of a class are of one person, one is copied, and normals have no person."""
    folder = tmp_path_factory.mktemp("phantoms")
    rows = []
    for number, path in enumerate(sorted(write_dataset(folder, per_class=PER_CLASS, seed=3))):
        if path.parent.name != "normal":
            rows.append((sha256_of(path), f"{path.parent.name} {number // 2}"))
    copied = next(iter(sorted(folder.rglob("*.png"))))
    copied.with_name("copy.png").write_bytes(copied.read_bytes())
    table = tmp_path_factory.mktemp("table") / "persons.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([("sha256", "person"), *rows])
    return read_dataset(folder, table)


@pytest.mark.parametrize("by", list(SplitBy))
def test_each_file_is_tested_in_exactly_one_fold(by: SplitBy, dataset: Dataset) -> None:
    tested = Counter(position for number in range(5) for position in dataset.fold(by, number).test.tolist())
    copies = {position for position, image in enumerate(dataset.images) if len(image.files) == 2}
    assert len(dataset.images) == 4 * PER_CLASS and len(copies) == 1
    twice = copies if by is SplitBy.FILES else set()
    assert tested == {position: 2 if position in twice else 1 for position in range(len(dataset.images))}


def test_no_person_is_in_two_parts_of_a_fold(dataset: Dataset) -> None:
    assert dataset.is_person_known.sum() == 3 * PER_CLASS
    for number in range(5):
        fold = dataset.fold(SplitBy.PERSONS, number)
        parts = [set(dataset.persons[part].tolist()) for part in (fold.training, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(set(dataset.persons.tolist()))
        assert set(dataset.labels[fold.test].tolist()) == {0, 1, 2, 3}, "a class has no test image"


def test_persons_join_groups_and_groups_ignore_persons(dataset: Dataset) -> None:
    assert len(set(dataset.persons.tolist())) < len(set(dataset.groups.tolist())) == len(dataset.images)


def test_training_gets_frames_and_labels_of_the_positions(dataset: Dataset) -> None:
    frames = dataset.frames(64)
    part = dataset.part(frames, np.array([5, 5, 0]), Split.TRAIN)
    assert (part.frames[0] == part.frames[1]).all() and part.frames.shape == (3, 64, 64, 3)
    assert [image.label.position for image in part.images] == part.labels.tolist() == dataset.labels[[5, 5, 0]].tolist()


def counts(hits: int = 6) -> Counts:
    """Return the counts of eight predictions in four clusters, two images of each class, ``hits`` of them correct."""
    labels = np.repeat(np.arange(4), 2)
    predicted = np.where(np.arange(8) < hits, labels, 2)
    probabilities = np.full((8, 4), 0.1)
    probabilities[np.arange(8), predicted] = 0.7
    return Counts.of(
        labels,
        probabilities,
        labels,
        is_known=labels > 1,
        pointing=Pointing(count=4, inside=3, touching=4),
        minutes=(2.0, 3.0),
    )


def test_figures_of_the_counts_are_those_of_the_predictions() -> None:
    result = counts(6)
    assert result.accuracy == 0.75
    assert list(result.recalls.values()) == [1, 1, 1, 0] and set(result.recalls) == set(CLASSES)
    assert result.tumors_as_normal == pytest.approx(2 / 6)
    assert result.calibration_error == pytest.approx(0.05)
    assert 0.05 < result.calibration_noise < 0.2
    low, high = result.interval
    assert low <= 0.25 and high == 1.0


def test_sum_of_folds_equals_the_counts_of_all() -> None:
    both = Counts.sum([counts(6), Counts.read(counts(8).values())])
    assert both.accuracy == 14 / 16 and both.folds == 2 and both.pointing.inside == 6 and both.known == [6, 8]
    assert both.calibration_error == pytest.approx(0.175) and both.wall_minutes == 2.0


def test_strongest_cell_is_compared_with_the_lesions_box(dataset: Dataset, tmp_path: Path) -> None:
    position = int(np.flatnonzero(dataset.labels == 0)[0])
    height, width = dataset.pixels(position).shape[:2]
    scale = 64 / max(height, width)
    path = tmp_path / "boxes.csv"
    name = dataset.images[position].image.image_uri
    path.write_text(f"path,x0,y0,x1,y1\n{name},{width / 2},{height / 2},{width},{height}\n")
    boxes = read_boxes(path, dataset, 64)
    assert boxes[position] == pytest.approx((32, 32, 32 + width * scale / 2, 32 + height * scale / 2))
    labels, sure = np.array([0]), np.array([[0.9, 0.1, 0.0, 0.0]])
    maps = np.zeros((1, 2, 2, 4))
    maps[0, 1, 1, 0] = 1
    at = np.array([position])
    assert count_pointing(boxes, at, labels, sure, maps) == Pointing(count=1, inside=1, touching=1)
    assert count_pointing(boxes, at, labels, sure, maps[:, ::-1]) == Pointing(count=1, inside=0, touching=0)
    assert count_pointing(boxes, at, labels, sure[:, ::-1], maps) == Pointing()


def test_stored_fold_is_used_only_for_the_same_recipe_and_images(tmp_path: Path) -> None:
    cell = Cell(backbone="resnet50", stage="frozen", by=SplitBy.PERSONS)
    Results(tmp_path / "results.json", images="a").keep(cell, 1, counts())
    again = Results(tmp_path / "results.json", images="a")
    assert again.find(cell, 1) == counts() and again.find(cell, 0) is None
    assert again.find(Cell(backbone="resnet50", stage="fine-tuned", by=SplitBy.PERSONS), 1) is None
    assert Results(tmp_path / "results.json", images="b").find(cell, 1) is None


def test_table_replaces_only_the_text_between_the_marks(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- table of benchmarks.accuracy -->\nold\n<!-- end of table -->\nafter\n")
    results = Results(tmp_path / "results.json", images="a")
    results.keep(Cell(backbone="vgg16", stage="frozen", by=SplitBy.GROUPS), 0, counts())
    results.write_table(document, 5)
    lines = document.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
    (row,) = (line for line in lines if line.startswith("| vgg16 | frozen | near-duplicate groups | 1 | 0.750 ("))
    assert "| 0.500 | 0.750 | 0.000 pituitary | 33.3% |" in row
    assert "| resnet50 | fine-tuned | persons | 0 | not measured yet | | | | | | | |" in lines


def test_plan_covers_each_cell_with_enough_folds() -> None:
    folds = Counter(cell for cell, _ in planned())
    assert all(folds[Cell(backbone=b, stage="frozen", by=by)] == 5 for b in ("vgg16", "resnet50") for by in SplitBy)
    assert folds[Cell(backbone="resnet50", stage="fine-tuned", by=SplitBy.PERSONS)] == 2
    assert len(folds) == 3 * 3 * 2 + 2 * 3
