"""Decode the pixels of one TIFF page with Pillow if Pillow reads this kind of page exactly, else with tifffile.

Pillow reads every usual compression, but no floats of 16 or 64 bits, and only 8 of 16 bits in color. tifffile reads
every kind of number, but few compressions without ``imagecodecs``.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tifffile import COMPRESSION

from braintumor.imaging.decoding.raster import image_to_uint8, is_deep_color, sixteen_bit_samples, without_alpha
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNCOMPRESSED = 1
_DEFLATED = {8, 32946}
_COMMON = {_UNCOMPRESSED, 2, 3, 4, 5, 6, 7, *_DEFLATED, 32771, 32773}
"""Compressions that every build of Pillow decodes. A build may lack any other compression."""
_PREDICTORS = {1, 2}
"""Predictors of the pages that tifffile decodes: none, and differences of neighbors."""
_MOST_BYTES_PER_PIXEL = 8
"""Largest size of a pixel in pages that Pillow decodes: four samples of 16 bits."""
_LOW_BIT_FIRST = 2
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse order, for pages whose tag FillOrder says that the low bit comes first."""
_SMALL_KINDS = {np.dtype(np.bool_), np.dtype(np.uint8)}
_MISTAKEN_SIGN = {np.dtype(np.uint32), np.dtype(np.int8)}
"""Data types that Pillow reads with the wrong sign, as int32 and uint8."""
_NATIVE_ORDER = {"I;16BS": "I;16NS", "I;32B": "I;32N", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_UNASSOCIATED = 2
_ORIENTATION = 274
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""Operation that turns a page upright, by value of the tag Orientation."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of a page, (H, W), (H, W, 1) or (H, W, 3).

    uint8 samples are displayed unchanged. Samples of any other type are later scaled to 8 bits. ``is_inverted`` says
    that low values are white.
    """

    values: NDArray[Any]
    is_inverted: bool = False


class PageReader:
    """A reader of the pages of one file, and a context manager. Pillow opens the file once for all pages."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data, self._limits = data, limits
        try:
            self._image: Any = Image.open(io.BytesIO(data), formats=["TIFF"])
        except (UnidentifiedImageError, KeyError):  # the first page is of a kind or compression unknown to Pillow
            self._image = None

    def __enter__(self) -> PageReader:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._image is not None:
            self._image.close()

    def read(self, page: Any) -> Samples | Rejection:
        """Return the samples of a page that tifffile described, or a rejection."""
        stored = self._count_bytes(page)
        if isinstance(stored, Rejection):
            return stored
        is_usual = _is_usual(page)
        read = self._by_pillow(page) if is_usual else None
        if read is None and page.photometric in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB}:
            read = self._by_tifffile(page, stored)
        if read is None and not is_usual:
            read = self._by_pillow(page) if page.samplesperpixel == 1 else self._in_two_passes(page)
        return read or _unsupported(page)

    def _by_pillow(self, page: Any) -> Samples | Rejection | None:
        if self._image is None or not _is_found(self._image, page):
            return None
        self._image.tile = [tile._replace(args=_in_native_order(tile)) for tile in self._image.tile]
        try:
            self._image.load()  # also applies the orientation
        except OSError:
            if page.compression in _COMMON:
                raise
            return None
        if self._image.mode == "La":  # gray that is already multiplied by its alpha, so transparency is black
            return Samples(values=np.ascontiguousarray(np.asarray(self._image)[..., 0]))
        if not self._image.mode.startswith(("I", "F")) and page.dtype != np.int8:
            return Samples(values=image_to_uint8(self._image))
        values = np.asarray(self._image)
        if page.dtype in _MISTAKEN_SIGN:
            values = values.view(page.dtype)
        return Samples(values=values, is_inverted=page.photometric == _WHITE_IS_ZERO)

    def _by_tifffile(self, page: Any, stored: int) -> Samples | Rejection | None:
        """Return the samples of a page with ``stored`` bytes of pixels, or a rejection, or ``None`` for other kinds."""
        if page.dtype is None or page.bitspersample != page.dtype.itemsize * 8:
            return None
        if page.compression not in {_UNCOMPRESSED, *_DEFLATED} or page.predictor not in _PREDICTORS:
            return None
        if not page.databytecounts or not all(page.databytecounts):  # only Pillow reads pages without these sizes
            return None
        if max(stored, page.nbytes, prod(page.chunks) * page.dtype.itemsize) > self._limits.max_volume_bytes:
            return _too_large(self._limits.max_volume_bytes)
        if stored < page.nbytes:
            detail = f"{stored:,} bytes of pixels in a tiff page, {page.nbytes:,} expected"
            return Rejection(RejectionReason.TRUNCATED, detail)
        return split_samples(page, page.asarray(maxworkers=1))

    def _count_bytes(self, page: Any) -> int | Rejection:
        """Return the number of bytes in a page's strips or tiles, inflated if they are deflated, or a rejection.

        Pillow hides most errors of libtiff, so a deflated page is also inflated here. zlib's checksum shows damage.
        """
        if page.compression not in _DEFLATED:
            return int(sum(page.databytecounts))
        most, total = max(self._limits.max_volume_bytes, _MOST_BYTES_PER_PIXEL * page.imagewidth * page.imagelength), 0
        for at, size in zip(page.dataoffsets, page.databytecounts, strict=False):
            strip, inflater = self._data[at : at + size], zlib.decompressobj()
            if page.fillorder == _LOW_BIT_FIRST:
                strip = strip.translate(_REVERSED)
            try:
                total += len(inflater.decompress(strip, most - total + 1))
            except zlib.error:
                return Rejection(RejectionReason.CORRUPT, "the deflated data of a tiff page is damaged")
            if total > most:
                return _too_large(most)
            if size and not inflater.eof:
                return Rejection(RejectionReason.CORRUPT, "the deflated data of a tiff page has no end")
        return total

    def _in_two_passes(self, page: Any) -> Samples | None:
        """Return the samples of a color page of 16 bits per sample, or ``None`` if Pillow cannot read them.

        The page has a compression that only Pillow decodes.
        """

        def open_page() -> Any:
            image: Any = Image.open(io.BytesIO(self._data), formats=["TIFF"])
            image.seek(page.index)
            return image

        if self._image is None or not _is_found(self._image, page) or page.planarconfig != 1:
            return None
        with open_page() as image:
            is_plain = not any(str(tile.args[0]).startswith("RGBa") for tile in image.tile)
            if not is_plain or not is_deep_color(image):
                return None
        values = sixteen_bit_samples(open_page)
        return Samples(values=without_alpha(values) if values.shape[2] == 4 else values)  # noqa: PLR2004 - RGBA


