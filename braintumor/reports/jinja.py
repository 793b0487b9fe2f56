"""Create Jinja environments for self-contained pages.

A self-contained page loads no other file. The environment escapes every text, and an unknown name in a template is an
error.

>>> page_environment(Path(__file__).with_name("templates")).get_template("model.html").render(report=report)
"""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def page_environment(folder: Path) -> Environment:
    """Return a Jinja environment for the templates of ``folder``.

    The templates may extend ``base.html``. The filters ``png`` and ``jpeg`` turn image bytes into a data URI.
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
    """Return an image as a data URI, marked as safe because base64 contains no character that needs escaping.

    Args:
        kind: ``png`` or ``jpeg``.
        data: the bytes of the image file.
    """
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}")
