"""Read the identifiers of a DICOM header, and the attributes that form subgroups of scans (decision 0049).

The attributes extend ``attributes.dicom_attributes``, which labeled images use. Tags are those of PS3.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from unicodedata import normalize

from braintumor.imaging.decoding.dicom.attributes import age_in_years
from braintumor.imaging.decoding.dicom.values import code_of, codes_of, items_of, number_of, value_of
from braintumor.imaging.decoding.dicom_header import ATTRIBUTE_PATTERN, DicomHeader, ScanAttributes

_OLDEST_DECADE = 90
"""First year of the last age band. It has no upper limit, because an age above 89 can identify a person."""
_NUMBER_OF_A_PERSON = re.compile(r"[0-9]{5}")
"""Digits in a model name that may be a serial number, a date or a patient number."""

T1, T1_CONTRAST, T2, FLAIR, OTHER = "T1", "T1 with contrast", "T2", "FLAIR", "other"
_ENHANCED = {"T1": T1, "T2": T2, "FLUID_ATTENUATED": FLAIR}
"""Sequence family by ``AcquisitionContrast``, which only enhanced MR objects state (PS3.3 C.8.13.3.1)."""
_SPIN_ECHOES = {"T1-weighted spin echo": T1, "T2-weighted spin echo": T2}
_FLAIR_INVERSION, _FLAIR_ECHO = 1500.0, 60.0
"""Least inversion time and echo time of FLAIR, in milliseconds."""
_T1_LONGEST_ECHO, _T1_INVERSIONS = 30.0, (300.0, 1300.0)
"""Longest echo time and range of inversion times of T1 after inversion, in milliseconds."""
_SPOILED_LONGEST_ECHO = 10.0
"""Longest echo time of a T1-weighted spoiled gradient echo, in milliseconds."""
_NO_AGENT = re.compile(
    r"(NO|NOT|NONE|WITHOUT|W/O)\b.*|N|N/A|NA|NIL|NATIVE|0|-+|UNKNOWN|UNENHANCED|PLAIN"
    r"|(PRE|NON)([- ]?(CONTRAST|ENHANCED|GADOLINIUM|GD|KM))?"
)
"""Values of ``ContrastBolusAgent`` by which operators state that no agent was given. Non-ionic agents do not match."""


def read_header(dataset: Any, coarse: Mapping[str, str]) -> DicomHeader:
    """Return the identifiers and attributes of a pydicom ``Dataset``. Missing identifiers are empty.

    ``coarse`` is the result of ``attributes.dicom_attributes``.
    """
    attributes = ScanAttributes(
        manufacturer=coarse.get("manufacturer"),
        device_model=_device_model(code_of(dataset, "ManufacturerModelName")),
        field_strength=coarse.get("field_strength"),
        sequence_family=_sequence_family(dataset, coarse),
        age_band=_decade(age_in_years(code_of(dataset, "PatientAge"))),
        sex=coarse.get("sex"),
    )
    return DicomHeader(
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        series_instance_uid=_text(dataset, "SeriesInstanceUID"),
        patient_id=_text(dataset, "PatientID"),
        institution_name=code_of(dataset, "InstitutionName"),
        station_name=code_of(dataset, "StationName"),
        attributes=attributes,
    )


def _text(dataset: Any, keyword: str) -> str:
    return str(value_of(dataset, keyword) or "")


def _device_model(name: str) -> str | None:
    """Return a model name in small letters, or ``None`` if it has other characters, is long or may number a person."""
    model = normalize("NFKC", name).lower().replace("_", " ").strip()
    return model if re.fullmatch(ATTRIBUTE_PATTERN, model) and not _NUMBER_OF_A_PERSON.search(model) else None


def _decade(years: float | None) -> str | None:
    """Return the decade of an age, such as ``40 to 49``. The last one is ``90 and over``."""
    if years is None:
        return None
    decade = int(years // 10) * 10
    return f"{_OLDEST_DECADE} and over" if decade >= _OLDEST_DECADE else f"{decade} to {decade + 9}"


def _sequence_family(dataset: Any, coarse: Mapping[str, str]) -> str | None:
    """Return T1, T1 with contrast, T2, FLAIR or other. The result is ``None`` if the header states no sequence."""
    contrast = code_of(dataset, "AcquisitionContrast")
    kind = coarse.get("sequence")
    if not contrast and kind is None:
        return None
    family = _ENHANCED.get(contrast, OTHER) if contrast else _classic_family(dataset, str(kind))
    return T1_CONTRAST if family == T1 and _has_contrast_agent(dataset) else family


def _classic_family(dataset: Any, kind: str) -> str:
    """Return the family of a pulse sequence of the kind ``attributes.dicom_attributes`` names.

    FLAIR inverts with a long inversion time and has a long echo time. T1 is a spin echo with short times, an echo after
    an inversion of medium length, or a spoiled gradient echo with a very short echo time.
    """
    echo, inversion = number_of(dataset, "EchoTime") or 0, number_of(dataset, "InversionTime") or 0
    if echo <= 0 or kind == "echo planar":
        return OTHER
    if inversion > 0:  # some scanners state the time and not the term IR
        if inversion >= _FLAIR_INVERSION and echo >= _FLAIR_ECHO:
            return FLAIR
        return T1 if _T1_INVERSIONS[0] <= inversion <= _T1_INVERSIONS[1] and echo <= _T1_LONGEST_ECHO else OTHER
    is_spoiled = "SP" in codes_of(dataset, "SequenceVariant")
    if kind == "gradient echo" and is_spoiled and echo <= _SPOILED_LONGEST_ECHO:
        return T1
    return _SPIN_ECHOES.get(kind, OTHER)


def _has_contrast_agent(dataset: Any) -> bool:
    agent = code_of(dataset, "ContrastBolusAgent")
    return (bool(agent) and not _NO_AGENT.fullmatch(agent)) or bool(items_of(dataset, "ContrastBolusAgentSequence"))
