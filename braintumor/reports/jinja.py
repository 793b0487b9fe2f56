"""Create Jinja environments for self-contained pages, which load no other file.

>>> page_environment(Path(__file__).with_name("templates")).get_template("model.html").render(report=report)
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


@cache
def page_environment(folder: Path) -> Environment:
    """Return a Jinja environment that escapes every text and raises an error for an undefined variable.

    Templates of ``folder`` may extend ``base.html``. The filters ``png`` and ``jpeg`` turn image bytes into a data URI.
    ``utc_now()`` returns the present time in UTC as text. Each folder has one environment.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).with_name("templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {kind: partial(_data_uri, kind) for kind in ("png", "jpeg")}
    environment.globals["utc_now"] = lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return environment


def _data_uri(kind: str, data: bytes) -> Markup:
    """Return an image as a data URI, marked as safe because base64 contains no character that needs escaping."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}")
