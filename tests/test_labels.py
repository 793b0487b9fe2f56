from __future__ import annotations

import pytest

from braintumor.errors import DatasetError
from braintumor.labels import CLASSES, TumorClass, parse_class


def test_classes_are_in_alphabetical_order() -> None:
    assert [c.value for c in CLASSES] == ["glioma", "meningioma", "normal", "pituitary"]
    assert [c.position for c in CLASSES] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no_tumor", TumorClass.NORMAL),
        ("notumor", TumorClass.NORMAL),
        ("Glioma_Tumor", TumorClass.GLIOMA),
        ("pituitary tumor", TumorClass.PITUITARY),
        (" Meningioma ", TumorClass.MENINGIOMA),
    ],
)
def test_folder_names_of_public_datasets_are_parsed(name: str, expected: TumorClass) -> None:
    assert parse_class(name) is expected


def test_unknown_class_is_refused_with_the_allowed_names() -> None:
    with pytest.raises(DatasetError, match=r"'astrocytoma'.*glioma_tumor"):
        parse_class("astrocytoma")
