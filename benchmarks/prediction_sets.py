r"""Simulate prediction sets on real images.

::

    python -m benchmarks.prediction_sets ~/sartaj --patients patients.csv --weights ~/weights

The recipe ``mobilenet_v2`` (frozen backbone) is trained on each of the five folds of ``benchmarks.accuracy``. The
validation and test images of a fold are regrouped many times: half of their groups calibrate the sets, and the other
half measures them. This is done twice: with the images of a person as a group, which are few groups, and with
near-duplicates as a group, which are many. The rule before decision 0048
(confidence thresholds for a precision of 0.95, and near ties) is fitted and measured on the same images. Under shift,
the measured images are changed, and those of the calibration are not. The seed is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate
from scipy.special import softmax

from benchmarks.accuracy.data import COUNT_FOLD, Dataset, Fold, SplitBy, read_dataset
from braintumor.evaluation.metrics.set_coverage import mean_over_groups
from braintumor.labels import CLASSES
from braintumor.serving.prediction_set import SetThresholds
from braintumor.training.backbones import load_weights
from braintumor.training.calibration import fit_temperature
from braintumor.training.classifier import Classifier
from braintumor.training.conformal import COVERAGE, fit_sets
from braintumor.training.features import FeatureExtractor
from braintumor.training.head import fit_head
from braintumor.training.pretrained_weights import mirrored_name
from braintumor.training.recipe import Recipe

Frames = NDArray[np.uint8]
Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

_FILE = click.Path(path_type=Path, exists=True)
_PLAIN = "as they are"
SHIFTS: Mapping[str, Callable[[Frames], Frames]] = {
    _PLAIN: lambda frames: frames,
    "turned by 15 degrees": lambda frames: _turned(frames, 15),
    "turned by 90 degrees": lambda frames: np.rot90(frames, axes=(1, 2)),
    "window half as wide": lambda frames: _windowed(frames, 2.0),
    "window twice as wide": lambda frames: _windowed(frames, 0.5),
    "half as bright": lambda frames: frames // 2,
}
"""Name -> change of the frames, uint8 (N, S, S, 3)."""
_NEAR_TIE, _OLD_BOUNDS = 0.10, (0.60, 0.95)
"""Margin below which the old rule saw a near tie, and the bounds of its confidence thresholds."""
_LEVELS = (*np.arange(0.70, 0.96, 0.01).round(2), 0.97)
"""Coverage targets among which the one with the risk of the old rule is found."""

_HEAD = (
    "\n| {} | coverage: {} | classes in a set | for review | wrong, not for review |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Hold the validation images of one fold, and then its test images.

    Attributes:
        count_validation: number of validation images.
        labels: (N,) positions in ``CLASSES``.
        groups: (N,) number of the group of each image.
        probability: shift -> (N, 4).
    """

    count_validation: int
    labels: NDArray[np.int64]
    groups: NDArray[np.intp]
    probability: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Hold what one rule achieves on one random part of the images. All shares count each group once.

    Attributes:
        coverage: (4,) share of each class's images whose set contains the class.
        size: mean number of classes in a set.
        reviewed: share of the images for review.
        risk: share of the images that are predicted wrongly and not for review.
    """

    coverage: Floats
    size: float
    reviewed: float
    risk: float


def measure(pool: Pool, thresholds: SetThresholds, images: Bools, *, shift: str = _PLAIN) -> Result:
    """Measure the sets of the chosen images of a pool."""
    probability, labels = pool.probability[shift][images], pool.labels[images]
    inside = thresholds.contains(probability)
    return _result(pool, images, inside=inside, reviewed=inside.sum(axis=1) != 1, right=probability.argmax(1) == labels)


def measure_old(pool: Pool, lowest: Floats, images: Bools) -> Result:
    """Measure the rule before decision 0048, with the confidence thresholds ``lowest`` (4,) of the predicted class."""
    probability = pool.probability[_PLAIN][images]
    ordered, predicted = np.sort(probability, axis=1), probability.argmax(axis=1)
    doubted = (ordered[:, -1] < lowest[predicted]) | (ordered[:, -1] - ordered[:, -2] < _NEAR_TIE)
    inside = np.eye(len(CLASSES), dtype=bool)[predicted]
    return _result(pool, images, inside=inside, reviewed=doubted, right=predicted == pool.labels[images])


def _result(pool: Pool, images: Bools, *, inside: Bools, reviewed: Bools, right: Bools) -> Result:
    labels, groups = pool.labels[images], pool.groups[images]
    covered = inside[np.arange(len(labels)), labels]
    coverage = [mean_over_groups(covered[labels == c], groups[labels == c]) for c in range(len(CLASSES))]
    return Result(
        coverage=np.array(coverage),
        size=mean_over_groups(inside.sum(axis=1), groups),
        reviewed=mean_over_groups(reviewed, groups),
        risk=mean_over_groups(~right & ~reviewed, groups),
    )


def old_thresholds(probability: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return the confidence thresholds (4,) of the rule before decision 0048."""
    predicted, confidence = probability.argmax(axis=1), probability.max(axis=1)
    found = []
    for position in range(len(CLASSES)):
        of_class = predicted == position
        descending = np.argsort(-confidence[of_class], kind="stable")
        right = (labels[of_class] == position)[descending]
        precise = np.flatnonzero(right.cumsum() / np.arange(1, len(right) + 1) >= COVERAGE)
        lowest = confidence[of_class][descending[precise[-1]]] if len(precise) else _OLD_BOUNDS[1]
        found.append(np.clip(lowest, *_OLD_BOUNDS))
    return np.array(found)


