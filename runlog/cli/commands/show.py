"""Show a run: its outcome, what failed, and its nodes.

RUN is an id, a unique beginning of one, - (the newest, the default), @failed (the newest
that failed) or @failed~2 (the second before that). With -o jsonl, -o tsv and --fields, a
row is a node log; with --node or --state, a log of that node, with its values.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from runlog.cli import log_rows, options
from runlog.cli.errors import DONE, FAULT, WrongUsageError
from runlog.cli.history import History
from runlog.cli.names import find_run, nearest
from runlog.cli.nodes import call_lines, node_lines, tree_lines
from runlog.cli.output import Out, to_json, to_lines
from runlog.cli.text import cut, cut_frame, safe, safe_lines
from runlog.views.changes import changes, state_after
from runlog.views.lines import total_tokens
from runlog.views.logs import Log, began, fact, read_logs
from runlog.views.money import cost_of
from runlog.views.outcome import decisive, error_of, outcome, question
from runlog.views.traceback import own_frames
from runlog.views.words import brief, count

_LINES = 40
_BAD = ("failed", "lost", "cancelled")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of show."""
    parser.add_argument("name", metavar="RUN", nargs="?", default="-")
    parser.add_argument("-w", "--workflow", metavar="NAME", help="of this workflow")
    parser.add_argument("--node", metavar="NODE", help="only this node, with its values")
    parser.add_argument("--calls", action="store_true", help="the calls of each node")
    parser.add_argument(
        "--full", action="store_true", help="every node, and whole values"
    )
    parser.add_argument("--state", metavar="NODE", help="the state before and after NODE")
    parser.add_argument(
        "--log",
        type=options.at_least(0),
        metavar="N",
        help="with --node or --state: only this log; --md shows the numbers",
    )
    parser.add_argument("--traceback", action="store_true", help="with library frames")
    options.add_format(parser)
    parser.add_argument(
        "--md",
        dest="output",
        action="store_const",
        const="md",
        help="-o md: Markdown, for a coding agent",
    )
    parser.add_argument(
        "--budget",
        type=options.at_least(100),
        default=4000,
        metavar="TOKENS",
        help="the length of --md",
    )
    parser.add_argument(
        "--exit-status", action="store_true", help="exit with 1 if the run failed"
    )


def run(args: Namespace, history: History, out: Out) -> int:
    """Show a run."""
    _check(args)
    if options.asks_for_fields(args, out, log_rows.FIELDS):
        return DONE
    found = find_run(history, args.name, args.workflow)
    logs = read_logs(found)
    is_node = args.node is not None or args.state is not None
    as_rows = ("json", "jsonl", "tsv") if is_node else ("jsonl", "tsv")
    if args.fields is not None or args.output in as_rows:
        _write_rows(out, found, logs, args)
    elif args.output == "json":
        out.line(to_json({"outcome": outcome(found, logs, whole=True), **found}, 2))
    elif args.output == "md":
        for line in _markdown(found, logs, args):
            out.line(line)
    elif args.state is not None:
        _show_state(out, found, logs, args)
    elif args.node is not None:
        _show_nodes(out, found, logs, args)
    else:
        _show_run(out, found, logs, args)
    return FAULT if args.exit_status and found["status"] in _BAD else DONE


