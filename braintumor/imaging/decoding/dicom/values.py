"""Read attributes of a DICOM data set.

A malformed value counts as absent and raises no error, because the pixels may be good.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

_LARGEST = 1e12
"""Largest valid number. No scanner writes a larger one, and sums of such numbers overflow."""
_LONGEST = 4096
"""Longest attribute of numbers or codes in bytes. pydicom needs a hundred times this memory to convert it."""


def number_of(dataset: Any, keyword: str) -> float | None:
    """Return the first usable number of an attribute, or ``None``."""
    return next((number for number in numbers_of(dataset, keyword) if number is not None), None)


def integer_of(dataset: Any, keyword: str) -> int | None:
    """Return the first usable number of an attribute if it is a whole number, else ``None``."""
    number = number_of(dataset, keyword)
    return int(number) if number is not None and number == int(number) else None


def numbers_of(dataset: Any, keyword: str) -> list[float | None]:
    """Return all values of an attribute, with ``None`` for each unusable number."""
    return [_number(value) for value in _short_values(dataset, keyword)]


def code_of(dataset: Any, keyword: str) -> str:
    """Return the first code of an attribute, as ``codes_of`` gives it, or an empty text."""
    return next(iter(codes_of(dataset, keyword)), "")


def codes_of(dataset: Any, keyword: str) -> list[str]:
    """Return the values of an attribute in capitals, without stray blanks and without empty values."""
    codes = (" ".join(str(value).strip(" \0").upper().split()) for value in _short_values(dataset, keyword))
    return [code for code in codes if code]


def items_of(dataset: Any, keyword: str) -> list[Any]:
    """Return the data sets of a sequence, or an empty list if the attribute is not a sequence."""
    value = value_of(dataset, keyword)
    return [item for item in value if hasattr(item, "get")] if hasattr(value, "__iter__") else []


def value_of(dataset: Any, keyword: str) -> Any:
    """Return the value of an attribute as pydicom converts it, else its stored text, else ``None``."""
    try:
        return dataset.get(keyword)
    except MemoryError:
        raise
    except Exception:  # pydicom converts a value at the first access, and a malformed one raises any error
        stored = dataset.get_item(keyword).value
        return stored.decode("latin-1") if isinstance(stored, bytes) else None


def _short_values(dataset: Any, keyword: str) -> list[Any]:
    element = dataset.get_item(keyword)
    if element is None or getattr(element, "length", 0) > _LONGEST:  # only an unconverted element has a length
        return []
    value = value_of(dataset, keyword)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        return value.split("\\")
    return list(value) if hasattr(value, "__iter__") else [] if value is None else [value]


def _number(value: Any) -> float | None:
    try:
        number = float(value.strip(" \0").replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= _LARGEST else None  # the comparison is false for NaN


def functional_group(dataset: Any, name: str, index: int = 0) -> Any:
    """Return the first item of the functional group ``name``, a keyword, for frame ``index`` (PS3.3 C.7.6.16).

    The group of the frame counts before the group that all frames share. If neither has an item, return ``dataset``.
    """
    groups = value_of(dataset, "PerFrameFunctionalGroupsSequence")
    # one item only, because a list of all items for each frame takes quadratic time
    of_frame = groups[index : index + 1] if isinstance(groups, MutableSequence) else []
    for group in (*of_frame, *items_of(dataset, "SharedFunctionalGroupsSequence")):
        items = items_of(group, name) if hasattr(group, "get") else []
        if items:
            return items[0]
    return dataset
