"""Jinja for pages that are self-contained: nothing is fetched, every text is escaped, an unknown name is an error.

>>> page_environment(Path(__file__).with_name("templates")).get_template("model.html").render(report=report)
"""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def page_environment(folder: Path) -> Environment:
    """An environment for the templates of ``folder``, which may extend ``base.html`` and use the filter ``png``."""
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).with_name("templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = _png
    return environment


def _png(data: bytes) -> Markup:
    """A data URI: base64 holds nothing that would need escaping."""
    return Markup(f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}")
