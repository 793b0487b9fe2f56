"""Take the screenshots in ``docs/images`` from a running stack after the demo.

::

    make demo up
    .venv/bin/python -m devstack.screenshots docs/images

The screenshots show phantoms that were drawn for the demo, and no patient.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.registry import model_versions
from devstack.browser import WIDTH, signed_in
from devstack.stack import Stack

if TYPE_CHECKING:
    from playwright.sync_api import Page


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Describe a page to capture, from its top. ``path`` can contain ``{model}``, ``{run}`` and ``{scan}``."""

    name: str
    path: str
    height: int
    shows: str
    """CSS selector of an element that must be visible before the capture."""
    button: str = ""
    """Name of a button to press before the capture. It is empty if there is no button to press."""


_SHOTS: Final = (
    Shot(name="dags", path="dags", height=900, shows="text=nightly_scoring"),
    Shot(name="models", path="braintumor/reports/", height=900, shows="h1"),
    Shot(
        name="data-dictionary", path="braintumor/reports/docs/data-dictionary.md", height=800, shows="input[name=find]"
    ),
    Shot(name="worklist", path="braintumor/review/", height=800, shows="img"),
    Shot(name="frame", path="braintumor/review/frame/{scan}/0", height=800, shows="img"),
    Shot(name="report", path="braintumor/reports/model/{model}/report.html", height=1100, shows="img"),
    Shot(name="run-report", path="braintumor/reports/runs/{run}/morning.html", height=900, shows="h1"),
    Shot(
        name="retrain-form",
        path="dags/weekly_retrain",
        height=1000,
        button="Trigger",
        shows="[role=dialog][data-state=open]",
    ),
)
_SETTLED_MS: Final = 2000
"""Milliseconds to wait before a capture, because dialogs are animated and images load late."""


def take(stack: Stack, folder: Path) -> None:
    """Write a PNG for each page into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = _names(stack)
    with signed_in(stack, "admin") as page:
        for shot in _SHOTS:
            _take(page, f"{stack.airflow.url}/{shot.path.format(**names)}", shot, folder / f"{shot.name}.png")
            print(folder / f"{shot.name}.png")


def _take(page: Page, address: str, shot: Shot, path: Path) -> None:
    page.set_viewport_size({"width": WIDTH, "height": shot.height})
    page.goto(address)
    if shot.button:
        page.get_by_role("button", name=shot.button).first.click()
    page.locator(shot.shows).first.wait_for()
    page.wait_for_timeout(_SETTLED_MS)
    Image.open(BytesIO(page.screenshot())).convert("RGB").save(path, optimize=True)


def _names(stack: Stack) -> dict[str, str]:
    """Return the champion's name, the key of the first run, and the ID of a scan with many review reasons."""
    engine = database.connect(Settings.from_environment(stack.library_env()))
    model = model_versions.champion(engine).model_name
    with database.transaction(engine) as connection:
        run = connection.scalars(text("select run_key from scoring_run order by scoring_run_id limit 1")).one()
        scan = connection.scalars(
            text("""
            select scan_id
            from current_prediction
            where frame_index = 0
            order by cardinality(review_reasons) desc, confidence
            limit 1""")
        ).one()
    engine.dispose()
    return {"model": model, "run": run, "scan": str(scan)}


if __name__ == "__main__":
    take(Stack(), Path(sys.argv[1]))
