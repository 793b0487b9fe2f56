"""Real headless Chromium, signed in to a live Airflow; where there is none the test is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from devstack import browser
from devstack.stack import Stack

expect.set_options(timeout=60_000)  # 5 s are too few beside other tests


@contextmanager
def signed_in(live: Stack, user: str, *, height: int, timeout_ms: int) -> Iterator[Page]:
    """A page of this user, as of ``devstack.browser``."""
    if browser.chromium() is None:
        pytest.skip(browser.NO_CHROMIUM)
    with browser.signed_in(live, user, height=height, timeout_ms=timeout_ms) as page:
        yield page
