"""Find pairs of perceptually near images, and compare two images only once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations, product

from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.perceptual_hash import from_bytes, near_pairs

Link = tuple[int, int]


class ComparedImages:
    """The near pairs of all images that were compared so far.

    A snapshot forms groups up to three times, each time of almost the same images. The search takes time proportional
    to the square of the number of images.
    """

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._pairs: list[Link] = []

    def links(self, images: Iterable[LabeledImage]) -> list[Link]:
        """Return the positions in ``images`` of every pair of perceptually near images, sorted."""
        hashes = [image.perceptual_hash for image in images]
        self._compare(hashes)
        positions: defaultdict[int, list[int]] = defaultdict(list)
        for position, value in enumerate(hashes):
            positions[self._numbers[value]].append(position)
        links = [pair for same in positions.values() for pair in combinations(same, 2)]
        for one, other in self._pairs:
            if one in positions and other in positions:
                links += [(min(pair), max(pair)) for pair in product(positions[one], positions[other])]
        return sorted(links)

    def _compare(self, hashes: Iterable[bytes]) -> None:
        """Number the hashes that are new, and compare each of them with all others."""
        count_known = len(self._numbers)
        for value in hashes:
            self._numbers.setdefault(value, len(self._numbers))
        if len(self._numbers) > count_known:
            self._pairs += [(i, j) for i, j, _ in near_pairs(from_bytes(self._numbers), count_known)]


def near_links(images: Iterable[LabeledImage], compared: ComparedImages | None = None) -> list[Link]:
    """Return the positions in ``images`` of every pair of perceptually near images, sorted.

    Args:
        images: the images.
        compared: the images that are compared already. The function adds ``images``.
    """
    return (compared or ComparedImages()).links(images)
