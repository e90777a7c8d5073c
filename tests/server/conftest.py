"""Pages in a real Chromium, for the tests that read them there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.server.browser import Desk


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Without its sandbox, which containers do not give it: it opens our own pages alone."""
    from playwright.sync_api import sync_playwright

    from tests.server.browser import CHROMIUM

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def desk(chromium: Browser) -> Iterator[Desk]:
    from tests.server.browser import Desk

    page = chromium.new_page()
    yield Desk(page)
    page.close()


@pytest.fixture
def without_javascript(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page(java_script_enabled=False)
    yield page
    page.close()
