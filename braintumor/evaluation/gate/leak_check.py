"""Check that no test image was seen in training."""

from __future__ import annotations

from collections.abc import Collection

from braintumor.dataset.images.perceptual_hash import NEAR, nearest
from braintumor.dataset.snapshot import Snapshot
from braintumor.dataset.splits.split import Split
from braintumor.evaluation.gate.gate import RuleOutcome
from braintumor.evaluation.metrics.leakage import HASH_BITS, hashes_of


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
    near = int((nearest(hashes_of(hashed), hashes_of(among))[1] <= NEAR).sum()) if hashed and among else 0
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
        f"none of the {len(judged)} test images lies in the training split, nor within {NEAR} of {HASH_BITS} bits of it"
    )  # fmt: skip
    return RuleOutcome(name="unseen_images", passed=not problems, bound=0, value=sum(found.values()), reason=reason)
