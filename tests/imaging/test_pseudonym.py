"""Test that pseudonyms are equal for equal identifiers and depend on the key."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import pytest

from braintumor.imaging.pseudonym import pseudonym

KEY = b"0123456789abcdef0123456789abcdef"
OTHER_KEY = b"k" * 32
Kind = Literal["study", "series", "patient"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_same_identifier_has_the_same_pseudonym_every_time(kind: Kind) -> None:
    assert pseudonym("PAT-1970", kind=kind, key=KEY) == pseudonym("PAT-1970", kind=kind, key=KEY)


def test_a_pseudonym_stays_the_same_between_releases() -> None:
    # it joins rows of earlier scoring runs
    assert pseudonym("PAT-1970", kind="patient", key=KEY) == "39fb240facb3f66dabdc1a219703081f"


@pytest.mark.parametrize("padded", ["PAT-1970 ", " PAT-1970", "PAT-1970\0", "PAT-1970\0\0 "])
def test_dicom_padding_does_not_change_the_pseudonym(padded: str) -> None:
    assert pseudonym(padded, kind="patient", key=KEY) == pseudonym("PAT-1970", kind="patient", key=KEY)


@pytest.mark.parametrize("empty", ["", " ", "\0", " \0 \t"])
def test_empty_identifier_has_no_pseudonym(empty: str) -> None:
    assert pseudonym(empty, kind="patient", key=KEY) is None


def test_kinds_keys_and_values_do_not_share_pseudonyms() -> None:
    made = [
        pseudonym("1.2.3", kind="study", key=KEY),
        pseudonym("1.2.3", kind="series", key=KEY),
        pseudonym("1.2.3", kind="patient", key=KEY),
        pseudonym("1.2.4", kind="study", key=KEY),
        pseudonym("1.2.3", kind="study", key=KEY[::-1]),
    ]
    assert len(set(made)) == len(made)


def test_pseudonym_is_32_hex_digits_and_not_an_unkeyed_hash() -> None:
    made = pseudonym("PAT-1970", kind="patient", key=KEY)
    assert made is not None and len(made) == 32 and int(made, 16) >= 0
    plain = [hashlib.new(name, b"PAT-1970").hexdigest() for name in ("md5", "sha1", "sha256")]
    assert not any(digest.startswith(made) for digest in plain)


def test_names_in_any_script_have_pseudonyms() -> None:
    made = {pseudonym(name, kind="patient", key=KEY) for name in ("Müller^Änne", "山田^太郎", "Muller^Anne")}
    assert len(made) == 3


def test_pseudonyms_are_equal_only_for_equal_identifiers() -> None:
    one = pseudonym("1.2.3", kind="study", key=OTHER_KEY)
    assert one == pseudonym(" 1.2.3 ", kind="study", key=OTHER_KEY)
    assert one is not None and len(one) == 32
    assert one != pseudonym("1.2.3", kind="series", key=OTHER_KEY)
    assert one != pseudonym("1.2.3", kind="study", key=b"another key of the same length..")
    assert pseudonym("  ", kind="patient", key=OTHER_KEY) is None
