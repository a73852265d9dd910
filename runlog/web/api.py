"""The views as JSON: what each address of /api/v1 gives. openapi.py describes them."""

from __future__ import annotations

from typing import Any

from runlog.reading.errors import WrongUsageError
from runlog.views.difference import difference, same_until, slower, tokens_of
from runlog.views.lines import total_tokens
from runlog.views.logs import Log
from runlog.views.markdown import run_as_markdown
from runlog.views.outcome import decisive, outcome, question
from runlog.web import lists
from runlog.web.address import Asked
from runlog.web.page_compare import read_two
from runlog.web.page_health import read_checks
from runlog.web.page_insights import read_report
from runlog.web.page_run import Whole, asked_run, chosen_place
from runlog.web.page_search import find
from runlog.web.page_thread import read_thread
from runlog.web.page_workflow import workflow as read_workflow
from runlog.web.source import Source

_PAYLOADS = ("inputs", "outputs", "metadata")
_TOKENS = 8_000
_SIZES = 1_000
"""Rows of a page of the API, at most."""


def runs(source: Source, asked: Asked) -> Any:
    """A page of runs, newest first."""
    size = asked.number("limit", lists.SIZE, 1, _SIZES)
    found = lists.read_page(source, asked, size)
    return {
        "runs": [one.line._asdict() | {"asks": one.asks} for one in found.lines],
        "next": found.next,
        "complete": found.complete,
    }


def run(source: Source, asked: Asked) -> Any:
    """A run: its outcome, and its nodes without their values."""
    _budget(asked)  # that of Markdown, which is wrong in JSON as well
    whole = asked_run(source, asked)
    one, logs = whole
    log = decisive(one, logs)
    facts = {key: one[key] for key in one if key not in (*_PAYLOADS, "node_logs")}
    return {
        **facts,
        "outcome": outcome(one, logs, whole=True),
        "at": None if log is None else log.place,
        "asks": question(one),
        "tokens": total_tokens(one),
        **{key: one.get(key) for key in _PAYLOADS},
        "nodes": [_node(log) for log in logs],
    }


def _node(log: Log) -> dict[str, Any]:
    return {
        "place": log.place,
        "node": log.node,
        "status": log.status,
        "step": log.step,
        "attempt": log.attempt,
        "parent": log.parent,
        "started": log.started,
        "duration_ms": log.duration_ms,
        "error_type": log.error_type,
        "error_text": log.error_text,
        "calls": len(log.calls),
    }


def as_markdown(source: Source, asked: Asked) -> str:
    """A run as Markdown, for a coding agent: what failed first, values cut."""
    budget = _budget(asked)
    whole: Whole = asked_run(source, asked)
    return "\n".join(run_as_markdown(whole.run, whole.logs, budget)) + "\n"


def _budget(asked: Asked) -> int:
    return asked.number("tokens", _TOKENS, 100, 1_000_000)


def node(source: Source, asked: Asked) -> Any:
    """A node log, whole; by default that of the node to blame."""
    whole = asked_run(source, asked)
    place = chosen_place(whole, asked)
    if place is None:
        raise WrongUsageError(
            "the address has no node, and no node of the run is to blame"
        )
    return {"place": place, **whole.logs[place].raw}


def thread(source: Source, asked: Asked) -> Any:
    """The runs of a thread, oldest first, tied to one another."""
    return {"thread": asked["id"], "runs": read_thread(source, asked)}


def compare(source: Source, asked: Asked) -> Any:
    """Two runs node by node, and where they part."""
    one, other = read_two(source, asked)
    found = difference(one.run, other.run)
    return {
        "same": found.same,
        "same_inputs": found.same_inputs,
        "same_until": same_until(found),
        "first": found.first,
        "values": [one.as_json() for one in found.values],
        "nodes": [
            {
                "node": pair.node,
                "parent": pair.parent,
                "same": pair.same,
                "one": None if pair.one is None else _node(pair.one),
                "other": None if pair.other is None else _node(pair.other),
                "slower_ms": slower(pair),
                "tokens_one": tokens_of(pair.one),
                "tokens_other": tokens_of(pair.other),
                "inputs": [one.as_json() for one in pair.inputs],
                "values": [one.as_json() for one in pair.values],
            }
            for pair in found.pairs
        ],
    }


def workflow(source: Source, asked: Asked) -> Any:
    """A workflow in a time and in the time before; without a name, which there are."""
    found = read_workflow(source, asked)
    if found["name"] is None:
        return {
            "workflows": [one.name for one in found["rows"]],
            "rows": found["rows"],
            "waiting": found["waiting"],
        }
    return {
        "name": found["name"],
        "window": found["window"],
        "now": _window(found["now"]),
        "before": _window(found["before"]),
        "spans": found["spans"],
        "nodes": found["nodes"],
        "failures": found["failures"],
    }


def _window(window: Any) -> dict[str, Any]:
    return {
        **window.totals._asdict(),
        "failed": window.failed,
    }


def insights(source: Source, asked: Asked) -> Any:
    """What got worse, since when, and the runs that show it."""
    report = read_report(source, asked)
    return {**report.as_json(), "notes": report.notes}


def search(source: Source, asked: Asked) -> Any:
    """Runs by words or by meaning."""
    by = asked.choose("by", ("words", "meaning"), "words")
    found = find(source, asked, by)
    return {
        "by": by,
        "hits": [
            {**hit.line._asdict(), "score": hit.score, "snippets": hit.snippets}
            for hit in found.hits
        ],
        "more": found.more,
        "waiting": found.waiting,
    }


def health(source: Source, _: Asked) -> Any:
    """What `runlog doctor` says."""
    return {"checks": read_checks(source)}
