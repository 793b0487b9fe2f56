"""Decode a file's bytes to frames, or return a rejection. Bad data never raises an error.

::

    result = decode(data)
    if isinstance(result, Rejection):
        print(result.reason, result.detail, result.reason.remedy)
    else:
        square = letterbox(result.frames[0].pixels, size=224)
"""

from __future__ import annotations

from dataclasses import replace

from braintumor.imaging.decoding.contact_sheet import is_contact_sheet
from braintumor.imaging.decoding.formats import all_formats, sniff
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason, decoder_failure
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.decoding.warning_filter import WARNING_FILTER


def decode(data: bytes, *, limits: Limits | None = None) -> Decoded | Rejection:
    """Return the frames of a JPEG, PNG, TIFF, MR DICOM or NIfTI file, or a rejection. Thread-safe.

    The first bytes decide the format, not the file's name. ``limits`` is ``Limits()`` by default.

    Raises:
        MemoryError: the machine is short of memory. The file is not the cause, because the limits bound its sizes.
    """
    limits = limits or Limits()
    if not data:
        return Rejection(RejectionReason.EMPTY_FILE, "0 bytes")
    if len(data) > limits.max_bytes:
        return Rejection(RejectionReason.TOO_MANY_BYTES, f"more than the limit of {limits.max_bytes:,} bytes")
    kind = sniff(data)
    try:
        with WARNING_FILTER:
            decoded = _decode_as(kind, data, limits)
    except MemoryError:
        raise
    except Exception as exc:
        return decoder_failure(kind, exc)
    if isinstance(decoded, Rejection):
        return decoded
    refused = _check_blank(decoded) or _check_sheets(decoded)
    return replace(refused, dicom=decoded.dicom) if refused else decoded


def _decode_as(kind: str | None, data: bytes, limits: Limits) -> Decoded | Rejection:
    if kind in {"jpeg", "png"}:
        from braintumor.imaging.decoding.raster import decode_jpeg, decode_png

        return (decode_jpeg if kind == "jpeg" else decode_png)(data, limits)
    if kind == "dicom":
        # imported here because pydicom takes half a second to import
        from braintumor.imaging.decoding.dicom.reader import decode_dicom

        return decode_dicom(data, limits)
    if kind == "tiff":
        from braintumor.imaging.decoding.tiff import decode_tiff

        return decode_tiff(data, limits)
    if kind in {"nifti", "gzip"}:
        from braintumor.imaging.decoding.nifti import decode_nifti

        decoded = decode_nifti(data, limits)
        if decoded is not None:
            return decoded
    content = "content of no known format" if kind is None else f"content is {kind}"
    return Rejection(RejectionReason.UNSUPPORTED_FORMAT, f"{content}; {all_formats('and')} are scored")


def _check_blank(decoded: Decoded) -> Rejection | None:
    if any((frame.pixels == frame.pixels[0, 0]).all() for frame in decoded.frames):
        return Rejection(RejectionReason.BLANK_IMAGE, "every pixel shows the same value")
    return None


def _check_sheets(decoded: Decoded) -> Rejection | None:
    """Return a rejection if most frames show several slices each. One frame of a volume may look so by chance."""
    sheets = sum(is_contact_sheet(frame.pixels) for frame in decoded.frames)
    if 2 * sheets <= len(decoded.frames):
        return None
    detail = f"{sheets} of {len(decoded.frames)} frames show a regular grid of similar tiles"
    return Rejection(RejectionReason.SEVERAL_SLICES, detail)