def _is_found(image: Any, page: Any) -> bool:
    """Move Pillow to a page, and return whether Pillow knows the page's kind and compression."""
    try:
        image.seek(page.index)
    except (SyntaxError, KeyError):
        return False
    return True


def _is_usual(page: Any) -> bool:
    """Return whether the reader tries Pillow first. It does for 8 bits, gray of 16 bits, and color spaces like CMYK."""
    if page.dtype is None or page.dtype in _SMALL_KINDS:
        return True
    if page.photometric not in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB}:
        return True
    return bool(page.samplesperpixel == 1 and page.dtype == np.uint16)


def _in_native_order(tile: Any) -> Any:
    """Return a tile's arguments, with the raw mode in the machine's byte order if libtiff converts to that order."""
    mode = tile.args if isinstance(tile.args, str) else tile.args[0]
    if tile.codec_name != "libtiff" or mode not in _NATIVE_ORDER:
        return tile.args
    return (_NATIVE_ORDER[mode], *tile.args[1:])


def split_samples(page: Any, values: NDArray[Any]) -> Samples | Rejection:
    """Return a page's array as (H, W, samples), upright, with transparent pixels black.

    ``values`` is (H, W), (H, W, samples), or (samples, H, W) if the page stores planes.
    """
    if page.photometric not in {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB}:
        return _unsupported(page)
    if values.ndim == 2:  # noqa: PLR2004 - one sample a pixel
        values = values[..., np.newaxis]
    elif page.planarconfig != 1:
        values = np.moveaxis(values, 0, -1)
    colors = 3 if page.photometric == _RGB else 1
    extra = values.shape[2] - colors
    if extra not in {0, 1} or values.dtype.kind not in "biuf":
        return _unsupported(page)
    if extra:
        alpha = int(page.extrasamples[0]) if page.extrasamples else 0
        values = without_alpha(values) if alpha == _UNASSOCIATED else values[..., :-1]
    turn = _TURNS.get(page.tags.valueof(_ORIENTATION, 1))
    values = values if turn is None else turn(values)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    return Samples(values=np.ascontiguousarray(values), is_inverted=page.photometric == _WHITE_IS_ZERO)


def _too_large(most: int) -> Rejection:
    detail = f"a tiff page of more than {most:,} bytes after decompression"
    return Rejection(RejectionReason.TOO_MANY_BYTES, detail)


def _unsupported(page: Any) -> Rejection:
    try:
        compression = COMPRESSION(page.compression).name
    except ValueError:
        compression = "unknown"
    kind = "mixed or unknown" if page.dtype is None else page.dtype.name
    detail = (
        f"tiff with {page.samplesperpixel} samples per pixel of type {kind},"
        f" photometric interpretation {int(page.photometric)},"
        f" compression {int(page.compression)} ({compression}), predictor {int(page.predictor)}"
    )
    return Rejection(RejectionReason.UNSUPPORTED_FORMAT, detail)
