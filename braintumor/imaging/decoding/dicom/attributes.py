"""Read coarse attributes of patient and scanner from a DICOM header. No attribute identifies a person.

Each value is one of the words in this module. No date, free text or identifier passes. A missing, malformed or
ambiguous value is omitted, not guessed. Tags are those of PS3.3.

>>> dicom_attributes(dataset)
{'age_band': '40 to 59', 'sex': 'F', 'manufacturer': 'siemens', 'field_strength': '3 T', 'sequence': 'gradient echo'}
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from braintumor.imaging.decoding.dicom.values import codes_of, numbers_of

_AGE = re.compile(r"([0-9]{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1}
_OLDEST = 130
_AGE_BANDS = {18: "under 18", 40: "18 to 39", 60: "40 to 59", 80: "60 to 79", math.inf: "80 and over"}
"""Name of each age band by its exclusive upper limit in years.

The last band has no upper limit, because an age above 89 can identify a person (45 CFR 164.514 (b)(2)(i)(C)).
"""

_SEXES = frozenset({"M", "F", "O"})

_VENDORS: Mapping[str, frozenset[str]] = {
    "siemens": frozenset({"siemens"}),
    "ge": frozenset({"ge", "gems", "gehc"}),
    "philips": frozenset({"philips"}),
    "canon/toshiba": frozenset({"canon", "toshiba"}),
    "hitachi/fujifilm": frozenset({"hitachi", "fujifilm"}),
    "united imaging": frozenset({"uih", "united imaging"}),
    "bruker": frozenset({"bruker"}),
}
"""Words of ``Manufacturer`` by vendor. A vendor that sold its MRI business shares a name with the buyer."""

_FIELDS = {1.0: "1 T", 1.5: "1.5 T", 3.0: "3 T", 7.0: "7 T"}
_FIELD_TOLERANCE = 0.05
"""Greatest deviation as a share of the nominal field strength. Magnets of 1.494 and 2.894 T are sold as 1.5 and 3 T."""
_STRONGEST_TESLA = 25.0
_LEAST_GAUSS = 10_000.0
"""Least value of a field strength that is read as gauss.

Lower values above ``_STRONGEST_TESLA`` are ambiguous, because 3000 may mean 0.3 T or 3 T.
"""

_SEQUENCES: Mapping[frozenset[str], str] = {
    frozenset({"SE"}): "spin echo",
    frozenset({"GR"}): "gradient echo",
    frozenset({"IR"}): "inversion recovery",
    frozenset({"SE", "IR"}): "inversion recovery",
    frozenset({"GR", "IR"}): "gradient echo after inversion",
    frozenset({"SE", "GR"}): "spin and gradient echo",
    frozenset({"SE", "GR", "IR"}): "spin and gradient echo after inversion",
}
"""Kind of pulse sequence by the terms of ``ScanningSequence``, if the terms include neither EP nor RM."""
_SCANNING_TERMS = frozenset({"SE", "IR", "GR", "EP", "RM"})

_T1_LONGEST_TR, _LONG_TR = 800.0, 2000.0
_SHORT_TE, _LONG_TE = 30.0, 80.0
"""Limits in milliseconds of short and long TR and TE in a spin echo (decision 0013).

Times between the limits give no weighting.
"""


def dicom_attributes(dataset: Any) -> dict[str, str]:
    """Return the attributes of a pydicom ``Dataset`` by name, without attributes that are missing or malformed."""
    attributes = {
        "age_band": _age_band(_text(dataset, "PatientAge")),
        "sex": sex if (sex := _text(dataset, "PatientSex")) in _SEXES else None,
        "manufacturer": _manufacturer(_text(dataset, "Manufacturer")),
        "field_strength": _field_strength(_number(dataset, "MagneticFieldStrength")),
        "sequence": _sequence(dataset),
    }
    return {name: value for name, value in attributes.items() if value is not None}


def age_in_years(age: str) -> float | None:
    """Return the years of an Age String (PS3.5 6.2), such as 045Y, or ``None`` for a malformed or impossible age.

    Anonymizers write an age of 0, which gives ``None``.
    """
    match = _AGE.fullmatch(age)
    years = int(match[1]) / _PER_YEAR[match[2]] if match else 0
    return years if 0 < years <= _OLDEST else None


def _age_band(age: str) -> str | None:
    years = age_in_years(age)
    return None if years is None else next(band for below, band in _AGE_BANDS.items() if years < below)


def _manufacturer(name: str) -> str | None:
    words = re.findall(r"[a-z]+", name.lower())
    if not words:
        return None
    names = {*words, *map(" ".join, pairwise(words))}
    return next((vendor for vendor, known in _VENDORS.items() if names & known), "other")


def _field_strength(value: float | None) -> str | None:
    """Return the nominal field strength, or ``None``. Some scanners write the value in gauss."""
    if value is None or value <= 0:
        return None
    tesla = value / 10_000 if value >= _LEAST_GAUSS else value
    if tesla > _STRONGEST_TESLA:
        return None
    near = (name for nominal, name in _FIELDS.items() if abs(tesla - nominal) <= _FIELD_TOLERANCE * nominal)
    return next(near, "below 1 T" if tesla < 1 else "other")


def _sequence(dataset: Any) -> str | None:
    """Return the kind of pulse sequence (``ScanningSequence``, PS3.3 C.8.3.1), with the weighting of a plain spin echo.

    The result is ``None`` if a term is not one of the standard's five. With the term EP, it is echo planar for every
    kind of echo.
    """
    terms = frozenset(codes_of(dataset, "ScanningSequence"))
    if not terms or not terms <= _SCANNING_TERMS:
        return None
    if "RM" in terms:
        return "research mode"
    if "EP" in terms:
        return "echo planar"
    kind = _SEQUENCES[terms]
    weighting = _weighting(dataset) if terms == {"SE"} else None
    return f"{weighting}-weighted {kind}" if weighting else kind


def _weighting(dataset: Any) -> str | None:
    """Return the weighting of a spin echo: T1 if TR and TE are short, PD if only TR is long, T2 if both are long.

    The rule also holds for a fast spin echo, whose ``EchoTime`` is that of the center of k-space (PS3.3 C.8.3.1). A
    stated ``InversionTime`` gives ``None``, because an inversion pulse changes the contrast. The caller does not ask
    for a gradient echo, whose weighting also depends on flip angle and spoiling.
    """
    repetition, echo = _number(dataset, "RepetitionTime"), _number(dataset, "EchoTime")
    if repetition is None or echo is None or min(repetition, echo) <= 0 or _number(dataset, "InversionTime"):
        return None
    if echo <= _SHORT_TE:
        return "T1" if repetition <= _T1_LONGEST_TR else "PD" if repetition >= _LONG_TR else None
    return "T2" if echo >= _LONG_TE and repetition >= _LONG_TR else None


def _number(dataset: Any, keyword: str) -> float | None:
    """Return the single number of a tag, or ``None`` for no usable number or several."""
    numbers = numbers_of(dataset, keyword)
    return numbers[0] if len(numbers) == 1 else None


def _text(dataset: Any, keyword: str) -> str:
    """Return the single value of a tag in capitals, or an empty text for no value or several."""
    texts = codes_of(dataset, keyword)
    return texts[0] if len(texts) == 1 else ""
