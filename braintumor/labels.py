"""Define the four classes, their order, and their aliases in public datasets."""

from __future__ import annotations

from enum import StrEnum

from braintumor.errors import DatasetError


class TumorClass(StrEnum):
    """The class of a frame. Every probability vector in this project has the order of these members."""

    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"
    NORMAL = "normal"
    PITUITARY = "pituitary"

    @property
    def position(self) -> int:
        """Return the index of this class in a probability vector."""
        return CLASSES.index(self)


CLASSES: tuple[TumorClass, ...] = tuple(TumorClass)
TUMORS: tuple[TumorClass, ...] = tuple(c for c in TumorClass if c is not TumorClass.NORMAL)

_ALIASES: dict[str, TumorClass] = {
    **{c.value: c for c in TumorClass},
    **{f"{c.value}_tumor": c for c in TUMORS},
    "no_tumor": TumorClass.NORMAL,
    "notumor": TumorClass.NORMAL,
    "no": TumorClass.NORMAL,
    "healthy": TumorClass.NORMAL,
}


def parse_class(name: str) -> TumorClass:
    """Return the class that the name of a folder or the value of a column means.

    For example, ``parse_class("No_Tumor")`` is ``TumorClass.NORMAL``.

    Raises:
        DatasetError: the name is not a known alias.
    """
    label = _ALIASES.get(name.strip().lower().replace("-", "_").replace(" ", "_"))
    if label is None:
        raise DatasetError(
            f"{name!r} is not a class name. Allowed: {', '.join(sorted(_ALIASES))}. "
            "Rename the folder, or correct the value of the column."
        )
    return label
