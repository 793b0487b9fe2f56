"""Define what scoring reads from a DICOM header: identifiers for pseudonyms, and attributes for subgroups."""

from __future__ import annotations

from dataclasses import dataclass, field

ATTRIBUTE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._+/()-]{0,31}$"
"""Pattern of each stored attribute: at most 32 safe characters."""


@dataclass(frozen=True, kw_only=True)
class ScanAttributes:
    """Attributes of scanner, sequence and patient that do not identify a person (decision 0049).

    ``None`` means that the header has no usable value. Each value matches ``ATTRIBUTE_PATTERN``.
    """

    manufacturer: str | None = None
    device_model: str | None = None
    field_strength: str | None = None
    sequence_family: str | None = None
    age_band: str | None = None
    sex: str | None = None


@dataclass(frozen=True, kw_only=True)
class DicomHeader:
    """Raw identifiers and coarse attributes of a DICOM object.

    The repr hides the identifiers, because only pseudonyms of them may leave the scorer.
    """

    study_instance_uid: str = field(repr=False)
    series_instance_uid: str = field(repr=False)
    patient_id: str = field(repr=False)
    institution_name: str = field(default="", repr=False)
    station_name: str = field(default="", repr=False)
    attributes: ScanAttributes = field(default_factory=ScanAttributes)
