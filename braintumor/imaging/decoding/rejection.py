"""Why a file cannot be scored: a closed list of reason codes. Bad input is data, not an error."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from braintumor.imaging.decoding.formats import all_formats


class RejectionReason(StrEnum):
    """Reason codes, as they stand in ``rejection.reason``. Add one here, in ``_TEXTS`` and in the operator's page."""

    EMPTY_FILE = "empty_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_SMALL = "too_small"
    BLANK_IMAGE = "blank_image"
    NOT_MR = "not_mr"
    NO_PIXELS = "no_pixels"
    MULTI_FRAME = "multi_frame"
    SEVERAL_SLICES = "several_slices"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    OVERLAID_TEXT = "overlaid_text"
    ACCESS_DENIED = "access_denied"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    DECODER_OUT_OF_MEMORY = "decoder_out_of_memory"
    PROCESSING_FAILED = "processing_failed"
    SUBJECT_ERASED = "subject_erased"

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
        f"The content is no {all_formats('or')} image, whatever the name says.",
        f"Export the image as {all_formats('or')}.",
    ),
    RejectionReason.TRUNCATED: ("The file ends before its image does.", "Send the whole file again."),
    RejectionReason.CORRUPT: (
        "The image data cannot be decoded, or its decoder reports damage.",
        "Export the image again from its source.",
    ),
    RejectionReason.TOO_MANY_BYTES: (
        "The file, as sent or once inflated, is larger than the limit.",
        "Send single slices.",
    ),
    RejectionReason.TOO_MANY_PIXELS: (
        "The image, or all frames together, have more pixels than the limit.",
        "Send it at its scanned size, or in parts.",
    ),
    RejectionReason.TOO_MANY_FRAMES: (
        "The file says that it holds more frames than the limit.",
        "Send one volume a file: a time series or a whole study is no scan of a head.",
    ),
    RejectionReason.TOO_SMALL: ("The image is too small to show anatomy.", "Send the image, not its thumbnail."),
    RejectionReason.BLANK_IMAGE: (
        "Every pixel has the same value, or its window shows one value only; of several frames, none shows a head.",
        "Check the export: the image is empty.",
    ),
    RejectionReason.NOT_MR: (
        "The DICOM object is not of Modality MR, or the NIfTI file holds a mask or a label map.",
        "Route only MR series and volumes to this prefix.",
    ),
    RejectionReason.NO_PIXELS: (
        "The DICOM object holds no pixel data of whole numbers, or the NIfTI header's pixels lie in another file.",
        "Route only image objects to this prefix; send NIfTI as one file, .nii or .nii.gz.",
    ),
    RejectionReason.MULTI_FRAME: (
        "The picture is an animation; of labeled images, the file holds several frames under one label.",
        "Send its slices as single pictures.",
    ),
    RejectionReason.SEVERAL_SLICES: (
        "One picture shows several slices side by side, and the header does not say how to split them.",
        "Send each slice as its own image, or one multi-frame object.",
    ),
    RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX: (
        "The DICOM pixel data is compressed in a way that no installed decoder reads.",
        "Send it uncompressed, in RLE, or as JPEG, JPEG-LS or JPEG 2000.",
    ),
    RejectionReason.BURNED_IN_ANNOTATION: (
        "The DICOM object says that text is burned into its pixels, which may name the patient.",
        "Send the image without its overlay.",
    ),
    RejectionReason.OVERLAID_TEXT: (
        "Characters are drawn over the pixels, which may name the patient.",
        "Send the image without its overlay.",
    ),
    RejectionReason.ACCESS_DENIED: (
        "S3 lists the object but refuses to hand it out.",
        "Mend its policy, key or storage class; each night tries it again.",
    ),
    RejectionReason.DECODER_CRASHED: (
        "Three decoding processes failed at this file. The last two were started for it.",
        "Export the image again, or send the file to whoever maintains the decoders.",
    ),
    RejectionReason.DECODER_TIMEOUT: (
        "The file was not decoded within the time limit, twice.",
        "Export the image again; where the machine was slow, requeue it.",
    ),
    RejectionReason.DECODER_OUT_OF_MEMORY: (
        "Decoding the file takes more memory than a decoding process may have.",
        "Export the image again, or send it in parts.",
    ),
    RejectionReason.PROCESSING_FAILED: (
        "Three workers died, each while it was alone with this file.",
        "Export the image again, or send the file to whoever maintains the decoders.",
    ),
    RejectionReason.SUBJECT_ERASED: (
        "The file is of a person who was erased from this system on request.",
        "Delete the object, and keep this person's images out of the prefix.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A file that cannot be scored. ``detail`` names numbers and formats, never a patient or a file."""

    reason: RejectionReason
    detail: str
