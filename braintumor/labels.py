"""The four classes, their one order, and the one table of other names for them."""

from __future__ import annotations

from enum import StrEnum

from braintumor.errors import DatasetError


class TumorClass(StrEnum):
    """What a frame shows, in the order of every probability vector of this project."""

    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"
    NORMAL = "normal"
    PITUITARY = "pituitary"

    @property
    def position(self) -> int:
        """Position in a probability vector."""
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
    """Map a folder or column name onto its class: ``parse_class("No_Tumor") is TumorClass.NORMAL``.

    Raises:
        DatasetError: the name is no known alias.
    """
    found = _ALIASES.get(name.strip().lower().replace("-", "_").replace(" ", "_"))
    if found is None:
        raise DatasetError(
            f"{name!r} is not a class name. Allowed: {', '.join(sorted(_ALIASES))}. "
            "Rename the folder or the column's value to one of these."
        )
    return found
