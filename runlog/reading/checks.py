"""Faults of the set-up, and how to mend each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from runlog.reading import places
from runlog.reading.errors import AwayError
from runlog.reading.places import file_size
from runlog.views.words import count, duration, size

_NEEDED = 100_000_000
_CLOCK = 2.0
_LAG = 10.0


class Check(NamedTuple):
    """What was looked at, and how to mend it."""

    what: str
    state: str
    """ "ok", "note" or "fault"."""
    said: str
    fix: str | None = None
    away: bool = False
    """Whether the history can't be read."""


def checks_of(place: places.Place, open_: Callable[[], Any]) -> Iterator[Check]:
    """Yield what was looked at.

    Args:
        place: where the history is.
        open_: returns a recorder that reads it.
    """
    from runlog import RunlogError

    yield from _versions()
    yield Check("store", "ok", f"{place.kind}: {place.shown()} (by {place.chosen})")
    yield from _settings(place)
    yield from _file(place)
    try:
        if place.dsn is not None:
            yield from _server(place.dsn)
        places.check(place)
        yield Check("history", "ok", "can be read, and has the tables of this version")
    except AwayError as error:
        yield Check("history", "fault", str(error), _fix(place, str(error)), True)
        return
    try:
        yield from _recorder(open_())
    except RunlogError as error:
        fix = "correct the cause, or name another history with --db"
        yield Check("history", "fault", " ".join(str(error).split()), fix, True)


def _versions() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    from runlog import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    found = [f"runlog {__version__}", f"Python {python}"]
    for name in ("langgraph", "langchain-core"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    yield Check("versions", "ok", ", ".join(found))


def _settings(place: places.Place) -> Iterator[Check]:
    import runlog

    names = [name for name in os.environ if name.startswith(("RUNLOG_", "MILVUS_"))]
    names += [name for name in ("OPENAI_KEY", "OPENAI_BASE_URL") if name in os.environ]
    try:
        runlog.Recorder(
            sqlite_path=place.path, postgres_dsn=place.dsn or "", read_dsn=place.read_dsn
        ).close(0)
    except runlog.RunlogError as error:
        yield Check("settings", "fault", str(error), "correct that variable")
        return
    yield Check("settings", "ok", ", ".join(sorted(names)) or "no variable is set")


def _file(place: places.Place) -> Iterator[Check]:
    what = "file" if place.dsn is None else "journal"
    folder = os.path.dirname(place.path)
    bytes_ = file_size(place.path)
    if bytes_ is not None:
        yield Check(what, "ok", f"{place.path}, {size(bytes_)} with its -wal")
        if not os.access(place.path, os.W_OK):
            fix = f"chown or chmod {place.path}"
            yield Check(what, "fault", "this user may not write the file", fix)
    elif place.dsn is not None:
        yield Check(what, "ok", f"{place.path}, not needed so far")
    if not os.access(folder, os.W_OK | os.X_OK):
        verb = "chown or chmod" if os.path.isdir(folder) else "make"
        fix = f"{verb} {folder}, or set RUNLOG_SQLITE_PATH"
        yield Check(what, "fault", f"no file can be created in {folder}", fix)
        return
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    said = f"{size(free)} free in {folder}"
    yield _judge("disk", free >= _NEEDED, said, "free some: recording needs space")


def _judge(what: str, fine: bool, said: str, fix: str) -> Check:
    return Check(what, "ok", said) if fine else Check(what, "fault", said, fix)


def _server(dsn: str) -> Iterator[Check]:
    begun = time.time()
    found = places.look(dsn)["database"]
    ended = time.time()
    yield Check(
        "server",
        "ok",
        f"PostgreSQL {found['version']}, answers in {duration((ended - begun) * 1e3)}",
    )
    if found["standby"] or found["read_only"]:
        fix = "name the primary, with target_session_attrs=read-write"
        yield Check("server", "fault", "it takes no writes", fix)
    off = max(begun - found["clock"], found["clock"] - ended, 0.0)
    said = f"differs from the server's by {duration(off * 1e3)}"
    yield _judge("clock", off < _CLOCK, said, "set both clocks by NTP")
    if found["missing"]:
        fix = "grant them: docs/operations.md, Rights in PostgreSQL"
        yield Check("rights", "fault", f"missing: {found['missing']}", fix)
    else:
        more = "" if found["may_create"] else "; migrations need CREATE on the schema"
        yield Check("rights", "ok", f"enough to record{more}")


def _fix(place: places.Place, said: str) -> str:
    if any(fix in said for fix in ("migrate", "update runlog", "copy it")):
        return said.rpartition(": ")[2]
    if "is damaged" in said:
        return said.partition("): ")[2]
    if place.dsn is not None:
        return "start the server, or correct POSTGRES_DSN; or run runlog migrate apply"
    return "record a run, or name the right file with RUNLOG_SQLITE_PATH or --db"


def _recorder(recorder: Any) -> Iterator[Check]:
    from runlog import ConfigError

    found: dict[str, Any] = recorder.stats()
    for name, where, fix in (
        (
            "waiting",
            "in the journal",
            "the next program that records forwards them",
        ),
        (
            "waiting_elsewhere",
            "for another database",
            "docs/operations.md, Sharing a journal",
        ),
        (
            "beside",
            "beside the locked file",
            "find the program that holds its lock",
        ),
    ):
        if found[name]:
            wait = count(found[name], "run waits", "runs wait")
            yield Check("journal", "note", f"{wait} {where}", fix)
    if found["rejected"]:
        were = count(found["rejected"], "run was", "runs were")
        said = f"{were} rejected by the server"
        yield Check("journal", "fault", said, "docs/operations.md, Rejected runs")
    try:
        lost = recorder.list_runs(limit=1, status="lost").runs
    except ConfigError as error:
        yield Check("replica", "fault", str(error), "correct POSTGRES_READ_DSN", True)
        return
    if lost:
        fix = "runlog list --status lost"
        yield Check("lost", "note", "there are runs whose process died", fix)
    yield from _replica(recorder.stats())


def _replica(found: dict[str, Any]) -> Iterator[Check]:
    """The state of the replica, after a read."""
    fix = "docs/operations.md, Replicas"
    lag = found["replica_lag"]
    if found["replica"] == "away":
        said = f"reads go to the primary: {found['replica_error']}"
        yield Check("replica", "fault", said, fix)
    elif found["replica"] is not None and lag is None:
        yield Check("replica", "note", "its lag is not known", fix)
    elif found["replica"] is not None:
        said = f"at most {duration(lag * 1e3)} behind" if lag else "up to date"
        if lag < _LAG:
            yield Check("replica", "ok", said)
        else:
            yield Check("replica", "note", said, fix)
