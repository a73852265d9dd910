"""A run as Markdown within a number of tokens: what failed first, values cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runlog.views.changes import changes
from runlog.views.lines import total_tokens
from runlog.views.logs import Log
from runlog.views.outcome import decisive, outcome
from runlog.views.safe import safe, safe_lines
from runlog.views.traceback import own_frames
from runlog.views.tree import build, walk
from runlog.views.words import brief, count, duration

_CHARACTERS = 4
"""How many characters of JSON or code a token has, at the least."""
_NODES = 0.4
"""The share of the tree in what is left."""


def run_as_markdown(run: Any, logs: list[Log], budget: int) -> Iterator[str]:
    """Yield the lines of a run.

    Args:
        run: the run.
        logs: its node logs.
        budget: so many tokens at most, of about four characters each.
    """
    left = budget * _CHARACTERS
    for section in _sections(run, logs):
        made = section(left)
        taken = sum(len(line) + 1 for line in made)
        if taken > left:
            made = _cut(made, left)
            taken = left
        left -= taken
        yield from made
        if left < 2 * _CHARACTERS:
            return


def _sections(run: Any, logs: list[Log]) -> list[Any]:
    log = decisive(run, logs)
    return [
        lambda left: _head(run, logs, left),
        lambda left: _culprit(run, logs, log, left),
        lambda left: _tree(run, logs, left),
        lambda left: _value("Inputs of the run", run.get("inputs"), left // 2),
        lambda left: _value("Outputs of the run", run.get("outputs"), left),
    ]


def _cut(lines: list[str], left: int) -> list[str]:
    kept: list[str] = []
    for line in lines:
        left -= len(line) + 1
        if left < 4:
            return [*kept, "…"]
        kept.append(line)
    return kept


def _head(run: Any, logs: list[Log], left: int) -> list[str]:
    facts = [
        f"workflow {run.get('wpk_id')}",
        f"run {run.get('run_id')}",
        f"started {run.get('started_at') or run.get('created_at')}",
        count(len(logs), "node log"),
    ]
    if run.get("thread_id"):
        facts.append(f"thread {run['thread_id']}")
    if tokens := total_tokens(run):
        facts.append(count(tokens, "token"))
    title = brief(outcome(run, logs), max(20, left // 3))
    return [f"# {safe(title)}", "", safe(brief(", ".join(facts), max(20, left // 3))), ""]


def _culprit(run: Any, logs: list[Log], log: Log | None, left: int) -> list[str]:
    traceback = (log and log.error_traceback) or run.get("error_traceback")
    lines = []
    if log is not None:
        within = f" within {log.parent}" if log.parent else ""
        lines += [f"## {safe(log.node)}{safe(within)}: {safe(log.status)}", ""]
    if traceback:
        lines += [*_fenced("\n".join(own_frames(traceback)), left // 3), ""]
    if log is not None:
        lines += _value("Inputs of the node", log.inputs, left // 3)
        for change in changes(run, log.place, logs):
            lines.append(safe(f"- {change.kind} {change.key}: {brief(change.after)}"))
        for call in log.calls[-3:]:
            said = call.get("error_text") or call.get("output") or call.get("outputs")
            name = call.get("model") or call.get("name")
            lines.append(
                safe(f"- {call.get('kind')} {name} {call.get('status')}: {brief(said)}")
            )
        if log.calls:
            lines.append("")
    return lines


def _tree(run: Any, logs: list[Log], left: int) -> list[str]:
    if not logs:
        return []
    lines, left = ["## Nodes", ""], int(left * _NODES)
    for placed in walk(build(run, logs)):
        log = placed.node.log
        tries = f" try {log.attempt}" if placed.node.attempts > 1 else ""
        status = "" if log.status == "completed" else f" **{log.status}**"
        line = f"{'  ' * placed.depth}- {log.node}{tries}{status} "
        line += duration(log.duration_ms)
        left -= len(line) + 1
        if left < 0:
            lines.append("- …")
            break
        lines.append(safe(line))
    return [*lines, ""]


def _value(title: str, value: Any, left: int) -> list[str]:
    if value is None or left < 40:
        return []
    return [f"{title}:", *_fenced(brief(value, max(20, left - 40)), left), ""]


def _fenced(text: str, left: int) -> list[str]:
    """A block of code, whose fence is longer than any in the text."""
    text = text if len(text) <= left else text[: max(0, left)] + "…"
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, *safe_lines(text), fence]
