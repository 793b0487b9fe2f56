"""Sign in to a live Airflow with headless Chromium. Skip the test if Chromium is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from devstack import browser
from devstack.stack import Stack

expect.set_options(timeout=60_000)  # 5 s are too few while other tests run


@contextmanager
def signed_in(live: Stack, user: str, *, height: int, timeout_ms: int) -> Iterator[Page]:
    """Open a browser page as this user."""
    if browser.chromium() is None:
        pytest.skip(browser.NO_CHROMIUM)
    with browser.signed_in(live, user, height=height, timeout_ms=timeout_ms) as page:
        yield page
