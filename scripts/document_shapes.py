"""Write the programs of examples/shapes.py and agent.py, and their records, into
docs/langgraph.md.

    .venv/bin/python scripts/document_shapes.py

The page has a pair of marks for each example; this script writes the text between them. A
test fails if the text differs from the examples' current output.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENT = REPOSITORY / "docs" / "langgraph.md"
MARKED = re.compile(r"(<!-- example: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

AGENT = re.compile(r"(<!-- agent -->\n).*?(<!-- end -->)", re.DOTALL)
SHARED = re.compile(r"(<!-- shared -->\n).*?(<!-- end -->)", re.DOTALL)


def names_in(document: str) -> list[str]:
    """The examples that the document shows."""
    return [match[2] for match in MARKED.finditer(document)]


def program_of(function: Callable[..., Any]) -> str:
    """The body of an example as a program, with its blank lines."""
    source = inspect.getsource(function)
    text = textwrap.dedent(source.split(":\n", 1)[1]).rstrip()
    text = re.sub(r"\n\n(?=@|def |async def )", "\n\n\n", text)
    return re.sub(r"(\n [^\n]*\n\n)(?=\w)", r"\1\n", text)


def with_records(document: str, shapes: Any) -> str:
    """The document with the current programs and records of the examples."""

    def shown(match: re.Match[str]) -> str:
        name = match[2]
        function = getattr(shapes, shapes.ELSEWHERE.get(name, name))
        program, record = program_of(function), shapes.record(name)
        kind = "json" if record.startswith("{") else "text"
        return (
            f"{match[1]}```python\n{program}\n```\n\n```{kind}\n{record}\n```\n{match[3]}"
        )

    shared = between(shapes, "# What the examples share", "# The examples")
    document = SHARED.sub(lambda m: f"{m[1]}```python\n{shared}\n```\n{m[2]}", document)
    whole = agent_with_record(shapes.same_each_time)
    document = AGENT.sub(lambda m: f"{m[1]}{whole}\n{m[2]}", document)
    return MARKED.sub(shown, document)


def between(module: Any, start: str, end: str) -> str:
    """What stands between two comments of a module."""
    return inspect.getsource(module).split(start)[1].split(end)[0].strip()


def agent_with_record(same_each_time: Callable[[str], str]) -> str:
    """The program and the record of examples/agent.py, with placeholders."""
    path = REPOSITORY / "examples" / "agent.py"
    spec = importlib.util.spec_from_file_location("example_agent", path)
    assert spec is not None
    assert spec.loader is not None
    agent = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = agent  # inspect and pydantic look there
    spec.loader.exec_module(agent)
    program = between(agent, "# The agent", "# How its record is printed")
    record = same_each_time(agent.record())
    record = re.sub(r'("duration_ms": )[\d.]+', r"\g<1>1.2", record)
    record = re.sub(r'"owner": "[^"]*"', '"owner": "<host> <process id> ..."', record)
    return f"```python\n{program}\n```\n\n```json\n{record}\n```"


def main() -> None:
    """Rewrite the document."""
    sys.path.insert(0, str(REPOSITORY / "examples"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("POSTGRES_DSN", None)
        os.environ["RUNLOG_SQLITE_PATH"] = str(Path(folder) / "shapes.db")
        shapes = importlib.import_module("shapes")
        document = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(with_records(document, shapes), encoding="utf-8")
        shapes.runlog.close()


if __name__ == "__main__":
    main()
