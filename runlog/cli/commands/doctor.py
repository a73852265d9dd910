"""Look for faults of the set-up, and say how to mend each. Exit with 1 for a fault."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

from runlog.cli import options, places
from runlog.cli.commands.path import file_size
from runlog.cli.errors import AWAY, DONE, FAULT, AwayError
from runlog.cli.history import History
from runlog.cli.output import Field, Out
from runlog.cli.text import safe
from runlog.views.words import duration, size

_NEEDED = 100_000_000
_CLOCK = 2.0


class _Check(NamedTuple):
    """What was looked at, and how to mend it."""

    what: str
    state: str
    """ "ok", "note" or "fault"."""
    said: str
    fix: str | None = None


_COLOURS = {"ok": "completed", "note": "interrupted", "fault": "failed"}
_FIELDS = [
    Field("check", lambda one: one.what),
    Field("state", lambda one: one.state, status=lambda one: _COLOURS[one.state]),
    Field("found", lambda one: one.said),
    Field("fix", lambda one: one.fix),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of doctor."""
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Look for faults."""
    if options.asks_for_fields(args, out, _FIELDS):
        return DONE
    away: list[bool] = []
    checks = list(_checks(history, away))
    if args.output == "table" and args.fields is None:
        for one in checks:
            state = out.style(f"{one.state:5}", _COLOURS[one.state])
            out.line(f"{state}  {one.what:10}  {safe(one.said)}")
            if one.fix:
                out.line(f"{'':17}  -> {safe(one.fix)}")
    else:
        options.write(args, out, _FIELDS, ["check", "state", "found", "fix"], checks)
    if away:
        return AWAY
    return FAULT if any(one.state == "fault" for one in checks) else DONE


def _checks(history: History, away: list[bool]) -> Iterator[_Check]:
    yield from _versions()
    place = history.place
    yield _Check("store", "ok", f"{place.kind}: {place.shown()} (by {place.chosen})")
    yield from _settings(place)
    yield from _file(place)
    try:
        if place.dsn is not None:
            yield from _server(place.dsn)
        places.check(place)
        yield _Check("history", "ok", "can be read, and has the tables of this version")
    except AwayError as error:
        away.append(True)
        yield _Check("history", "fault", str(error), _fix(place, str(error)))
        return
    yield from _recorder(history)


def _versions() -> Iterator[_Check]:
    from importlib.metadata import PackageNotFoundError, version

    from runlog import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    found = [f"runlog {__version__}", f"Python {python}"]
    for name in ("langgraph", "langchain-core"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    yield _Check("versions", "ok", ", ".join(found))


def _settings(place: places.Place) -> Iterator[_Check]:
    import runlog

    names = [name for name in os.environ if name.startswith(("RUNLOG_", "MILVUS_"))]
    names += [name for name in ("OPENAI_KEY", "OPENAI_BASE_URL") if name in os.environ]
    try:
        runlog.Recorder(sqlite_path=place.path, postgres_dsn=place.dsn).close(0)
    except runlog.RunlogError as error:
        yield _Check(
            "settings", "fault", str(error), "correct the variable that it names"
        )
        return
    yield _Check("settings", "ok", ", ".join(sorted(names)) or "no variable is set")


def _file(place: places.Place) -> Iterator[_Check]:
    what = "file" if place.dsn is None else "journal"
    folder = os.path.dirname(place.path)
    bytes_ = file_size(place.path)
    if bytes_ is not None:
        yield _Check(what, "ok", f"{place.path}, {size(bytes_)} with its -wal")
        if not os.access(place.path, os.W_OK):
            fix = f"chown or chmod {place.path}"
            yield _Check(what, "fault", "this user may not write the file", fix)
    elif place.dsn is not None:
        yield _Check(what, "ok", f"{place.path}, not needed so far")
    if not os.access(folder, os.W_OK | os.X_OK):
        fix = f"make {folder}, or set RUNLOG_SQLITE_PATH"
        yield _Check(what, "fault", f"nothing can be made in {folder}", fix)
        return
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    said = f"{size(free)} free in {folder}"
    yield _judge("disk", free >= _NEEDED, said, "free some: recording needs space")


def _judge(what: str, fine: bool, said: str, fix: str) -> _Check:
    return _Check(what, "ok", said) if fine else _Check(what, "fault", said, fix)


def _server(dsn: str) -> Iterator[_Check]:
    begun = time.time()
    found = places.look(dsn)["database"]
    ended = time.time()
    yield _Check(
        "server",
        "ok",
        f"PostgreSQL {found['version']}, answers in {duration((ended - begun) * 1e3)}",
    )
    if found["standby"] or found["read_only"]:
        fix = "name the primary, with target_session_attrs=read-write"
        yield _Check("server", "fault", "it takes no writes", fix)
    off = max(begun - found["clock"], found["clock"] - ended, 0.0)
    said = f"differs from the server's by {duration(off * 1e3)}"
    yield _judge("clock", off < _CLOCK, said, "set both clocks by NTP")
    if found["missing"]:
        fix = "grant them: docs/operations.md, Rights in PostgreSQL"
        yield _Check("rights", "fault", f"missing: {found['missing']}", fix)
    else:
        more = "" if found["may_create"] else "; migrations need CREATE on the schema"
        yield _Check("rights", "ok", f"all that recording needs{more}")


def _fix(place: places.Place, said: str) -> str:
    if "migrate" in said or "update runlog" in said:
        return said.rpartition(": ")[2]
    if place.dsn is not None:
        return "start the server, or correct POSTGRES_DSN; or run runlog migrate apply"
    return "record a run, or name the right file with RUNLOG_SQLITE_PATH or --db"


def _recorder(history: History) -> Iterator[_Check]:
    found: dict[str, Any] = history.open().stats()
    for name, text, fix in (
        (
            "waiting",
            "runs wait in the journal",
            "the next program that records forwards them",
        ),
        (
            "waiting_elsewhere",
            "runs wait for another database",
            "docs/operations.md, Sharing a journal",
        ),
        (
            "beside",
            "runs wait beside the locked file",
            "look for a program that holds its lock",
        ),
    ):
        if found[name]:
            yield _Check("journal", "note", f"{found[name]:,} {text}", fix)
    if found["rejected"]:
        said = f"{found['rejected']:,} runs were rejected by the server"
        yield _Check("journal", "fault", said, "docs/operations.md, Rejected runs")
    lost = history.page(1, status="lost").runs
    if lost:
        fix = "runlog list --status lost"
        yield _Check("lost", "note", "there are runs whose process died", fix)
