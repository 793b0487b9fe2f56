"""Test on 1,000 files of all formats that the fast code gives the results of the plain code that it replaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from braintumor.imaging import burned_in_text
from braintumor.imaging.components import find_components
from braintumor.imaging.decoding import contact_sheet
from braintumor.imaging.decoding import decode as decode_module
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.dicom import reader, windowing
from braintumor.imaging.decoding.gray_levels import displayed_range
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import decode_file
from braintumor.imaging.phantom.slice import draw
from braintumor.imaging.phantom.volume import as_nifti
from braintumor.labels import CLASSES
from tests.dicom_files import mr_of
from tests.images import saved

_PER_FORMAT = 200
_SIDE = 160
_DICOM_TAGS: list[dict[str, Any]] = [
    {},
    {"WindowCenter": None, "WindowWidth": None},
    {"WindowCenter": 900, "WindowWidth": 1200, "VOILUTFunction": "SIGMOID"},
    {"WindowCenter": 900, "WindowWidth": 1200, "RescaleSlope": "-1.7", "RescaleIntercept": "12.25"},
    {"WindowCenter": None, "WindowWidth": None, "PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0},
]


def test_1000_files_give_the_results_of_the_plain_code(monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(_files())
    fast = [_result(data) for data in files]
    monkeypatch.setattr(burned_in_text, "_glyphs", _plain_glyphs)
    monkeypatch.setattr(reader, "gray_to_uint8", _plain_gray_levels)
    monkeypatch.setattr(decode_module, "is_contact_sheet", _plain_is_contact_sheet)
    assert [_result(data) for data in files] == fast
    reasons = Counter(reason for reason, *_ in fast)
    assert len(files) == 5 * _PER_FORMAT
    assert min(reasons[kind] for kind in ("jpeg", "png", "tiff", "dicom", "nifti")) >= 100
    assert reasons[RejectionReason.SEVERAL_SLICES] > 40
    assert reasons[RejectionReason.OVERLAID_TEXT] > 40 and reasons[RejectionReason.TRUNCATED] > 20


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 1.0])
def test_components_equal_those_of_scipy(share: float) -> None:
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 60, (100, 2)):
        mask = rng.random((height, width)) < share
        boxes, areas = find_components(mask)
        expected = _plain_components(mask)
        assert boxes.tolist() == [box for box, _ in expected]
        assert areas.tolist() == [area for _, area in expected]


def _files() -> Iterator[bytes]:
    """Yield as many files of each format. One in ten shows text, one in ten four slices, and one in twenty is cut."""
    writers: list[Callable[[NDArray[np.uint8], int], bytes]] = [
        lambda pixels, number: saved(_image(pixels, number), "JPEG", quality=70 + number % 30),
        lambda pixels, number: saved(_deep(pixels) if number % 3 == 0 else _image(pixels, number), "PNG"),
        lambda pixels, number: saved(_deep(pixels) if number % 3 == 0 else _image(pixels, number), "TIFF"),
        lambda pixels, number: mr_of(
            (pixels.astype(np.int32) * 16 - 40 * (number % 2)).astype(np.int16), **_DICOM_TAGS[number % 5]
        ),
        lambda pixels, number: as_nifti(pixels[None], is_gzipped=number % 2 == 0),
    ]
    rng = np.random.default_rng(0)
    heads = [np.asarray(Image.fromarray(draw(label, seed=1).pixels).resize((_SIDE, _SIDE))) for label in CLASSES]
    for number in range(_PER_FORMAT):
        noisy = heads[number % len(heads)] + rng.normal(0, 1 + number % 12, (_SIDE, _SIDE))
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        if number % 10 == 2:
            image = Image.fromarray(np.tile(np.asarray(image.reduce(2)), (2, 2)))
        if number % 10 == 0:
            ImageDraw.Draw(image).text((4, 4), "DOE^JANE 4711", fill=200, font=ImageFont.load_default(10 + number % 9))
        for write in writers:
            data = write(np.asarray(image), number)
            yield data[: len(data) * 2 // 3] if number % 20 == 1 else data


def _image(pixels: NDArray[np.uint8], number: int) -> Image.Image:
    image = Image.fromarray(pixels)
    return image.convert("RGB") if number % 2 else image


def _deep(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint16) * 201)


def _result(data: bytes) -> tuple[Any, ...]:
    """Return what scoring stores of a file: the reason and detail of a rejection, or format, hashes and pixels."""
    result = decode_file(data, size=96, limits=Limits(), decode=decode)
    if isinstance(result, Rejection):
        return result.reason, result.detail
    return result.format, result.pixel_sha256, result.scan.content_sha256, result.scan.pixels.tobytes()


def _plain_glyphs(gray: NDArray[np.uint8]) -> NDArray[np.int64]:
    glyphs = []
    for (top, left, bottom, right), area in _plain_components(gray >= 110):
        high, wide = bottom - top, right - left
        if 5 <= high <= gray.shape[0] // 8 and wide <= 1.6 * high and area >= 0.15 * high * wide:
            glyphs.append((top, left, bottom, right))
    kept = [box for box in glyphs[:1000] if burned_in_text._is_on_dark(gray, *box)]
    return np.array(kept, np.int64).reshape(-1, 4)


def _plain_components(mask: NDArray[np.bool_]) -> list[tuple[list[int], int]]:
    labels, _ = ndimage.label(mask, np.ones((3, 3), np.bool_))
    return [
        ([rows.start, columns.start, rows.stop, columns.stop], np.count_nonzero(labels[rows, columns] == label))
        for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
    ]


def _plain_is_contact_sheet(pixels: NDArray[np.uint8]) -> bool:
    gray = contact_sheet._without_margins(pixels if pixels.ndim == 2 else pixels.max(axis=2))
    height, width = gray.shape
    small = np.asarray(Image.fromarray(gray).resize((128, 128), Image.Resampling.BOX), np.float64)
    across, down = contact_sheet._repetition(small), contact_sheet._repetition(small.T)
    is_strip = contact_sheet._is_strip(across, width / height) or contact_sheet._is_strip(down, height / width)
    return contact_sheet._is_grid(across, down) or is_strip


def _plain_gray_levels(
    stored: NDArray[Any], dataset: Any, *, is_inverted: bool, index: int = 0, fallback: Any = None
) -> NDArray[np.uint8]:
    """Convert every pixel by itself."""
    values, padding = windowing._rescaled(stored, dataset, index)
    fallback = fallback or displayed_range(values[~padding])
    shown = windowing._voi(values, dataset, index=index, fallback=fallback)
    shown = 1 - shown if is_inverted else shown
    shown[padding] = 0
    return np.rint(shown * 255).astype(np.uint8)
