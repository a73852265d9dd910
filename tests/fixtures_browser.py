"""The system's Chromium, one for all the tests of a module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NARROW, WIDE = {"width": 390, "height": 800}, {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser. Its sandbox needs rights that a container may not have.

    Playwright has an event loop run in the tests' own thread, so it ends with the module.
    """
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path is not None, "there is no Chromium: scripts/bootstrap.sh installs it"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab of its own profile, which remembers what the browser complained of."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(viewport=WIDE, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture
def tab(chromium: Any) -> Iterator[Tab]:
    """A tab; nothing may have been complained of at its end."""
    made = Tab(chromium)
    yield made
    made.context.close()
    assert made.complaints == []
