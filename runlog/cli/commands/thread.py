"""Show the runs of a thread, with the questions at which they paused, and the answers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE, WrongUsageError
from runlog.cli.history import History
from runlog.cli.names import check_names, short_ids
from runlog.cli.output import Field, Out, rfc3339
from runlog.cli.text import safe
from runlog.views.logs import began, totals_of
from runlog.views.outcome import outcome
from runlog.views.words import brief


def _time(run: Any) -> str | None:
    moment = began(run)
    return None if moment is None else rfc3339(moment)


_FIELDS = [
    Field("status", lambda one: one["status"], status=lambda one: one["status"]),
    Field("run", lambda one: one["run_id"]),
    Field("workflow", lambda one: one["wpk_id"], least=6, rank=3),
    Field("when", _time, lambda one, out: out.when(began(one)), rank=1),
    Field("duration_ms", lambda one: one["duration_ms"], right=True, rank=2),
    Field("interrupts", lambda one: one["interrupts"], least=10, rank=4),
    Field("answer", lambda one: one["answer"], least=10, rank=5),
    Field("resumes", lambda one: one["resumes"], rank=6),
    Field("resumed_by", lambda one: one["resumed_by"], rank=7),
    Field("inputs", lambda one: one["inputs"], least=10, rank=8),
    Field("outputs", lambda one: one["outputs"], least=10, rank=9),
]
_MOST = 1000
"""How many runs get_thread returns."""
_DEFAULT = [field.name for field in _FIELDS]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of thread."""
    parser.add_argument("thread", metavar="ID", nargs="?", default="")
    parser.add_argument("-w", "--workflow", metavar="NAME", help="only this workflow")
    parser.add_argument("-n", "--limit", type=options.at_least(1, _MOST), default=100)
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Show the runs of a thread."""
    if options.asks_for_fields(args, out, _FIELDS):
        return DONE
    if not args.thread:
        raise WrongUsageError("which thread? runlog list --fields run,thread has them")
    runs = history.open().get_thread(args.thread, args.workflow, args.limit)
    if not runs:
        names = {"wpk_id": args.workflow, "thread_id": args.thread}
        check_names(history, names)
        out.note("no runs")
    if args.output != "table" or args.fields:
        options.write(args, out, _FIELDS, _DEFAULT, runs)
        return DONE
    ids = short_ids([one["run_id"] for one in runs])
    if not out.is_terminal:
        ids = {}
    for one in runs:
        _tell(out, one, _ending(history, one), ids)
    return DONE


def _ending(history: History, run: Any) -> str:
    """How a run ended, and where; the whole run is read if its row does not say."""
    return outcome(run if totals_of(run) else history.run(run), whole=True)


def _tell(out: Out, run: Any, ending: str, ids: dict[str, str]) -> None:
    def line(text: str) -> None:
        out.line(out.fit(safe(text)))

    most = out.most(500)
    name = ids.get(run["run_id"], run["run_id"])
    before = run["resumes"]
    after = f"  goes on from {ids.get(before, before)}" if before else ""
    line(f"{out.when(began(run))}  {name}  {run['wpk_id']}{after}")
    if run["answer"] is not None:
        line(f"  answer: {brief(run['answer'], most)}")
    elif run["inputs"] is not None and not before:
        line(f"  asked: {_said(run['inputs'], most)}")
    out.line(out.style(out.fit(safe(f"  {ending}")), run["status"]))
    if run["status"] == "completed" and run["outputs"] is not None:
        line(f"  result: {_said(run['outputs'], most)}")


def _said(state: Any, most: int | None) -> str:
    """The last message of a state, if it has messages; else the state."""
    messages = state.get("messages") if isinstance(state, dict) else None
    last = messages[-1] if type(messages) is list and messages else None
    if isinstance(last, dict) and isinstance(last.get("content"), str):
        return brief(last["content"], most)
    return brief(state if last is None else last, most)