@click.command()
@click.argument("folder", type=_FILE)
@click.option("--patients", type=_FILE, required=True, help="CSV file with the columns sha256 and person.")
@click.option("--weights", type=_FILE, required=True, help="Folder with MobileNetV2's ImageNet weights.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("~/.cache/braintumor/prediction_sets"))
@click.option("--regroupings", type=int, default=200, help="Number of regroupings, a multiple of 5.")
@click.option("--seed", type=int, default=0)
def main(*, folder: Path, patients: Path, weights: Path, cache: Path, regroupings: int, seed: int) -> None:
    """Print the tables of decision 0048."""
    cache = cache.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(folder, patients)
    features = _features(dataset, weights, cache)
    for by, groups in ((SplitBy.PERSONS, dataset.persons), (SplitBy.GROUPS, dataset.groups)):
        pools = [_pool(dataset, dataset.fold(by, number), groups, features) for number in range(COUNT_FOLD)]
        click.echo(f"\n### Groups: {by}")
        for row in report(pools, regroupings // COUNT_FOLD, np.random.default_rng(seed)):
            click.echo(row)


def report(pools: list[Pool], count: int, random: np.random.Generator) -> Iterator[str]:
    """Regroup each pool ``count`` times, and yield the lines of the tables."""
    splits = [(pool, _half(pool, random)) for pool in pools for _ in range(count)]
    by_group = [(pool, fit(pool, calibration), ~calibration) for pool, calibration in splits]
    counts = np.mean([list(thresholds.count_group.values()) for _, thresholds, _ in by_group], axis=0)
    yield f"{len(splits)} regroupings. Groups in a calibration: " + ", ".join(
        f"{count:.1f} {label}" for count, label in zip(counts, CLASSES, strict=True)
    )
    yield _HEAD.format("rule", " | ".join(CLASSES))
    yield _row("sets, groups weigh the same", [measure(*each) for each in by_group])
    by_image = [(pool, fit(pool, calibration, are_images_alone=True), ~calibration) for pool, calibration in splits]
    yield _row("sets, images weigh the same", [measure(*each) for each in by_image])
    validations = [(pool, np.arange(len(pool.labels)) < pool.count_validation) for pool in pools]
    yield _row("sets from validation, on test", [measure(pool, fit(pool, part), ~part) for pool, part in validations])
    old = [
        measure_old(pool, old_thresholds(pool.probability[_PLAIN][half], pool.labels[half]), ~half)
        for pool, half in splits
    ]
    yield _row("confidence thresholds (before)", old)
    risk = _mean(old).risk
    levels = {level: [measure(p, fit(p, half, coverage=level), ~half) for p, half in splits] for level in _LEVELS}
    same = min(levels, key=lambda level: abs(_mean(levels[level]).risk - risk))
    yield _row(f"sets at equal risk, target {same:.2f}", levels[same])
    yield _HEAD.format("images", " | ".join(CLASSES))
    for shift in pools[0].probability:
        yield _row(shift, [measure(*each, shift=shift) for each in by_group])
    yield from _kinds(by_group)


def _kinds(fitted: list[tuple[Pool, SetThresholds, Bools]]) -> Iterator[str]:
    """Yield the lines of a table on the kinds of sets."""
    sizes, right = [], []
    for pool, thresholds, images in fitted:
        probability = pool.probability[_PLAIN][images]
        sizes.append(thresholds.contains(probability).sum(axis=1))
        right.append(probability.argmax(axis=1) == pool.labels[images])
    size, is_right = np.concatenate(sizes), np.concatenate(right)
    yield "\n| classes in the set | share of the images | predicted class right |"
    yield "|---:|---:|---:|"
    for number in np.unique(size):
        yield f"| {number} | {(size == number).mean():.3f} | {is_right[size == number].mean():.3f} |"


def fit(pool: Pool, images: Bools, *, coverage: float = COVERAGE, are_images_alone: bool = False) -> SetThresholds:
    """Fit the thresholds of the prediction sets on the chosen images of ``pool``.

    With ``are_images_alone``, each image is a group of its own.
    """
    keys = np.flatnonzero(images) if are_images_alone else pool.groups[images]
    found = fit_sets(
        pool.probability[_PLAIN][images], pool.labels[images], keys.astype(str).tolist(), coverage=coverage
    )
    assert found is not None, "a class has images of too few groups"
    return found


def _half(pool: Pool, random: np.random.Generator) -> Bools:
    """Return which images belong to a random half of the groups."""
    keys = np.unique(pool.groups)
    return np.isin(pool.groups, random.permutation(keys)[: len(keys) // 2])


def _mean(results: list[Result]) -> Result:
    return Result(
        coverage=np.mean([each.coverage for each in results], axis=0),
        **{name: float(np.mean([getattr(each, name) for each in results])) for name in ("size", "reviewed", "risk")},
    )


def _row(name: str, results: list[Result]) -> str:
    mean = _mean(results)
    coverage = " | ".join(f"{share:.3f}" for share in mean.coverage)
    return f"| {name} | {coverage} | {mean.size:.2f} | {mean.reviewed:.3f} | {mean.risk:.4f} |"


def _pool(dataset: Dataset, fold: Fold, groups: NDArray[np.intp], features: Mapping[str, NDArray[np.float32]]) -> Pool:
    """Train the head on a fold, and predict its validation and test images under each shift.

    ``groups`` has the number of the group of every image of the dataset.
    """
    labels, plain = dataset.labels, features[_PLAIN]
    fitted = fit_head(
        Recipe.load("mobilenet_v2"),
        views=[plain[fold.training]],
        labels=labels[fold.training],
        validation_features=plain[fold.validation],
        validation_labels=labels[fold.validation],
    )
    temperature = fit_temperature(plain[fold.validation] @ fitted.kernel + fitted.bias, labels[fold.validation])
    images = np.concatenate([fold.validation, fold.test])
    return Pool(
        count_validation=len(fold.validation),
        labels=labels[images],
        groups=groups[images],
        probability={
            shift: softmax((values[images] @ fitted.kernel + fitted.bias) / temperature, axis=1)
            for shift, values in features.items()
        },
    )


def _features(dataset: Dataset, weights: Path, cache: Path) -> dict[str, NDArray[np.float32]]:
    """Return the pooled features (N, d) of all images under each shift, from ``cache`` where they are stored."""
    paths = {shift: cache / f"{shift.replace(' ', '-')}-{dataset.identity}.npy" for shift in SHIFTS}
    missing = {shift: path for shift, path in paths.items() if not path.exists()}
    if missing:
        classifier = Classifier(Recipe.load("mobilenet_v2"))
        load_weights(classifier.network, weights / mirrored_name("mobilenet_v2"))
        extractor, frames = FeatureExtractor.fastest(classifier), dataset.frames(classifier.network.input_shape[1])
        for shift, path in missing.items():
            np.save(path, extractor.extract(SHIFTS[shift](frames)).pooled)
            click.echo(f"features of images {shift}")
    return {shift: np.load(path) for shift, path in paths.items()}


def _turned(frames: Frames, degrees: float) -> Frames:
    return np.stack([rotate(frame, degrees, reshape=False, order=1) for frame in frames])


def _windowed(frames: Frames, slope: float) -> Frames:
    """Return frames whose window has the same level (128) and the width 255 / ``slope``."""
    return ((frames.astype(np.float32) - 128) * slope + 128).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
