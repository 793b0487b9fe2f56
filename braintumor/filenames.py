"""Names of local files, for output and for the limits of a file system."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path


def as_utf8(name: str | Path) -> str:
    r"""Return a name with bytes that are not UTF-8 as escapes, such as ``\xff``."""
    return os.fsencode(name).decode(errors="backslashreplace")


def printable(name: str | Path) -> str:
    r"""Return a name with unprintable characters, such as a line break, as escapes."""
    text = as_utf8(name)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def fitting(folder: Path, name: str, end: str) -> str:
    """Join ``name`` and ``end``. If the result is too long for ``folder``, a hash replaces the end of ``name``."""
    data, limit = name.encode(), os.pathconf(folder, "PC_NAME_MAX") - len(end.encode())
    if len(data) <= limit:
        return name + end
    mark = f"-{sha256(data).hexdigest()[:12]}"
    return data[: limit - len(mark)].decode(errors="ignore") + mark + end
