"""Define the reasons for which a file cannot be scored. A bad file gives a ``Rejection`` as result, not an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from braintumor.imaging.decoding.dicom_header import DicomHeader
from braintumor.imaging.decoding.formats import all_formats


class RejectionReason(StrEnum):
    """The values of ``rejection.reason``. To add a reason, change this class, ``_TEXTS`` and docs/operator.md."""

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
        """Return a sentence that says what is wrong."""
        return _TEXTS[self][0]

    @property
    def remedy(self) -> str:
        """Return a sentence that says what to do."""
        return _TEXTS[self][1]


_TEXTS: dict[RejectionReason, tuple[str, str]] = {
    RejectionReason.EMPTY_FILE: ("The file has no bytes.", "Send the file again."),
    RejectionReason.UNSUPPORTED_FORMAT: (
        f"The content is no {all_formats('or')} image. The file name does not count.",
        f"Export the image as {all_formats('or')}.",
    ),
    RejectionReason.TRUNCATED: ("The file ends before its image data ends.", "Send the whole file again."),
    RejectionReason.CORRUPT: (
        "The image data cannot be decoded, or its decoder reports damage.",
        "Export the image again from its source.",
    ),
    RejectionReason.TOO_MANY_BYTES: (
        "The file is larger than the limit, as sent or after decompression.",
        "Send single slices, or gzip a NIfTI file.",
    ),
    RejectionReason.TOO_MANY_PIXELS: (
        "The image, or all its frames together, has more pixels than the limit.",
        "Send it in its original size, or in parts.",
    ),
    RejectionReason.TOO_MANY_FRAMES: (
        "The file states more frames than the limit.",
        "Send one volume per file. A time series or a whole study is not one scan of a head.",
    ),
    RejectionReason.TOO_SMALL: ("The image is too small to show anatomy.", "Send the image, not its thumbnail."),
    RejectionReason.BLANK_IMAGE: (
        "Every pixel has the same value, the window shows one value only, or no frame shows a head.",
        "Check the export: the image is empty.",
    ),
    RejectionReason.NOT_MR: (
        "The DICOM object is not of Modality MR, or the NIfTI file is a mask, label map or statistical map.",
        "Route only MR series and volumes to this prefix.",
    ),
    RejectionReason.NO_PIXELS: (
        "The DICOM object has no pixel data of whole numbers, or the NIfTI header's pixels are in another file.",
        "Route only image objects to this prefix. Send NIfTI as one file, .nii or .nii.gz.",
    ),
    RejectionReason.MULTI_FRAME: (
        "The image is an animation, or a labeled file contains several frames under one label.",
        "Send its slices as single images.",
    ),
    RejectionReason.SEVERAL_SLICES: (
        "One image shows several slices side by side, and the header does not state how to split them.",
        "Send each slice as its own image, or one multi-frame object.",
    ),
    RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX: (
        "No installed decoder reads the compression of the DICOM pixel data.",
        "Send it uncompressed, in RLE, or as JPEG, JPEG-LS or JPEG 2000.",
    ),
    RejectionReason.BURNED_IN_ANNOTATION: (
        "The DICOM object states that text is burned into its pixels, which may name the patient.",
        "Send the image without its overlay.",
    ),
    RejectionReason.OVERLAID_TEXT: (
        "Characters are drawn over the pixels, which may name the patient.",
        "Send the image without its overlay.",
    ),
    RejectionReason.ACCESS_DENIED: (
        "S3 lists the object but refuses to return it.",
        "Fix its policy, key or storage class. Each scoring run tries it again.",
    ),
    RejectionReason.DECODER_CRASHED: (
        "Three decoding processes failed at this file. The last two were started for it.",
        "Export the image again, or send the file to the maintainers of the decoders.",
    ),
    RejectionReason.DECODER_TIMEOUT: (
        "The file was not decoded within the time limit, twice.",
        "Export the image again. If the machine was slow, requeue the file.",
    ),
    RejectionReason.DECODER_OUT_OF_MEMORY: (
        "Decoding the file needs more memory than a decoding process may use.",
        "Export the image again, or send it in parts.",
    ),
    RejectionReason.PROCESSING_FAILED: (
        "Three workers crashed, each while it processed only this file.",
        "Export the image again, or send the file to the maintainers of the decoders.",
    ),
    RejectionReason.SUBJECT_ERASED: (
        "The file shows a person whose data was erased from this system on request.",
        "Delete the object, and do not send this person's images to the prefix.",
    ),
}


@dataclass(frozen=True)
class Rejection:
    """The reason for which a file cannot be scored. ``detail`` gives numbers and formats, never a patient or a file.

    ``dicom`` is the header of a DICOM object whose header could be read.
    """

    reason: RejectionReason
    detail: str
    dicom: DicomHeader | None = field(default=None, repr=False, compare=False)


def decoder_failure(kind: str | None, error: Exception) -> Rejection:
    """Return the rejection of a file whose decoder raised ``error``, without the error's text.

    Bad bytes cause errors of any class, and their texts can name a patient.
    """
    module, name = type(error).__module__, type(error).__name__
    named = name if module == "builtins" else f"{module}.{name}"
    return Rejection(RejectionReason.CORRUPT, f"{kind} decoder failed with {named}")
