"""Which images belong together, so that no picture and no head is on two sides of a split.

Files with the same pixels are one *picture*. Pictures that are perceptually near (mirrored and turned copies included,
see ``fingerprint``) or of one DICOM patient or study are linked; what is linked, directly or through others, is a
*group*, and a group has one split. Pictures whose split was decided before keep it; whatever would then join two splits
is left out and named.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage
from braintumor.dataset.images.perceptual_hash import from_bytes, near_pairs
from braintumor.dataset.splits.split import Split, SplitGroup
from braintumor.labels import TumorClass

_KEPT_FIRST = (Split.TEST, Split.VALIDATION, Split.TRAIN)
"""Of two near pictures in different splits, the one further left stays: a test set that shrinks proves less."""

Link = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class DistinctImage:
    """Files with the same pixels and label; the first stands for all, and is no reviewed frame if it can be."""

    files: tuple[LabeledImage, ...]

    @property
    def image(self) -> LabeledImage:
        """The file that enters a snapshot."""
        return self.files[0]

    @property
    def label(self) -> TumorClass:
        """What every one of its files says."""
        return self.image.label


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The pictures that may enter a snapshot, in their groups, and the files that may not."""

    groups: tuple[tuple[DistinctImage, ...], ...]
    known: Mapping[str, Split]
    excluded: tuple[ExcludedImage, ...]

    def to_split(self) -> dict[str, SplitGroup]:
        """What ``split.assign`` needs to know, by group key. Reviewed frames make no split larger."""
        return {
            group_key(group): SplitGroup(
                label=Counter(picture.label for picture in group).most_common(1)[0][0],
                count=sum(1 for picture in group if not picture.image.reviewed),
            )
            for group in self.groups
        }


def group_key(group: Sequence[DistinctImage]) -> str:
    """Names a group of one snapshot: the least of its pictures' sha256s."""
    return min(picture.image.image_sha256 for picture in group)


def form_groups(images: Iterable[LabeledImage], remembered: Mapping[str, Split]) -> Grouping:
    """Fold copies, link what is near, and keep every remembered split.

    Args:
        images: as read, in any order.
        remembered: splits decided before, by sha256 of a file's bytes and by that of its pixels.
    """
    pictures, excluded = _fold(images)
    work = _Work(pictures=pictures, splits=[remembered_splits(picture.files, remembered) for picture in pictures])
    near = links_of_nearness(picture.image for picture in pictures)
    work.leave_out_contradictions(near)
    work.leave_out_crossing_copies()
    work.links = near + links_of_patients(
        [{one for file in picture.files for one in file.patient} for picture in pictures]
    )
    work.leave_out_crossing_links()
    work.leave_out_bridges()
    groups = work.groups()
    return Grouping(
        groups=tuple(tuple(pictures[i] for i in group) for group in groups),
        known={group_key([pictures[i] for i in group]): split for group in groups for split in work.splits_of(group)},
        excluded=tuple(excluded + work.excluded()),
    )


def _fold(images: Iterable[LabeledImage]) -> tuple[list[DistinctImage], list[ExcludedImage]]:
    by_pixels: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for image in images:
        by_pixels[image.pixel_sha256].append(image)
    pictures: list[DistinctImage] = []
    excluded: list[ExcludedImage] = []
    for files in by_pixels.values():
        labels = sorted({file.label for file in files})
        if len(labels) == 1:
            pictures.append(DistinctImage(files=tuple(sorted(files, key=_first))))
        else:
            reason = f"identical images are labeled {' and '.join(labels)}"
            excluded += [file.exclude(reason) for file in files]
    return sorted(pictures, key=lambda picture: picture.image.image_sha256), excluded


def _first(file: LabeledImage) -> tuple[bool, str, str]:
    return bool(file.reviewed), file.image_sha256, file.name


def remembered_splits(files: Iterable[LabeledImage], remembered: Mapping[str, Split]) -> set[Split]:
    """The splits that files, or pictures with the same pixels, had before."""
    keys = {key for file in files for key in (file.pixel_sha256, file.image_sha256)}
    return {remembered[key] for key in keys if key in remembered}


def links_of_nearness(images: Iterable[LabeledImage]) -> list[Link]:
    """Every pair of positions whose images are perceptually near."""
    return [(i, j) for i, j, _ in near_pairs(from_bytes(image.perceptual_hash for image in images))]


