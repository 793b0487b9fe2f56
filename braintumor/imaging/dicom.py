"""Single-frame MR DICOM through pydicom: rescale, window, photometric interpretation -> uint8."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.frames import Decoded, DicomIdentity, Frame, Limits, check_size
from braintumor.imaging.rejection import Rejection, RejectionReason

_PERCENTILES = (0.5, 99.5)
"""Displayed range where the object names no window."""
_COLOUR_SAMPLES = 3


def decode_dicom(data: bytes, limits: Limits) -> Decoded | Rejection:
    """One frame of an MR object; everything that can be refused by its header is refused before decoding."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns about odd values, and quotes them
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        refused = _refused(dataset, limits)
        if refused is not None:
            return refused
        stored = _stored_values(dataset)
        if isinstance(stored, Rejection):
            return stored
        pixels = _displayed(dataset, stored)
    identity = DicomIdentity(
        study_instance_uid=str(dataset.get("StudyInstanceUID", "")),
        series_instance_uid=str(dataset.get("SeriesInstanceUID", "")),
        sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
        patient_id=str(dataset.get("PatientID", "")),
    )
    return Decoded(format="dicom", frames=(Frame(index=0, pixels=pixels),), dicom=identity)


def _refused(dataset: Any, limits: Limits) -> Rejection | None:
    modality = str(dataset.get("Modality", "missing"))
    if modality != "MR":
        known = modality if modality.isalpha() and len(modality) == 2 else "not MR"  # noqa: PLR2004
        return Rejection(reason=RejectionReason.NOT_MR, detail=f"Modality is {known}")
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        return Rejection(reason=RejectionReason.NO_PIXELS, detail="no PixelData, Rows or Columns")
    if str(dataset.get("BurnedInAnnotation", "NO")).upper() == "YES":
        return Rejection(reason=RejectionReason.BURNED_IN_ANNOTATION, detail="BurnedInAnnotation is YES")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        return Rejection(reason=RejectionReason.MULTI_FRAME, detail=f"{frames} frames; single frames are scored")
    return check_size(int(dataset.Columns), int(dataset.Rows), limits)


def _stored_values(dataset: Any) -> NDArray[Any] | Rejection:
    try:
        return np.asarray(dataset.pixel_array)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as exc:
        expected = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("BitsAllocated", 8)) // 8
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        if syntax is not None and syntax.is_compressed and "decod" in str(exc).lower():
            return Rejection(
                reason=RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX, detail=f"transfer syntax {syntax.name}"
            )
        if len(dataset.PixelData) < expected:
            detail = f"{len(dataset.PixelData):,} bytes of pixel data, {expected:,} expected"
            return Rejection(reason=RejectionReason.TRUNCATED, detail=detail)
        raise


def _displayed(dataset: Any, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Stored values -> what a viewer shows (DICOM PS3.3 C.11.1 modality LUT, C.11.2 VOI LUT), 0..255."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, convert_color_space

    if int(dataset.get("SamplesPerPixel", 1)) == _COLOUR_SAMPLES:
        photometric = str(dataset.PhotometricInterpretation)
        rgb = convert_color_space(stored, photometric, "RGB") if photometric.startswith("YBR") else stored
        return np.asarray(rgb, np.uint8)
    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    has_window = "WindowCenter" in dataset or "VOILUTSequence" in dataset
    if has_window:
        values = np.asarray(apply_voi_lut(values, dataset, index=0), np.float64)
    low, high = (values.min(), values.max()) if has_window else np.percentile(values, _PERCENTILES)
    shown = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    if str(dataset.get("PhotometricInterpretation", "MONOCHROME2")) == "MONOCHROME1":
        shown = 1 - shown
    return np.asarray(np.rint(shown * 255), np.uint8)
