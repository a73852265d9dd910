"""Failures that are alike, by type, node and the message without what varies."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from runlog.views.lines import totals_of_logs
from runlog.views.logs import began, text, totals_of

_UUID = r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
_TIME = r"[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
_MASKS = {
    "<email>": re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+"),  # in linear time
    "<url>": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)]+"),
    "<uuid>": re.compile(_UUID),
    "<time>": re.compile(rf"\b\d{{4}}-\d\d-\d\d(?:{_TIME})?"),
    "<address>": re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"),
    "<path>": re.compile(r"(?<![\w<])(?:/[\w.@%+~-]+){2,}/?"),
    "<hex>": re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b"),
    "<n>": re.compile(
        r"(?<![\w.])(?<!UTF-)(?<!utf-)[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?"
    ),
}
_LONGEST = 2_000


class Group(NamedTuple):
    """Runs that failed alike."""

    error: str
    """The type of the error."""
    node: str | None
    template: str
    """The message, with a mark for each number, id, path, time and address."""
    number: int
    workflows: tuple[str, ...]
    newest: str
    """The run_id of the newest run."""
    newest_workflow: str
    last: float | None
    """When that run began, in seconds since 1970."""
    first: float | None
    """When the oldest began."""


def template(message: str) -> str:
    """Return a message with marks in place of what varies.

    Numbers, ids, hashes, paths, addresses, URLs, e-mail addresses and times vary. Names
    in quotes stay: KeyError 'price' is another failure than KeyError 'name'.
    """
    message = message[:_LONGEST]
    for name, pattern in _MASKS.items():
        message = pattern.sub(name, message)
    return message


def group(runs: Any) -> list[Group]:
    """Return the failures among runs, the most frequent first.

    Args:
        runs: any number of runs: rows of `list_runs` that have totals, or whole ones of
            `get_run`. It is read once, and no run is kept.
    """
    found: dict[tuple[str, str | None, str], Group] = {}
    for run in runs:
        kind = text(run.get("error_type"))
        if kind is None and run.get("status") not in ("failed", "lost"):
            continue
        node = (totals_of(run) or totals_of_logs(run)).get("at")
        error = kind or str(run.get("status"))
        key = (error, node, template(text(run.get("error_text")) or ""))
        found[key] = _add(found.get(key), key, run)
    return sorted(found.values(), key=lambda one: (-one.number, -(one.last or 0.0)))


def _add(before: Group | None, key: tuple[str, str | None, str], run: Any) -> Group:
    workflow, moment, name = str(run.get("wpk_id")), began(run), str(run.get("run_id"))
    if before is None:
        return Group(*key, 1, (workflow,), name, workflow, moment, moment)
    known = workflow in before.workflows
    found = before._replace(
        number=before.number + 1,
        workflows=before.workflows if known else (*before.workflows, workflow),
    )
    if moment is not None and (before.last is None or moment > before.last):
        found = found._replace(last=moment, newest=name, newest_workflow=workflow)
    if moment is not None and (before.first is None or moment < before.first):
        found = found._replace(first=moment)
    return found
