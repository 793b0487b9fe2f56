"""The formats that are scored: the one list of them, for code and for people."""

from __future__ import annotations

from typing import Literal, get_args

Format = Literal["jpeg", "png", "tiff", "dicom", "nifti"]

_NAMES: dict[Format, str] = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "dicom": "DICOM", "nifti": "NIfTI"}


def all_formats(word: Literal["and", "or"]) -> str:
    """``JPEG, PNG, TIFF, DICOM and NIfTI``, or the same with ``or``."""
    *others, last = (_NAMES[each] for each in get_args(Format))
    return f"{', '.join(others)} {word} {last}"
