"""A run as spans: the run, its nodes, and the calls of these."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from runlog.views import attributes
from runlog.views.logs import Log, began, dicts, fact, number, read_logs, seconds, text
from runlog.views.tree import build, walk

OK, ERROR, UNSET = 1, 2, 0
"""The status of a span. An interrupt is no error, so it leaves it unset."""
_STATUS = {"completed": OK, "failed": ERROR}


class Event(NamedTuple):
    """A moment within a span."""

    at: float
    name: str
    attributes: dict[str, Any]


class Span(NamedTuple):
    """A part of a run with a beginning and an end."""

    trace: bytes
    span: bytes
    parent: bytes | None
    name: str
    start: float
    """Seconds since 1970."""
    end: float
    status: int
    message: str | None
    attributes: dict[str, Any]
    events: list[Event]
    links: list[bytes]
    """Spans of the same trace: the attempt before this one."""


def trace_id(run: Any) -> bytes:
    """The id of a run's trace: its run_id if that is a UUID, else a hash of its name."""
    try:
        return uuid.UUID(run["run_id"]).bytes
    except ValueError:
        return _hash(16, run["wpk_id"], run["run_id"])


def _hash(size: int, *parts: object) -> bytes:
    named = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(named).digest()[:size]


class _Maker:
    """Makes the spans of one run."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.trace = trace_id(run)
        self.start = began(run) or 0.0
        logs = read_logs(run)
        ends = [_end(log.started, log.duration_ms) for log in logs]
        own = _end(self.start, number(run.get("duration_ms")))
        self.end = max([own, *ends], default=own)
        self.logs = logs

    def id_of(self, *place: object) -> bytes:
        return _hash(8, self.run["wpk_id"], self.run["run_id"], *place)

    def spans(self) -> Iterator[Span]:
        yield self._of_run()
        around: dict[int, int] = {}
        before: dict[tuple[Any, ...], int] = {}
        for placed in walk(build(self.run, self.logs)):
            node = placed.node
            for child in node.children:
                around[child.log.place] = node.log.place
            parent = around.get(node.log.place)
            yield self._of_node(node.log, parent, before)
            yield from self._of_calls(node.log)

    def _of_run(self) -> Span:
        status = str(self.run.get("status"))
        return Span(
            self.trace,
            self.id_of("run"),
            None,
            str(self.run["wpk_id"]),
            self.start,
            self.end,
            _STATUS.get(status, UNSET),
            _message(self.run) if status == "failed" else None,
            attributes.of_run(self.run),
            self._events(self.run, status, self.end),
            [],
        )

    def _of_node(
        self, log: Log, parent: int | None, before: dict[tuple[Any, ...], int]
    ) -> Span:
        start = self.start if log.started is None else log.started
        end = self.end if log.duration_ms is None else _end(start, log.duration_ms)
        key = (parent, log.node, log.step)
        last = before.get((*key, log.attempt - 1))
        before[*key, log.attempt] = log.place
        around = None if parent is None else self.logs[parent].node
        return Span(
            self.trace,
            self.id_of(log.place),
            self.id_of("run" if parent is None else parent),
            log.node,
            start,
            end,
            _STATUS.get(log.status, UNSET),
            _message(log.raw) if log.status == "failed" else None,
            attributes.of_node(log, around, self.run),
            self._events(log.raw, log.status, end),
            [] if last is None else [self.id_of(last)],
        )

    def _of_calls(self, log: Log) -> Iterator[Span]:
        calls = log.calls
        for place, call in enumerate(calls):
            status = str(call.get("status"))
            start = seconds(call.get("started_at")) or log.started or self.start
            spent = number(call.get("duration_ms"))
            within = call.get("parent")
            parent: tuple[object, ...] = (log.place,)
            if type(within) is int and 0 <= within < place:
                parent = (log.place, "call", within)
            yield Span(
                self.trace,
                self.id_of(log.place, "call", place),
                self.id_of(*parent),
                str(call.get("name") or call.get("kind")),
                start,
                self.end if spent is None else _end(start, spent),
                _STATUS.get(status, UNSET),
                _message(call) if status == "failed" else None,
                attributes.of_call(call, self.run),
                self._events(call, status, _end(start, spent)),
                [],
            )

    def _events(self, one: dict[str, Any], status: str, end: float) -> list[Event]:
        found = [
            Event(
                seconds(event.get("at")) or end,
                str(event.get("name")),
                {"data": event.get("data")},
            )
            for event in dicts(one.get("events"))
        ]
        if status == "failed":
            found.append(Event(end, "exception", attributes.of_error(one)))
        elif status == "interrupted":
            asked = dicts(fact(self.run, "interrupts"))
            value = [each.get("value") for each in asked]
            found.append(Event(end, "interrupt", {"interrupt.value": value}))
        elif status != "completed":
            found.append(Event(end, status, {}))
        return found


def _end(start: float | None, spent: float | None) -> float:
    return (start or 0.0) + max(0.0, spent or 0.0) / 1000


def _message(one: Any) -> str:
    kind, said = text(one.get("error_type")), text(one.get("error_text"))
    return f"{kind}: {said}" if kind and said else kind or said or ""


def spans_of(run: Any) -> Iterator[Span]:
    """Yield the spans of a run, each before those within it.

    Args:
        run: as `get_run` returns it.

    Returns:
        The spans. Their ids depend on the names of the run and their places in it alone,
        so those of a run that is exported again are the same.
    """
    return _Maker(run).spans()
