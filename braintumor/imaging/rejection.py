"""Why a file cannot be scored: a closed list of reason codes. Bad input is data, not an error."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RejectionReason(StrEnum):
    """Reason codes, as they stand in ``rejection.reason``. Add one here, in ``_TEXTS`` and in the operator's page."""

    EMPTY_FILE = "empty_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    BLANK_IMAGE = "blank_image"
    NOT_MR = "not_mr"
    NO_PIXELS = "no_pixels"
    MULTI_FRAME = "multi_frame"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    ACCESS_DENIED = "access_denied"
    PROCESSING_FAILED = "processing_failed"

    @property
    def explanation(self) -> str:
        """What is wrong, in a sentence."""
        return _TEXTS[self][0]

    @property
    def remedy(self) -> str:
        """What somebody can do about it."""
        return _TEXTS[self][1]


_TEXTS: dict[RejectionReason, tuple[str, str]] = {
    RejectionReason.EMPTY_FILE: ("The file holds no bytes.", "Send the file again."),
    RejectionReason.UNSUPPORTED_FORMAT: (
        "The content is no JPEG, PNG or DICOM image, whatever the name says.",
        "Export the image as DICOM, PNG or JPEG.",
    ),
    RejectionReason.TRUNCATED: ("The file ends before its image does.", "Send the whole file again."),
    RejectionReason.CORRUPT: ("The image data cannot be decoded.", "Export the image again from its source."),
    RejectionReason.TOO_MANY_BYTES: (
        "The file, as sent or once inflated, is larger than the limit.",
        "Send single slices, or raise the limit.",
    ),
    RejectionReason.TOO_MANY_PIXELS: ("The image has more pixels than the limit.", "Send it at its scanned size."),
    RejectionReason.TOO_SMALL: ("The image is too small to show anatomy.", "Send the image, not its thumbnail."),
    RejectionReason.BLANK_IMAGE: (
        "Every pixel has the same value, or its window shows one value only.",
        "Check the export: the slice is empty.",
    ),
    RejectionReason.NOT_MR: ("The DICOM object is not of Modality MR.", "Route only MR series to this prefix."),
    RejectionReason.NO_PIXELS: (
        "The DICOM object holds no pixel data of whole numbers.",
        "Route only image objects to this prefix.",
    ),
    RejectionReason.MULTI_FRAME: ("The file holds several frames.", "Send its slices as single frames."),
    RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX: (
        "The DICOM pixel data is compressed in a way that no installed decoder reads.",
        "Send it uncompressed, RLE, or as JPEG 2000.",
    ),
    RejectionReason.BURNED_IN_ANNOTATION: (
        "The DICOM object says that text is burned into its pixels, which may name the patient.",
        "Send the image without its overlay.",
    ),
    RejectionReason.ACCESS_DENIED: (
        "S3 lists the object but refuses to hand it out.",
        "Mend its policy, key or storage class; each night tries it again.",
    ),
    RejectionReason.PROCESSING_FAILED: (
        "Three workers died, each while it was alone with this file.",
        "Export the image again, or send the file to whoever maintains the decoders.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A file that cannot be scored. ``detail`` names numbers and formats, never a patient or a file."""

    reason: RejectionReason
    detail: str
