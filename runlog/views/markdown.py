"""Runs and nodes as Markdown within a number of tokens: what failed first, values cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from runlog.views.changes import changes, state_after
from runlog.views.lines import total_tokens
from runlog.views.logs import Log
from runlog.views.outcome import decisive, error_of, outcome
from runlog.views.preview import NODES, preview
from runlog.views.safe import safe, safe_lines
from runlog.views.traceback import own_frames
from runlog.views.tree import build, walk
from runlog.views.words import brief, count, duration

_CHARACTERS = 4
"""How many characters of JSON or code a token has, at the least."""
_NODES = 0.4
"""The share of the tree in what is left."""
_TIMES = 5
"""How many logs of a node are shown."""
_BRIEF = 400

Section = Callable[[int], list[str]]
"""Makes lines, given how many characters are left for them."""


def run_as_markdown(run: Any, logs: list[Log], budget: int) -> Iterator[str]:
    """Yield the lines of a run.

    Args:
        run: the run.
        logs: its node logs.
        budget: so many tokens at most, of about four characters each.
    """
    yield from _within(budget * _CHARACTERS, _sections(run, logs))


def nodes_as_markdown(
    run: Any, logs: list[Log], chosen: list[Log], budget: int, state: bool = False
) -> Iterator[str]:
    """Yield the lines of some node logs of a run, with their values.

    Args:
        run: the run.
        logs: its node logs.
        chosen: those of them that are wanted. Of more than five, five are shown: first
            those that did not complete, then the latest.
        budget: so many tokens at most, of about four characters each.
        state: the state before and after, in place of inputs and outputs.
    """
    left = budget * _CHARACTERS
    ranked = sorted(chosen, key=lambda log: (log.status == "completed", -log.place))
    shown = sorted(ranked[:_TIMES], key=lambda log: log.place)
    if others := sorted(log.place for log in ranked[_TIMES:]):
        said = f"{count(len(others), 'more log')} left out: {', '.join(map(str, others))}"
        yield from (made := [brief(said, left // 10), ""])
        left -= sum(len(line) + 1 for line in made)
    for at, log in enumerate(shown):
        share = left // (len(shown) - at)
        for line in _within(share, _node_sections(run, logs, log, state)):
            left -= len(line) + 1
            yield line


def _within(left: int, sections: list[Section]) -> Iterator[str]:
    """Yield the lines of sections, as long as so many characters are left for them."""
    for section in sections:
        made = section(left)
        taken = sum(len(line) + 1 for line in made)
        if taken > left:
            made = _cut(made, left)
            taken = left
        left -= taken
        yield from made
        if left < 2 * _CHARACTERS:
            return


def _sections(run: Any, logs: list[Log]) -> list[Section]:
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
        lines += [_call(call) for call in log.calls[-3:]]
        if log.calls:
            lines.append("")
    return lines


def _call(call: dict[str, Any], length: int = 200) -> str:
    said = call.get("error_text") or call.get("output") or call.get("outputs")
    name = call.get("model") or call.get("name")
    head = f"- {call.get('kind')} {name} {call.get('status')}"
    return safe(f"{head}: {brief(said, length)}")


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


def _node_sections(run: Any, logs: list[Log], log: Log, state: bool) -> list[Section]:
    names = ("Before", "After") if state else ("Inputs", "Outputs")
    after = state_after(run, log.place, logs) if state else log.outputs
    return [
        lambda left: _node_head(log, left),
        lambda left: _node_error(log, left),
        lambda left: _cut(_node_changes(run, logs, log), left // 4),
        lambda left: _json(names[0], log.inputs, left // 3),
        lambda left: _json(names[1], after, left // 2),
        lambda left: _node_calls(log, left),
    ]


def _node_head(log: Log, left: int) -> list[str]:
    within = f" within {log.parent}" if log.parent else ""
    title = safe(brief(f"{log.node}{within}: {log.status}", max(20, left // 3)))
    facts = [f"log {log.place}"]
    if log.step is not None:
        facts.append(f"step {log.step}")
    if log.attempt > 1:
        facts.append(f"try {log.attempt}")
    return [f"## {title}", "", f"{', '.join(facts)}, {duration(log.duration_ms)}", ""]


def _node_error(log: Log, left: int) -> list[str]:
    lines = []
    if error := error_of(log.raw):
        lines += [safe(brief(error, max(20, left // 4))), ""]
    if log.error_traceback:
        own = "\n".join(own_frames(log.error_traceback))
        lines += [*_fenced(own, left // 4), ""]
    return lines


def _node_changes(run: Any, logs: list[Log], log: Log) -> list[str]:
    found = changes(run, log.place, logs)
    lines = [safe(f"- {one.kind} {one.key}: {brief(one.after)}") for one in found]
    return ["Changes:", *lines, ""] if lines else []


def _node_calls(log: Log, left: int) -> list[str]:
    lines = [_call(call, _BRIEF) for call in log.calls]
    events = [f"- {one.get('name')}: {brief(one.get('data'))}" for one in log.events]
    made = ["Calls:", *lines, ""] if lines else []
    made += ["Events:", *map(safe, events), ""] if events else []
    return _cut(made, left)


def _json(title: str, value: Any, left: int) -> list[str]:
    if value is None:
        return []
    if left < 100:
        return [f"{title}: …", ""]
    shown = preview(value, NODES, left - 60)
    return [f"{title}:", *_fenced(shown.text, left), ""]
