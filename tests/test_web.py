"""The page over HTTP: what each view says, on both stores."""

from __future__ import annotations

import re
from typing import Any

from cli_help import Recorded, empty, history
from fixtures_web import Page

__all__ = ["empty", "history"]


def rows(text: str) -> list[str]:
    """The ids of the rows of a page of runs."""
    return re.findall(r'data-run="([^"]+)"', text)


def test_runs(page: Page, history: Recorded) -> None:
    text = page.text()
    assert len(rows(text)) == 10
    assert rows(text)[-1] == history.done
    assert "KeyError: &#39;price&#39;" in text
    assert "who approves?" in text
    assert "1 retry" in text


def test_a_failed_run(page: Page, history: Recorded) -> None:
    text = page.text("/run", workflow="shop", id=history.failed)
    assert "failed at draft" in text
    assert 'aria-current="true" data-node="1"' in text
    assert "raise KeyError" in text
    assert "<rect x=" in text


def test_filters(page: Page, history: Recorded) -> None:
    def found(**params: Any) -> set[str]:
        return set(rows(page.text("/", **params)))

    assert found(workflow="approval") == {history.paused, history.resumed}
    assert found(status="interrupted") == {history.paused}
    assert found(thread="order A1") == {history.paused, history.resumed}
    assert found(error="PRICE") == {history.failed, history.also_failed}
    assert found(node="draft", error="price") == {history.failed, history.also_failed}
    assert len(found(since="1h")) == 10
    assert found(until="1h") == set()