def links_of_patients(identifiers: Sequence[Collection[str]]) -> list[Link]:
    """Every pair of positions that share an identifier."""
    held: defaultdict[str, list[int]] = defaultdict(list)
    for position, carried in enumerate(identifiers):
        for identifier in carried:
            held[identifier].append(position)
    return [link for positions in held.values() for link in combinations(positions, 2)]  # not a chain: links can go


def linked_groups(count: int, links: Sequence[Link]) -> list[int]:
    """For each of ``count`` positions the number of its group: what is linked, directly or through others."""
    rows, columns = np.array(links, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links), np.int8), (rows, columns)), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    return [int(number) for number in numbers]


@dataclass(kw_only=True)
class _Work:
    """Pictures by position, the splits that each had before, and why some of them have to stay out."""

    pictures: Sequence[DistinctImage]
    splits: list[set[Split]]
    links: list[Link] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def leave_out_contradictions(self, near: Sequence[Link]) -> None:
        """Of two near pictures with different labels at least one is wrong, and nobody knows which."""
        for i, j in near:
            labels = sorted({self.pictures[i].label, self.pictures[j].label})
            if len(labels) > 1:
                for position in (i, j):
                    self.reasons.setdefault(position, f"near-identical images are labeled {' and '.join(labels)}")

    def leave_out_crossing_copies(self) -> None:
        """A picture whose files were in two splits: such a memory came from a decoder that told them apart."""
        for position, splits in enumerate(self.splits):
            if len(splits) > 1:
                self.reasons.setdefault(position, f"identical images were in {' and '.join(sorted(splits))}")

    def leave_out_crossing_links(self) -> None:
        """Of two remembered pictures that turn out to be near, the one whose loss costs less."""
        for link in self._alive_links():
            first, second = (self.splits[end] for end in link)
            if first and second and first != second and self.reasons.keys().isdisjoint(link):
                kept, lost = sorted(link, key=self._rank)
                self.reasons[lost] = (
                    f"was in {min(self.splits[lost])}, and is near an image in {min(self.splits[kept])}"
                )

    def leave_out_bridges(self) -> None:
        """New pictures through which two splits would become one group."""
        while crossing := [group for group in self.groups() if len(self.splits_of(group)) > 1]:
            for group in crossing:
                splits = " and ".join(sorted(self.splits_of(group)))
                for position in self._bridges(group):
                    self.reasons[position] = f"near images in {splits}"

    def groups(self) -> list[list[int]]:
        """Positions of the pictures that may enter, by group."""
        alive = [position for position in range(len(self.pictures)) if position not in self.reasons]
        place = {position: index for index, position in enumerate(alive)}
        ends = [(place[i], place[j]) for i, j in self._alive_links()]
        held: defaultdict[int, list[int]] = defaultdict(list)
        for position, number in zip(alive, linked_groups(len(alive), ends), strict=True):
            held[number].append(position)
        return list(held.values())

    def splits_of(self, group: Sequence[int]) -> set[Split]:
        """The splits that a group's pictures had before."""
        return {split for position in group for split in self.splits[position]}

    def excluded(self) -> list[ExcludedImage]:
        """Every file that has to stay out."""
        return [
            file.exclude(reason) for position, reason in self.reasons.items() for file in self.pictures[position].files
        ]

    def _bridges(self, group: Sequence[int]) -> list[int]:
        """The new pictures next to two splits; where a chain of new ones joins them, all new ones of the group."""
        inside = set(group)
        beside: defaultdict[int, set[Split]] = defaultdict(set)
        for i, j in self._alive_links():
            if i in inside:
                beside[i] |= self.splits[j]
                beside[j] |= self.splits[i]
        fresh = [position for position in group if not self.splits[position]]
        return [position for position in fresh if len(beside[position]) > 1] or fresh

    def _alive_links(self) -> list[Link]:
        return [(i, j) for i, j in self.links if i not in self.reasons and j not in self.reasons]

    def _rank(self, position: int) -> tuple[bool, int]:
        """Least for what is kept first: no reviewed frame, and of the split that is."""
        return bool(self.pictures[position].image.reviewed), min(
            _KEPT_FIRST.index(split) for split in self.splits[position]
        )
