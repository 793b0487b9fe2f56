"""Jinja for pages that are self-contained: nothing is fetched, every text is escaped, an unknown name is an error.

>>> page_environment(Path(__file__).with_name("templates")).get_template("model.html").render(report=report)
"""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def page_environment(folder: Path) -> Environment:
    """For the templates of ``folder``, which may extend ``base.html`` and use the filters ``png`` and ``jpeg``."""
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).with_name("templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"png": _png, "jpeg": _jpeg}
    return environment


def _png(data: bytes) -> Markup:
    return _data_uri("png", data)


def _jpeg(data: bytes) -> Markup:
    return _data_uri("jpeg", data)


def _data_uri(kind: str, data: bytes) -> Markup:
    """A picture in the page itself: base64 holds nothing that would need escaping."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}")
