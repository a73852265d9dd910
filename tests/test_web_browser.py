"""The page in Chromium: what people see and do."""

from __future__ import annotations

import pytest
from cli_help import Recorded, history, on_sqlite
from fixtures_browser import Tab
from fixtures_web import Page

__all__ = ["history"]
pytestmark = [on_sqlite, pytest.mark.chromium]


def test_from_the_list_to_the_failed_node_and_back(
    page: Page, history: Recorded, tab: Tab
) -> None:
    tab.page.goto(page.url)
    tab.page.locator(f'[data-run="{history.failed}"] .go').click()
    tab.page.wait_for_url("**/run?**")
    assert "failed at draft" in tab.page.locator("h1").inner_text()
    assert "KeyError" in tab.page.locator("#pane").inner_text()
    tab.page.go_back()
    tab.page.wait_for_selector(f'[data-run="{history.failed}"]')
