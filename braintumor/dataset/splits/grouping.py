"""Group related images, so that no patient and no near-duplicate is in two splits.

Files with the same pixels are one *distinct image*. Two distinct images are *linked* if they are perceptually near or
share a DICOM patient or study. ``perceptual_hash`` defines "near", also for mirrored and turned images. Images that are
connected by links are a *group*. All images of a group are in one split. An image keeps the split that an earlier
snapshot assigned to it. Images that would then connect two splits are excluded, with a reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage
from braintumor.dataset.splits.near_links import ComparedImages, Link, near_links
from braintumor.dataset.splits.split import Split, SplitGroup
from braintumor.labels import TumorClass
from braintumor.progress import progress

_PRIORITY = (Split.TEST, Split.VALIDATION, Split.TRAIN)
"""Splits by priority. Of two linked images in different splits, the image in the split listed first is kept.

The reason: the test set must not shrink.
"""

MINIMUM_IDENTIFIED = 0.5
"""Smallest share of a class's images with a known patient at which only such images may enter the test split.

Below this share, a test split of only such images would not represent the class, or would be empty.
"""


@dataclass(frozen=True, kw_only=True)
class DistinctImage:
    """Files with the same pixels and label. The snapshot uses the first file.

    Reviewed frames come last, so the first file is a reviewed frame only if all files are reviewed frames.
    """

    files: tuple[LabeledImage, ...]

    @property
    def image(self) -> LabeledImage:
        """Return the file that a snapshot uses."""
        return self.files[0]

    @property
    def label(self) -> TumorClass:
        """Return the label, which is the same for all files."""
        return self.image.label

    @property
    def patient(self) -> frozenset[str]:
        """Return the identifiers of all files, in the form of ``LabeledImage.patient``."""
        return frozenset().union(*(file.patient for file in self.files))

    @property
    def has_patient(self) -> bool:
        """Return whether the patient of a file is known."""
        return any(file.has_patient for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The groups of images for a snapshot.

    Attributes:
        groups: the groups, each with its distinct images.
        known: the splits that earlier snapshots assigned, by group key. It does not contain new groups.
        excluded: the excluded files, with reasons.
    """

    groups: tuple[tuple[DistinctImage, ...], ...]
    known: Mapping[str, Split]
    excluded: tuple[ExcludedImage, ...]

    def to_split(self, identified: Collection[TumorClass] = ()) -> dict[str, SplitGroup]:
        """Return the class and the number of images of each group, by group key, for ``split.assign``.

        The class of a group is the most frequent label of its images. Reviewed frames are not counted as images, so
        they do not fill a split.

        Args:
            identified: classes whose groups may be put into test only if a patient of the group is known.
        """
        return {
            group_key(group): SplitGroup(
                label=(label := Counter(member.label for member in group).most_common(1)[0][0]),
                count=sum(1 for member in group if not member.image.reviewed),
                may_test=label not in identified or any(member.has_patient for member in group),
            )
            for group in self.groups
        }

    def identified_classes(self) -> frozenset[TumorClass]:
        """Return the classes in which the share of images with a known patient is ``MINIMUM_IDENTIFIED`` or more."""
        members = [member for group in self.groups for member in group if not member.image.reviewed]
        counts = Counter(member.label for member in members)
        known = Counter(member.label for member in members if member.has_patient)
        return frozenset(label for label, count in counts.items() if known[label] >= MINIMUM_IDENTIFIED * count)


def group_key(group: Sequence[DistinctImage]) -> str:
    """Return the key of a group within one snapshot: the lowest ``image_sha256`` of the group's images."""
    return min(member.image.image_sha256 for member in group)


def form_groups(
    images: Iterable[LabeledImage], remembered: Mapping[str, Split], compared: ComparedImages | None = None
) -> Grouping:
    """Group labeled images, without changing the split of any image that has one.

    Args:
        images: labeled images in any order.
        remembered: splits of earlier snapshots. Each file has two keys: the sha256 of its bytes and of its pixels.
        compared: the images whose near-duplicates are known. The function adds ``images``.
    """
    distinct, excluded = _merge_duplicates(images)
    links = _Links(images=distinct, splits=[remembered_splits(image.files, remembered) for image in distinct])
    with progress("Searching for near-duplicates"):
        near = near_links((image.image for image in distinct), compared)
    links.exclude_contradictions(near)
    links.exclude_duplicates_in_two_splits()
    links.clusters = [*near, *patient_clusters([image.patient for image in distinct])]
    links.exclude_links_between_splits()
    links.exclude_bridges()
    groups = links.groups()
    return Grouping(
        groups=tuple(tuple(distinct[i] for i in group) for group in groups),
        known={group_key([distinct[i] for i in group]): split for group in groups for split in links.splits_of(group)},
        excluded=tuple(excluded + links.excluded()),
    )


def _merge_duplicates(images: Iterable[LabeledImage]) -> tuple[list[DistinctImage], list[ExcludedImage]]:
    by_pixels: defaultdict[str, list[LabeledImage]] = defaultdict(list)
    for image in images:
        by_pixels[image.pixel_sha256].append(image)
    distinct: list[DistinctImage] = []
    excluded: list[ExcludedImage] = []
    for files in by_pixels.values():
        labels = sorted({file.label for file in files})
        if len(labels) == 1:
            distinct.append(DistinctImage(files=tuple(sorted(files, key=_file_order))))
        else:
            reason = f"identical images are labeled {' and '.join(labels)}"
            excluded += [file.exclude(reason) for file in files]
    return sorted(distinct, key=lambda image: image.image.image_sha256), excluded


def _file_order(file: LabeledImage) -> tuple[bool, str, str]:
    return bool(file.reviewed), file.image_sha256, file.name


