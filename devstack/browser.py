"""Open headless Chromium, signed in to the stack's Airflow. This needs the extra ``dev`` and Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from devstack.errors import BinaryMissingError
from devstack.stack import Stack

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH: Final = 1400
NO_CHROMIUM: Final = "There is no chromium. Install Debian's package: apt-get install chromium."
_FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Return the path of the program Chromium, or ``None`` if it is not on the path."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def signed_in(stack: Stack, user: str, *, height: int = 900, timeout_ms: int = 60_000) -> Iterator[Page]:
    """Open a browser page that is signed in as ``user``, and close it after the ``with`` block.

    The page is 1400 pixels wide and ``height`` pixels high.

    Raises:
        BinaryMissingError: Chromium is not installed.
    """
    from playwright.sync_api import sync_playwright

    program = chromium()
    if program is None:
        raise BinaryMissingError(NO_CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": height})
        page.set_default_timeout(timeout_ms)
        page.goto(stack.airflow.url)
        page.locator("input[name=username]").fill(user)
        page.locator("input[name=password]").fill(getattr(stack.state.secrets, f"{user}_password"))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "login" not in url)
        yield page
        browser.close()
