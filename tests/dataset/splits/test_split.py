from __future__ import annotations

from collections import Counter

import pytest

from braintumor.dataset.splits.split import Split, SplitGroup, assign
from braintumor.labels import TumorClass


def groups(count: int, label: TumorClass = TumorClass.GLIOMA) -> dict[str, SplitGroup]:
    return {f"{label}-{number}": SplitGroup(label=label) for number in range(count)}


def test_each_class_is_split_70_15_15() -> None:
    everything = groups(100) | groups(40, TumorClass.NORMAL)
    splits = assign(everything, known={})
    for label, expected in ((TumorClass.GLIOMA, (70, 15, 15)), (TumorClass.NORMAL, (28, 6, 6))):
        counts = Counter(splits[key] for key, of in everything.items() if of.label is label)
        assert tuple(counts[split] for split in Split) == expected


def test_order_of_images_does_not_change_groups() -> None:
    everything = groups(50)
    assert assign(everything, known={}) == assign(dict(reversed(everything.items())), known={})


def test_growing_data_moves_no_image() -> None:
    first = assign(groups(60), known={})
    grown = assign(groups(100), known=first)
    assert all(grown[key] is split for key, split in first.items())
    assert tuple(Counter(grown.values())[split] for split in Split) == (70, 15, 15)


def test_shrinking_data_moves_no_image() -> None:
    first = assign(groups(100), known={})
    fewer = assign(groups(30), known=first)
    assert all(first[key] is split for key, split in fewer.items())


def test_shares_count_images_and_no_group_exceeds_one() -> None:
    sizes = [1, 2, 3, 10, 1, 4, 7, 2] * 10
    everything = {str(n): SplitGroup(label=TumorClass.GLIOMA, count=size) for n, size in enumerate(sizes)}
    splits = assign(everything, known={})
    images = Counter[Split]()
    for key, split in splits.items():
        images[split] += everything[key].count
    assert tuple(images[split] for split in Split) == (210, 45, 45)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100] * 4, (200, 100, 100)),
        ([100, 70, 60, 50], (170, 60, 50)),
        ([16, 100, 1], (100, None, None)),
        ([100] * 3, (100, 100, 100)),
        ([100] * 2, (100, 100, 0)),
    ],
)
def test_few_large_groups_fill_every_split(sizes: list[int], expected: tuple[int | None, ...]) -> None:
    everything = {str(n): SplitGroup(label=TumorClass.GLIOMA, count=size) for n, size in enumerate(sizes)}
    splits = assign(everything, known={})
    images = Counter[Split]()
    for key, split in splits.items():
        images[split] += everything[key].count
    assert all(images[split] == count for split, count in zip(Split, expected, strict=True) if count is not None)
    assert len(sizes) < 3 or all(images[split] for split in Split)
    grown = assign({**everything, "new": SplitGroup(label=TumorClass.GLIOMA, count=90)}, known=splits)
    assert grown.items() >= splits.items()


def test_largest_group_is_not_the_only_test_group() -> None:
    sizes = {"large": 18, "a": 1, "b": 1}
    everything = {
        key: SplitGroup(label=TumorClass.GLIOMA, count=size, may_test=size > 1) for key, size in sizes.items()
    }
    assert Split.TEST not in assign(everything, known={}).values()


def test_groups_that_may_not_test_fill_the_other_splits() -> None:
    barred = {str(n): SplitGroup(label=TumorClass.GLIOMA, may_test=False) for n in range(60)}
    splits = assign(barred | groups(40), known={})
    assert tuple(Counter(splits.values())[split] for split in Split) == (70, 15, 15)
    assert not [key for key in barred if splits[key] is Split.TEST]
    kept = assign(barred, known={"0": Split.TEST})
    assert [key for key in barred if kept[key] is Split.TEST] == ["0"]