def remembered_splits(files: Iterable[LabeledImage], remembered: Mapping[str, Split]) -> set[Split]:
    """Return the splits that earlier snapshots assigned to files.

    Args:
        files: the files.
        remembered: splits by the sha256 of a file's bytes, and by the sha256 of its pixels.
    """
    keys = {key for file in files for key in (file.pixel_sha256, file.image_sha256)}
    return {remembered[key] for key in keys if key in remembered}


def patient_clusters(identifiers: Sequence[Collection[str]]) -> list[list[int]]:
    """Return the positions in ``identifiers`` of the images with a common identifier, for each identifier.

    Pairs would not fit into memory: a placeholder such as ``ANONYMOUS`` can be the patient of all images.

    Args:
        identifiers: identifiers of patient and study for each image.
    """
    by_identifier: defaultdict[str, list[int]] = defaultdict(list)
    for position, names in enumerate(identifiers):
        for name in names:
            by_identifier[name].append(position)
    return list(by_identifier.values())


def chained(clusters: Iterable[Sequence[int]]) -> list[Link]:
    """Return links that connect the positions of each cluster: each position with the next one."""
    return [link for positions in clusters for link in pairwise(positions)]


def linked_groups(count: int, links: Sequence[Link]) -> list[int]:
    """Return a group number for each of ``count`` positions. Positions connected by links have the same number."""
    rows, columns = np.array(links, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links), np.int8), (rows, columns)), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    return [int(number) for number in numbers]


@dataclass(kw_only=True)
class _Links:
    """Distinct images, the links between them, and the excluded images.

    Attributes:
        images: the distinct images. A position is an index in this sequence.
        splits: the splits that earlier snapshots assigned to the files of each image.
        clusters: positions of images that are all linked to each other: a near pair, or the images of one patient.
        reasons: reason for each exclusion, by the position of the excluded image.
    """

    images: Sequence[DistinctImage]
    splits: list[set[Split]]
    clusters: list[Sequence[int]] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def exclude_contradictions(self, near: Sequence[Link]) -> None:
        """Exclude both images of each near pair with different labels, because at least one label is wrong."""
        for i, j in near:
            labels = sorted({self.images[i].label, self.images[j].label})
            if len(labels) > 1:
                for position in (i, j):
                    self.reasons.setdefault(position, f"near-identical images are labeled {' and '.join(labels)}")

    def exclude_duplicates_in_two_splits(self) -> None:
        """Exclude images whose files are in two splits.

        This happens if an earlier decoder version gave the files different pixels.
        """
        for position, splits in enumerate(self.splits):
            if len(splits) > 1:
                self.reasons.setdefault(position, f"identical images were in {' and '.join(sorted(splits))}")

    def exclude_links_between_splits(self) -> None:
        """Exclude images of each cluster with several earlier splits. The split of the highest priority is kept."""
        for cluster in self.clusters:
            members = [position for position in self._kept(cluster) if self.splits[position]]
            best = self.splits[min(members, key=self._rank)] if members else set()
            for lost in members:
                if self.splits[lost] != best:
                    self.reasons[lost] = f"was in {min(self.splits[lost])}, and is linked to an image in {min(best)}"

    def exclude_bridges(self) -> None:
        """Exclude new images that connect images of two splits. A new image has no earlier split."""
        while crossing := [group for group in self.groups() if len(self.splits_of(group)) > 1]:
            for group in crossing:
                splits = " and ".join(sorted(self.splits_of(group)))
                for position in self._bridges(group):
                    self.reasons[position] = f"linked to images in {splits}"

    def groups(self) -> list[list[int]]:
        """Return the positions of the images that are not excluded, by group."""
        kept = [position for position in range(len(self.images)) if position not in self.reasons]
        indexes = {position: index for index, position in enumerate(kept)}
        links = [(indexes[i], indexes[j]) for i, j in chained(map(self._kept, self.clusters))]
        by_number: defaultdict[int, list[int]] = defaultdict(list)
        for position, number in zip(kept, linked_groups(len(kept), links), strict=True):
            by_number[number].append(position)
        return list(by_number.values())

    def splits_of(self, group: Sequence[int]) -> set[Split]:
        """Return the earlier splits of a group's images."""
        return {split for position in group for split in self.splits[position]}

    def excluded(self) -> list[ExcludedImage]:
        """Return every excluded file."""
        return [
            file.exclude(reason) for position, reason in self.reasons.items() for file in self.images[position].files
        ]

    def _bridges(self, group: Sequence[int]) -> list[int]:
        """Return the positions of the new images in a group that connect two splits.

        These are the new images that are linked to images of two splits. If there is no such image, a chain of new
        images connects the splits. Then all new images of the group are returned.
        """
        members = set(group)
        neighbor_splits: defaultdict[int, set[Split]] = defaultdict(set)
        for cluster in map(self._kept, self.clusters):
            if not members.isdisjoint(cluster):
                splits = self.splits_of(cluster)
                for position in cluster:
                    neighbor_splits[position] |= splits
        new = [position for position in group if not self.splits[position]]
        return [position for position in new if len(neighbor_splits[position]) > 1] or new

    def _kept(self, cluster: Sequence[int]) -> list[int]:
        return [position for position in cluster if position not in self.reasons]

    def _rank(self, position: int) -> tuple[bool, int]:
        """Return the sort key of an image with an earlier split. Of two linked images, the higher key is excluded.

        Reviewed frames have the highest keys, then images in train, validation and test, in this order.
        """
        return bool(self.images[position].image.reviewed), min(
            _PRIORITY.index(split) for split in self.splits[position]
        )
