"""Convert names of local files for output, and fit them to the limits of a file system."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path


def as_utf8(name: str | Path) -> str:
    r"""Return a name as text, with an escape such as ``\xff`` for each byte that is not UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def printable(name: str | Path) -> str:
    """Return a name as text, with an escape for each unprintable character, such as a line break."""
    text = as_utf8(name)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def fitting(folder: Path, name: str, end: str) -> str:
    """Return ``name`` + ``end`` as a file name that is short enough for ``folder``.

    If the file name is too long, a hash of ``name`` replaces the end of ``name``.
    """
    data, limit = name.encode(), os.pathconf(folder, "PC_NAME_MAX") - len(end.encode())
    if len(data) <= limit:
        return name + end
    mark = f"-{sha256(data).hexdigest()[:12]}"
    return data[: limit - len(mark)].decode(errors="ignore") + mark + end
