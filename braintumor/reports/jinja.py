"""Create Jinja environments for self-contained pages.

A page fetches nothing, every text is escaped, and an unknown name is an error.

>>> page_environment(Path(__file__).with_name("templates")).get_template("model.html").render(report=report)
"""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def page_environment(folder: Path) -> Environment:
    """Return an environment for the templates of ``folder``.

    The templates may extend ``base.html`` and use the filters ``png`` and ``jpeg``.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).with_name("templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {kind: partial(_data_uri, kind) for kind in ("png", "jpeg")}
    return environment


def _data_uri(kind: str, data: bytes) -> Markup:
    """Return an image as a data URI. Base64 contains no character that needs escaping."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}")
