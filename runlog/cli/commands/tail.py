"""Show runs and their nodes as they happen: a line for each event, oldest first.

With -f it continues until Ctrl-C. Runs of dead processes are marked as lost.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from runlog.cli import options
from runlog.cli.errors import DONE, WrongUsageError
from runlog.cli.history import History
from runlog.cli.names import check_names
from runlog.cli.output import Out, rfc3339, to_json
from runlog.cli.text import safe
from runlog.reading.times import moment
from runlog.views.logs import Log, began, read_logs
from runlog.views.outcome import error_of, outcome
from runlog.views.words import duration

_WATCHED = 5_000
"""How many of the newest runs are looked at each time."""
_OPEN_AMONG = 100
"""The same without -f."""
_REMEMBERED = 20_000
"""Of how many runs it is known what was said."""
_OVERLAP = timedelta(minutes=1)
"""Runs that were journaled arrive late."""


class _Event(NamedTuple):
    """What happened to a run or a node."""

    at: float
    run: str
    workflow: str
    what: str
    """ "started", or the status of the end."""
    node: str | None
    said: str


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of tail."""
    parser.add_argument(
        "-f", "--follow", action="store_true", help="continue until Ctrl-C"
    )
    parser.add_argument("-w", "--workflow", metavar="NAME", help="only this workflow")
    parser.add_argument(
        "-n",
        "--limit",
        type=options.at_least(0),
        default=5,
        help="how many earlier runs to show",
    )
    parser.add_argument(
        "--interval",
        type=options.seconds,
        default=1.0,
        metavar="SECONDS",
        help="how often to read",
    )
    options.add_format(parser, fields=False, formats=("table", "jsonl"))


def run(args: Namespace, history: History, out: Out) -> int:
    """Show what happens."""
    filters = options.filters_of(Namespace(workflow=args.workflow, since=None), history)
    _check(history, filters, args.follow, out)
    watch = _Watch(history, filters, args.follow)
    for event in watch.look(args.limit):
        _write(out, event, args.output == "jsonl")
    out.flush()
    while args.follow:
        time.sleep(max(0.05, args.interval))
        for event in watch.look(None):
            _write(out, event, args.output == "jsonl")
        out.flush()
    return DONE


def _check(history: History, filters: dict[str, Any], follow: bool, out: Out) -> None:
    """Make sure that the workflow exists. Who follows may wait for its first run."""
    try:
        check_names(history, filters)
    except WrongUsageError as error:
        if not follow:
            raise
        out.note(f"{error} (waiting for its first run)")


class _Watch:
    """The runs that were seen, and what was said of each."""

    def __init__(self, history: History, filters: dict[str, Any], follow: bool) -> None:
        self._history = history
        self._filters = filters
        self._follow = follow
        self._seen: dict[str, Any] = {}
        self._said: dict[str, set[Any]] = {}
        self._names: dict[str, tuple[str, str]] = {}
        self._since = datetime.now(UTC)

    def look(self, most: int | None) -> list[_Event]:
        """Return what has happened since the last look, oldest first.

        Args:
            most: at the first look, of how many runs; others count as known.
        """
        filters = dict(self._filters)
        if most is None:
            filters["since"] = self._since - _OVERLAP
        events: list[_Event] = []
        newest = _WATCHED if self._follow else max(most or 0, _OPEN_AMONG)
        rows = list(self._history.rows(newest, **filters))
        rows += self._still_open({row["id"] for row in rows})
        for place, row in enumerate(rows):
            mark = (row["status"], row["updated_at"])
            if self._seen.get(row["id"]) == mark:
                continue
            self._seen[row["id"]] = mark
            if most is None or place < most or row["status"] == "running":
                events += self._news(self._history.run(row))
        while len(self._seen) > _REMEMBERED:
            oldest = next(iter(self._seen))
            for known in (self._seen, self._said, self._names):
                known.pop(oldest, None)
        if rows:
            self._since = max(self._since, rows[0]["created_at"])
        return sorted(events, key=lambda event: event.at)

    def _still_open(self, listed: set[str]) -> list[Any]:
        """The open runs of before, which a list of the newest may not have any more."""
        ours = [
            key
            for key, mark in self._seen.items()
            if mark[0] == "running" and key in self._names and key not in listed
        ]
        found = [self._history.open().get_run(*self._names[key]) for key in ours]
        return [run for run in found if run is not None]

    def _news(self, run: Any) -> list[_Event]:
        said = self._said.setdefault(run["id"], set())
        self._names[run["id"]] = (run["run_id"], run["wpk_id"])
        found = []
        for key, event in _events(run):
            if key not in said:
                said.add(key)
                found.append(event)
        return found


def _events(run: Any) -> list[tuple[Any, _Event]]:
    """Everything that is known of a run, each with a key of its own."""
    name, workflow = run["run_id"], run["wpk_id"]
    start = began(run) or 0.0
    logs = read_logs(run)
    events: list[tuple[Any, _Event]] = [
        ("began", _Event(start, name, workflow, "started", None, ""))
    ]
    for log in logs:
        at = log.started or start
        events.append(
            ((log.place, "began"), _Event(at, name, workflow, "started", log.node, ""))
        )
        if log.duration_ms is not None:
            at += log.duration_ms / 1000
        if log.status != "running":
            said = _said(log)
            events.append(
                (
                    (log.place, log.status),
                    _Event(at, name, workflow, log.status, log.node, said),
                )
            )
    if run["status"] != "running":
        spent = (run["duration_ms"] or 0) / 1000
        end = max([start + spent, *(event.at for _, event in events)])
        said = outcome(run, logs, whole=True)
        events.append(
            ((run["status"],), _Event(end, name, workflow, run["status"], None, said))
        )
    return events


def _said(log: Log) -> str:
    spent = None if log.duration_ms is None else duration(log.duration_ms)
    return ": ".join(filter(None, (spent, error_of(log.raw))))


def _clock(seconds: float) -> str:
    return moment(seconds).astimezone().strftime("%H:%M:%S")


def _write(out: Out, event: _Event, as_json: bool) -> None:
    if as_json:
        out.line(to_json({**event._asdict(), "at": rfc3339(event.at)}))
        return
    at = _clock(event.at) if out.is_terminal else rfc3339(event.at)
    name = event.run[:13] if out.is_terminal else event.run
    what = event.workflow if event.node is None else f"  {event.node}"
    end = event.said if event.said.startswith(event.what) else event.what
    said = event.said if end is event.what else ""
    text = f"{at}  {name}  {what}  {end}  {said}".rstrip()
    out.line(out.style(out.fit(safe(text)), event.what))
