"""The formats that are scored: the one list of them, for code and for people."""

from __future__ import annotations

from itertools import chain
from typing import Literal, get_args

Format = Literal["jpeg", "png", "tiff", "dicom", "nifti"]

_NAMES: dict[Format, str] = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "dicom": "DICOM", "nifti": "NIfTI"}

_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "jpeg": (".jpg", ".jpeg"),
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "dicom": (".dcm",),
    "nifti": (".nii", ".nii.gz"),
}


def is_named_as_image(name: str) -> bool:
    """Whether a file's name ends as those of a format do."""
    return name.lower().endswith(tuple(chain.from_iterable(_SUFFIXES.values())))


def all_formats(word: Literal["and", "or"]) -> str:
    """``JPEG, PNG, TIFF, DICOM and NIfTI``, or the same with ``or``."""
    *others, last = (_NAMES[each] for each in get_args(Format))
    return f"{', '.join(others)} {word} {last}"
