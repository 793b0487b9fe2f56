"""Read the width and height of a pixel from a DICOM header."""

from __future__ import annotations

from typing import Any

from braintumor.imaging.decoding.dicom.values import functional_group
from braintumor.imaging.decoding.pixel_aspect import SQUARE, Spacing, usable_spacing

_KEYWORDS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""Attributes with height and width of a pixel, the best first. PixelAspectRatio counts last (PS3.3 C.7.6.3.1.7)."""
_LONGEST_VALUE = 64
"""Number of bytes of an attribute that are read. Two decimal strings have at most 33 bytes."""


def dicom_spacing(dataset: Any, index: int) -> Spacing:
    """Return width and height of a pixel of frame ``index`` in one unit, or ``SQUARE`` if the header states none."""
    measures = functional_group(dataset, "PixelMeasuresSequence", index)
    stated = [_stated(measures, "PixelSpacing"), *(_stated(dataset, keyword) for keyword in _KEYWORDS)]
    return next((spacing for spacing in stated if spacing is not None), SQUARE)


def _stated(dataset: Any, keyword: str) -> Spacing | None:
    """Return width and height of a pixel from an attribute, or ``None`` if they are unusable.

    The function parses the text itself, because pydicom rejects decimal commas.
    """
    element = dataset.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value[:_LONGEST_VALUE].decode("ascii", "replace").replace(",", ".").strip(" \0").split("\\")
    try:
        height, width = map(float, value or ())
    except (TypeError, ValueError):
        return None
    return usable_spacing(width, height)
