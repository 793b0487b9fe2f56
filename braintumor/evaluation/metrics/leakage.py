"""The leak receipt: how near each test image is to what the model was trained on, and whether answers hang on it.

Near-duplicates are kept out of the test split by construction (``dataset.grouping``); this shows what is left. Where a
model is right mostly on test images that resemble a training image, its accuracy speaks of memory. Beside it stands
what the same frozen stage would have claimed on a naive split (``modelling.naive``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.images.perceptual_hash import NEAR, from_bytes, nearest
from braintumor.dataset.snapshot import Snapshot, SnapshotImage
from braintumor.dataset.splits.split import Split
from braintumor.evaluation.gate.gate import RuleOutcome
from braintumor.evaluation.report.formatting import figure, share
from braintumor.evaluation.report.tables import ReportTable

_BITS = 256
_BANDS = (NEAR + 1, 48, 64, 80, 96, _BITS + 1)
"""Of the Hamming distance; two images that have nothing in common are about 100 apart."""
_NOTE = (
    "How near each test image is to the training image that it resembles most, in any flip or turn. Images within "
    f"{NEAR} bits are kept in one split, so the first row is empty unless images changed sides since. A model that is "
    "right mostly where a training image is near remembers rather than recognises. The last rows show what the same "
    "frozen features and head claim when files are split at random, as public results often are: what is gained there "
    "is the leak. Both were measured without the test split."
)


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """The training image that a test image resembles most; ``distance`` is of 256 bits, in any flip or turn."""

    image_sha256: str
    neighbour_sha256: str
    distance: int


@dataclass(frozen=True, kw_only=True)
class DistanceBand:
    """Test images whose nearest training image is ``lowest`` to ``highest`` bits away, and how many were right."""

    lowest: int
    highest: int
    count: int
    count_correct: int


def nearest_in_training(snapshot: Snapshot) -> list[Neighbour]:
    """For each test image the training image it resembles most; empty for a snapshot without perceptual hashes."""
    training, test = (snapshot.of_split(split) for split in (Split.TRAIN, Split.TEST))
    if not all(image.perceptual_hash for image in (*training, *test)):
        return []
    where, distances = nearest(_hashes(test), _hashes(training))
    return [
        Neighbour(image_sha256=image.image_sha256, neighbour_sha256=training[at].image_sha256, distance=int(distance))
        for image, at, distance in zip(test, where, distances, strict=True)
    ]


def unseen_images(snapshot: Snapshot, judged: Collection[str]) -> RuleOutcome:
    """Whether a model was judged on all test images of its snapshot, and on nothing that is near its training images.

    Splits are kept apart when a snapshot is taken; this asks the rows themselves once more.

    Args:
        snapshot: that the model was trained on.
        judged: sha256s of the images that it was judged on.
    """
    training, known = snapshot.of_split(Split.TRAIN), {image.image_sha256: image for image in snapshot.images}
    images = [known[sha256] for sha256 in judged if sha256 in known]
    seen = {image.image_sha256 for image in training} | {image.pixel_sha256 for image in training}
    inside = {image.image_sha256 for image in images if {image.image_sha256, image.pixel_sha256} & seen}
    hashed = [image for image in images if image.perceptual_hash and image.image_sha256 not in inside]
    among = [image for image in training if image.perceptual_hash]
    near = int((nearest(_hashes(hashed), _hashes(among))[1] <= NEAR).sum()) if hashed and among else 0
    found = {
        "lie in its training split": len(inside),
        f"are within {NEAR} bits of an image of its training split": near,
        "are not in its snapshot": len(judged) - len(images),
        "of its test split were not judged": len({i.image_sha256 for i in snapshot.of_split(Split.TEST)} - set(judged)),
        "carry no perceptual hash, so nobody knows what they are near": len(images) - len(inside) - len(hashed)
        + len(training) - len(among),
    }  # fmt: skip
    problems = ", ".join(f"{count} {words}" for words, count in found.items() if count)
    reason = f"test images that {problems}: take a new snapshot and train on it" if problems else (
        f"none of the {len(judged)} test images lies in the training split, nor within {NEAR} of {_BITS} bits of it"
    )  # fmt: skip
    return RuleOutcome(name="unseen_images", passed=not problems, bound=0, value=sum(found.values()), reason=reason)


def accuracy_by_distance(answers: Sequence[tuple[int, bool]]) -> list[DistanceBand]:
    """Bands of the distance, of answers as (distance, whether it was right)."""
    bands = []
    for lowest, after in pairwise((0, *_BANDS)):
        inside = [is_correct for distance, is_correct in answers if lowest <= distance < after]
        bands.append(DistanceBand(lowest=lowest, highest=after - 1, count=len(inside), count_correct=sum(inside)))
    return bands


def leak_table(
    bands: Sequence[DistanceBand], *, grouped_accuracy: float | None, naive_accuracy: float | None
) -> ReportTable | None:
    """The receipt as a report shows it; ``None`` where nothing of it is known.

    Args:
        bands: of ``accuracy_by_distance``.
        grouped_accuracy: of the frozen stage on the validation split.
        naive_accuracy: of the same on a random split of the files of train and validation.
    """
    rows = [
        (
            f"{band.lowest} to {band.highest} of {_BITS} bits",
            str(band.count),
            share(band.count_correct, band.count) if band.count else "no images",
        )
        for band in bands
    ]
    if grouped_accuracy is not None and naive_accuracy is not None:
        rows += [
            ("frozen stage, validation split as it is", "", figure(grouped_accuracy)),
            ("frozen stage, files split at random", "", figure(naive_accuracy)),
        ]
    if not rows:
        return None
    return ReportTable(title="Leak receipt", note=_NOTE, columns=("Nearest training image", "Images", "Accuracy"),
                       rows=tuple(rows))  # fmt: skip


def _hashes(images: Sequence[SnapshotImage]) -> NDArray[np.uint64]:
    return from_bytes(image.perceptual_hash for image in images)
