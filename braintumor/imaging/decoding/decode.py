"""Decode a file's bytes into frames, or say why not. Never raises for bad data, whatever the bytes.

::

    result = decode(data)
    if isinstance(result, Rejection):
        print(result.reason, result.detail, result.reason.remedy)
    else:
        square = prepare(result.frames[0].pixels, size=224)
"""

from __future__ import annotations

from braintumor.imaging.decoding.contact_sheet import is_contact_sheet
from braintumor.imaging.decoding.formats import all_formats, sniff
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.decoding.warning_filter import WARNING_FILTER


def decode(data: bytes, *, limits: Limits | None = None) -> Decoded | Rejection:
    """Bytes of a JPEG, PNG, TIFF, MR DICOM or NIfTI -> frames, by content. Safe to call from threads.

    Raises:
        MemoryError: the machine is short of memory. Sizes were checked before, so that is no fault of the file.
    """
    limits = limits or Limits()
    if not data:
        return Rejection(reason=RejectionReason.EMPTY_FILE, detail="0 bytes")
    if len(data) > limits.max_bytes:
        return Rejection(
            reason=RejectionReason.TOO_MANY_BYTES, detail=f"more than the limit of {limits.max_bytes:,} bytes"
        )
    found = sniff(data)
    try:
        with WARNING_FILTER:
            decoded = _decode_as(found, data, limits)
    except MemoryError:
        raise
    except Exception as exc:  # decoders raise anything on bad bytes; the class alone cannot name a patient
        return Rejection(reason=RejectionReason.CORRUPT, detail=f"{found} decoder failed with {_class_name(exc)}")
    return decoded if isinstance(decoded, Rejection) else _check_blank(decoded) or _check_sheets(decoded) or decoded


def _decode_as(found: str | None, data: bytes, limits: Limits) -> Decoded | Rejection:
    if found in {"jpeg", "png"}:
        from braintumor.imaging.decoding.raster import decode_raster

        return decode_raster(data, "jpeg" if found == "jpeg" else "png", limits)
    if found == "dicom":
        from braintumor.imaging.decoding.dicom.reader import (
            decode_dicom,  # imports pydicom: half a second, so only where it is needed
        )

        return decode_dicom(data, limits)
    if found == "tiff":
        from braintumor.imaging.decoding.tiff import decode_tiff

        return decode_tiff(data, limits)
    if found in {"nifti", "gzip"}:
        from braintumor.imaging.decoding.nifti import decode_nifti

        decoded = decode_nifti(data, limits)
        if decoded is not None:
            return decoded
    what = "content of no known format" if found is None else f"content is {found}"
    return Rejection(reason=RejectionReason.UNSUPPORTED_FORMAT, detail=f"{what}; {all_formats('and')} are scored")


def _class_name(exc: Exception) -> str:
    kind = type(exc)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _check_blank(decoded: Decoded) -> Rejection | None:
    if any((frame.pixels == frame.pixels[0, 0]).all() for frame in decoded.frames):
        return Rejection(reason=RejectionReason.BLANK_IMAGE, detail="every pixel shows the same value")
    return None


def _check_sheets(decoded: Decoded) -> Rejection | None:
    """Reject a file of which most frames show several slices: one frame of a volume may repeat itself by chance."""
    sheets = sum(is_contact_sheet(frame.pixels) for frame in decoded.frames)
    if 2 * sheets <= len(decoded.frames):
        return None
    detail = f"{sheets} of {len(decoded.frames)} frames show a regular grid of similar tiles"
    return Rejection(reason=RejectionReason.SEVERAL_SLICES, detail=detail)
