"""Names of local files, as they can be printed and as a file system takes them."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path


def as_utf8(name: str | Path) -> str:
    r"""Write bytes that are not UTF-8 as escapes such as ``\xff``. Any other name stays as it is."""
    return os.fsencode(name).decode(errors="backslashreplace")


def printable(name: str | Path) -> str:
    r"""Write everything that cannot be printed as an escape: also a line break, as ``\n``."""
    text = as_utf8(name)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def fitting(folder: Path, name: str, end: str) -> str:
    """Join ``name`` and ``end``. Where ``folder`` takes no name so long, a hash replaces the end of ``name``."""
    data, room = name.encode(), os.pathconf(folder, "PC_NAME_MAX") - len(end.encode())
    if len(data) <= room:
        return name + end
    mark = f"-{sha256(data).hexdigest()[:12]}"
    return data[: room - len(mark)].decode(errors="ignore") + mark + end
