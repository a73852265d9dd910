"""docs/langgraph.md says what the examples really are, and what is kept of them."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from document_shapes import DOCUMENT, names_in, with_records
from fixtures_store import Store

import runlog

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module examples/shapes.py, which records to a file of its own."""
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", str(tmp_path / "shapes.db"))
    monkeypatch.delenv("LD_PRELOAD", raising=False)  # its child is killed: no sanitizers
    path = ROOT / "examples" / "shapes.py"
    spec = importlib.util.spec_from_file_location("shapes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shapes", module)
    spec.loader.exec_module(module)
    yield module


def test_every_example_is_in_the_document_once(shapes: ModuleType) -> None:
    names = names_in(DOCUMENT.read_text(encoding="utf-8"))
    assert sorted(names) == sorted(shapes.EXAMPLES)


def test_the_document_shows_what_is_recorded(shapes: ModuleType) -> None:
    """If it does not: run scripts/document_shapes.py, and look at what has changed."""
    document = DOCUMENT.read_text(encoding="utf-8")
    assert with_records(document, shapes) == document


def answer(page: Path, store: Store, example: Callable[[], None]) -> list[Any]:
    """Run an example, then the statement of a page for the store."""
    statements = re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    postgres, sqlite = (statement.rstrip().rstrip(";") for statement in statements)
    runlog.configure(**store.options)
    example()
    assert runlog.flush(60)
    return list(store.query(postgres if store.kind == "postgres" else sqlite))


def test_the_statements_for_what_is_stored_work(shapes: ModuleType, store: Store) -> None:
    """Of the two in the document, the first is for PostgreSQL, the other for SQLite."""
    rows = answer(DOCUMENT, store, shapes.EXAMPLES["basic"])
    assert [(place, name) for place, name, _ in rows] == [(0, "reserve"), (1, "charge")]
    assert all(inputs is not None for *_, inputs in rows)


def test_the_statements_for_calls_work(shapes: ModuleType, store: Store) -> None:
    rows = answer(ROOT / "docs" / "encoding.md", store, shapes.EXAMPLES["agent"])
    assert [row[1:5] for row in rows] == [
        ("think", "llm", "Scripted", "completed"),
        ("tools", "tool", "weather", "completed"),
        ("think", "llm", "Scripted", "completed"),
    ]
    assert all(float(row[5]) > 0 for row in rows)
    assert [row[6] and int(row[6]) for row in rows] == [25, None, 25]