def _check(args: Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        WrongUsageError: there are some.
    """
    if args.log is not None and args.node is None and args.state is None:
        raise WrongUsageError("--log needs --node or --state: whose log?")
    if args.node is not None and args.state is not None:
        raise WrongUsageError("give --node or --state, not both")


def _write_rows(out: Out, run: Any, logs: list[Log], args: Namespace) -> None:
    name = args.node if args.state is None else args.state
    chosen = logs if name is None else _named(logs, name, args.log)
    default = log_rows.SHORT if name is None else log_rows.WHOLE
    if args.state is not None:
        default = log_rows.STATE
    rows = log_rows.rows_of(run, logs, chosen)
    options.write(args, out, log_rows.FIELDS, default, rows)


def _named(logs: list[Log], name: str, number: int | None) -> list[Log]:
    """The logs of a node, or the one of them that has this number."""
    found = [log for log in logs if log.node == name]
    if not found:
        near = nearest(name, {log.node for log in logs})
        raise WrongUsageError(f"the run has no node {name!r}{near}")
    if number is None:
        return found
    chosen = [log for log in found if log.place == number]
    if not chosen:
        numbers = brief(", ".join(str(log.place) for log in found))
        raise WrongUsageError(f"log {number} is not of {name!r}, which has {numbers}")
    return chosen


def _markdown(run: Any, logs: list[Log], args: Namespace) -> Iterator[str]:
    from runlog.views.markdown import nodes_as_markdown, run_as_markdown

    name = args.node if args.state is None else args.state
    if name is None:
        return run_as_markdown(run, logs, args.budget)
    chosen = _named(logs, name, args.log)
    return nodes_as_markdown(run, logs, chosen, args.budget, args.state is not None)


def _show_run(out: Out, run: Any, logs: list[Log], args: Namespace) -> None:
    whole = args.full or not out.is_terminal
    out.paragraph(outcome(run, logs, whole=whole), str(run["status"]))
    out.paragraph("  ".join(_facts(out, run)), "dim")
    log = decisive(run, logs)
    if log is not None and run["status"] in _BAD:
        _show_culprit(out, log, args)
    if run.get("error_traceback"):
        _show_traceback(out, run["error_traceback"], args)
    if run["status"] == "interrupted" and (asked := question(run)) is not None:
        out.line()
        _show_value(out, "asks", asked, args.full)
    if logs:
        out.line()
        for line in tree_lines(out, run, logs, args.calls, args.full):
            out.line(line)
    out.line()
    _show_value(out, "inputs", run.get("inputs"), args.full)
    _show_value(out, "outputs", run.get("outputs"), args.full)


def _facts(out: Out, run: Any) -> list[str]:
    facts = [str(run["wpk_id"]), f"run {run['run_id']}", out.when(began(run))]
    if run.get("thread_id"):
        facts.append(f"thread {run['thread_id']}")
    if tokens := total_tokens(run):
        facts.append(count(tokens, "token"))
        if (price := cost_of(run)) is not None:
            facts.append(f"cost {price}")
    if fact(run, "resumed") is True:
        facts.append("resumed")
    return facts


def _show_culprit(out: Out, log: Log, args: Namespace) -> None:
    out.line()
    _show_place(out, log)
    if log.error_traceback:
        _show_traceback(out, log.error_traceback, args)


def _show_place(out: Out, log: Log) -> None:
    where = f"{log.node}, step {log.step}" if log.step is not None else log.node
    within = f", within {log.parent}" if log.parent else ""
    tries = f", try {log.attempt}" if log.attempt > 1 else ""
    out.paragraph(f"{where}{within}{tries}", "bold")


def _show_traceback(out: Out, text: str, args: Namespace) -> None:
    lines = text.split("\n") if args.traceback else own_frames(text)
    columns = None if args.full else out.width
    for line in lines:
        for one in safe_lines(line):
            text = one if columns is None else cut_frame(out.shown(one), columns - 2)
            out.line(f"  {text}")


def _show_value(out: Out, title: str, value: Any, whole: bool) -> None:
    if value is None:
        return
    label = out.style(title, "bold")
    if not whole and out.is_terminal:
        room = max(10, (out.width or 80) - len(title) - 2)
        out.line(f"{label}  {cut(out.shown(safe(brief(value, 500))), room)}")
        return
    out.line(f"{label}")
    for line in safe_lines(value) if isinstance(value, str) else to_lines(value):
        out.line(f"  {line}")


def _show_nodes(out: Out, run: Any, logs: list[Log], args: Namespace) -> None:
    chosen = _named(logs, args.node, args.log)
    heads = node_lines(out, run, logs, chosen)
    for log, head in zip(chosen, heads, strict=True):
        out.line(head)
        _show_node(out, run, logs, log, args)


def _show_node(out: Out, run: Any, logs: list[Log], log: Log, args: Namespace) -> None:
    if (error := error_of(log.raw)) is not None:
        out.paragraph(brief(error, out.most(500, args.full)), log.status)
    if log.error_traceback:
        _show_traceback(out, log.error_traceback, args)
    most = out.most(200, args.full)
    for change in changes(run, log.place, logs):
        text = f"  {change.kind} {change.key}: {brief(change.after, most)}"
        out.line(out.fit(safe(text), args.full))
    _show_value(out, "inputs", log.inputs, args.full)
    _show_value(out, "outputs", log.outputs, args.full)
    for call in log.calls:
        for line in call_lines(out, call, "  ", args.full):
            out.line(line)
    for event in log.events:
        text = f"  event {event.get('name')}: {brief(event.get('data'), most)}"
        out.line(out.fit(safe(text), args.full))
    out.line()


def _show_state(out: Out, run: Any, logs: list[Log], args: Namespace) -> None:
    most = out.most(60, args.full)
    for log in _named(logs, args.state, args.log):
        _show_place(out, log)
        before, after = log.inputs, state_after(run, log.place, logs)
        _show_value(out, "before", before, args.full)
        _show_value(out, "after", after, args.full)
        for change in changes(run, log.place, logs):
            was = "" if change.before is None else f"{brief(change.before, most)} → "
            text = f"  {change.kind} {change.key}: {was}{brief(change.after, most)}"
            out.line(out.fit(safe(text), args.full))
        out.line()
