"""Check that no test image was used in training."""

from __future__ import annotations

from collections.abc import Collection

from braintumor.dataset.images.perceptual_hash import NEAR, nearest
from braintumor.dataset.snapshot import Snapshot
from braintumor.dataset.splits.split import Split
from braintumor.evaluation.gate.gate import RuleOutcome
from braintumor.evaluation.metrics.leakage import HASH_BITS, hashes_of


def unseen_images(snapshot: Snapshot, evaluated: Collection[str]) -> RuleOutcome:
    """Check that a model was evaluated on all test images of its snapshot, and on no copy of a training image.

    A copy is an identical image, or a near-duplicate by perceptual hash. The package ``dataset.splits`` already keeps
    such images in one split. This function checks the stored rows again.

    Args:
        snapshot: the snapshot that the model was trained on.
        evaluated: sha256s of the images that the model was evaluated on.

    Returns:
        The outcome of the rule ``unseen_images``.
    """
    training, test = (snapshot.of_split(split) for split in (Split.TRAIN, Split.TEST))
    known = {image.image_sha256: image for image in snapshot.images}
    images = [known[sha256] for sha256 in evaluated if sha256 in known]
    seen = {image.image_sha256 for image in training} | {image.pixel_sha256 for image in training}
    inside = {image.image_sha256 for image in images if {image.image_sha256, image.pixel_sha256} & seen}
    hashed = [image for image in images if image.perceptual_hash and image.image_sha256 not in inside]
    among = [image for image in training if image.perceptual_hash]
    near = int((nearest(hashes_of(hashed), hashes_of(among))[1] <= NEAR).sum()) if hashed and among else 0
    counts = {
        "are in its training split": len(inside),
        f"are within {NEAR} bits of an image of its training split": near,
        "are not in its snapshot": len(evaluated) - len(images),
        "of its test split were not evaluated": len({image.image_sha256 for image in test} - set(evaluated)),
        "have no perceptual hash (test or training images), so near-duplicates cannot be found":
        len(images) - len(inside) - len(hashed) + len(training) - len(among),
    }  # fmt: skip
    problems = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    reason = (
        f"none of {len(evaluated)} test images is in the training split, or within {NEAR} of {HASH_BITS} bits of it"
    )
    if problems:
        reason = f"of the test images, {problems}: take a new snapshot and train on it"
    return RuleOutcome(name="unseen_images", passed=not problems, bound=0, value=sum(counts.values()), reason=reason)
