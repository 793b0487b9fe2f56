"""Real headless Chromium, signed in to a live Airflow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from embedded.stack import Stack

expect.set_options(timeout=60_000)  # 5 s are too few beside other tests

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def signed_in(live: Stack, user: str, *, height: int, timeout_ms: int) -> Iterator[Page]:
    """A page of this user, 1400 pixels wide; where there is no browser the test is skipped."""
    if _CHROMIUM is None:
        pytest.skip("no chromium: install Debian's package")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": height})
        page.set_default_timeout(timeout_ms)
        page.goto(live.airflow.url)
        page.locator("input[name=username]").fill(user)
        page.locator("input[name=password]").fill(getattr(live.state.secrets, f"{user}_password"))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "login" not in url)
        yield page
        browser.close()
