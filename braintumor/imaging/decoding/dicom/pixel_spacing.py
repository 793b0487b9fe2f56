"""Read the sides of a pixel from a DICOM header."""

from __future__ import annotations

from typing import Any

from braintumor.imaging.decoding.dicom.values import functional_group
from braintumor.imaging.decoding.pixel_aspect import SQUARE, Spacing, usable_spacing

_KEYWORDS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""Height and width, the best first: PixelAspectRatio counts where no spacing is stated (PS3.3 C.7.6.3.1.7)."""


_LONGEST_VALUE = 64
"""Bytes: two decimal strings have 33 at most."""


def dicom_spacing(dataset: Any, index: int) -> Spacing:
    """Give the sides of the pixels of frame ``index``; ``SQUARE`` where the header states no usable ones."""
    measures = functional_group(dataset, "PixelMeasuresSequence", index)
    stated = [_stated(measures, "PixelSpacing"), *(_stated(dataset, keyword) for keyword in _KEYWORDS)]
    return next((spacing for spacing in stated if spacing is not None), SQUARE)


def _stated(dataset: Any, keyword: str) -> Spacing | None:
    """Give the two numbers of an attribute.

    They are read as text, because pydicom rejects a decimal comma, and a decimal point in ``PixelAspectRatio``.
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
