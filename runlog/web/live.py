"""What is new, told to browsers as it happens: server-sent events.

One task asks the database once a second for the newest runs and for those that are
running, as long as anybody listens, and tells each listener what has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from runlog.views.logs import seconds
from runlog.views.safe import safe_text
from runlog.web.errors import describe
from runlog.web.source import Source

Key = tuple[str, str]

_SECONDS = 1.0
_PING = 15.0
_TICK = timedelta(microseconds=1)
_LAST = datetime.max.replace(tzinfo=UTC) - _TICK
_NEWEST, _RUNNING = 100, 500
_LISTENERS = 200
_BEHIND = 50
"""Events that may wait for a listener before it is sent away; it then comes again."""
_HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class _Listener:
    """A browser that listens, to all runs or to one."""

    def __init__(self, key: Key | None) -> None:
        self.key = key
        self.waiting: asyncio.Queue[bytes | None] = asyncio.Queue()

    def tell(self, event: str, data: Any) -> None:
        """Queue an event."""
        if self.waiting.qsize() < _BEHIND:
            self.waiting.put_nowait(
                f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()
            )
        else:
            self.waiting.put_nowait(None)


class Live:
    """The ASGI application of the address `events`. It is used by one event loop."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[Key, dict[str, Any]] | None = None
        self._newest: list[Key] = []
        self._open: dict[Key, Any] = {}
        """When the runs were created that were running at the last look."""
        self._away: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request with a stream."""
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
            await send({"type": "http.response.body"})
            return
        query = Request(scope).query_params
        if len(self._listeners) >= _LISTENERS:
            answer = PlainTextResponse("Too many browsers listen already.\n", 503)
            await answer(scope, receive, send)
            return
        workflow, run_id = query.get("workflow"), query.get("id")
        key = (workflow, run_id) if workflow and run_id else None
        listener = _Listener(key)
        self._listeners.add(listener)
        self._greet(listener)
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
            await _stream(listener, receive, send)
        finally:
            self._listeners.discard(listener)

    def stop(self) -> None:
        """End all streams."""
        for listener in self._listeners:
            listener.waiting.put_nowait(None)

    def listeners(self) -> int:
        """How many browsers listen now."""
        return len(self._listeners)

    def _greet(self, listener: _Listener) -> None:
        """Tell a new listener what is known: it compares that with what it shows."""
        if self._away is not None:
            listener.tell("away", self._away)
        elif self._seen is not None:
            self._tell_all_of(listener, self._seen)

    def _tell_all_of(self, listener: _Listener, seen: dict[Key, dict[str, Any]]) -> None:
        if listener.key is None:
            listener.tell("runs", [seen[key] for key in self._newest])
        elif listener.key in seen:
            listener.tell("run", seen[listener.key])
        else:
            listener.tell("run", None)

    async def _watch(self) -> None:
        """Ask and tell, until nobody listens any more."""
        try:
            while self._listeners:
                try:
                    self._compare(await self._source.call(self._read))
                except Exception as error:  # noqa: BLE001 - told to those who listen
                    self._lose(describe(error).said)
                await asyncio.sleep(_SECONDS)
        finally:
            self._task = None
            self._seen = None
            self._open = {}

    def _read(self) -> list[Any]:
        """The newest runs and those that have just ended, and those that are running."""
        recorder = self._source.open()
        running = recorder.list_runs(limit=_RUNNING, status="running").runs
        newest = recorder.list_runs(limit=_NEWEST).runs
        known = {_key(row) for row in (*running, *newest)}
        ended = [
            row
            for key, created in self._open.items()
            if key not in known
            for row in _find(recorder, key, created)
        ]
        return [newest + ended, running]

    def _compare(self, read: list[Any]) -> None:
        newest, running = read
        seen = {_key(row): _told(row) for row in [*running, *newest]}
        before, self._seen = self._seen, seen
        self._newest = [_key(row) for row in newest]
        self._open = {_key(row): row["created_at"] for row in running}
        if before is None or self._away is not None:
            self._away = None
            for listener in self._listeners:
                self._tell_all_of(listener, seen)
            return
        changed = {key: one for key, one in seen.items() if before.get(key) != one}
        gone = before.keys() - seen.keys()
        for listener in self._listeners:
            self._tell(listener, changed, gone)

    def _tell(
        self,
        listener: _Listener,
        changed: dict[Key, dict[str, Any]],
        gone: Iterable[Key],
    ) -> None:
        if listener.key is None:
            if changed:
                listener.tell("runs", list(changed.values()))
        elif listener.key in changed:
            listener.tell("run", changed[listener.key])
        elif listener.key in gone:  # it was deleted, or newer runs have come
            listener.tell("run", None)

    def _lose(self, said: str) -> None:
        if self._away is None:
            self._away = said
            for listener in self._listeners:
                listener.tell("away", said)


def _key(row: Any) -> Key:
    return row["wpk_id"], row["run_id"]


def _find(recorder: Any, key: Key, created: datetime | None) -> list[Any]:
    """The row of a run, if it is still there."""
    if created is None or created > _LAST:
        return []  # no filter finds it
    when = {"since": created, "until": created + _TICK}
    rows = recorder.list_runs(limit=_NEWEST, wpk_id=key[0], **when).runs
    return [row for row in rows if _key(row) == key]


def _told(row: Any) -> dict[str, Any]:
    """What is told of a run, with names as the page shows them."""
    thread, updated = row["thread_id"], row["updated_at"]
    return {
        "workflow": safe_text(row["wpk_id"]),
        "id": safe_text(row["run_id"]),
        "status": safe_text(row["status"]),
        "thread": None if thread is None else safe_text(thread),
        "updated": "" if updated is None else updated.isoformat(),
        "created": seconds(row["created_at"]),
    }


async def _stream(listener: _Listener, receive: Any, send: Any) -> None:
    """Send what waits for a listener until it has gone, or is sent away."""
    gone = asyncio.create_task(_until_gone(receive))
    try:
        while True:
            event = asyncio.create_task(listener.waiting.get())
            await asyncio.wait(
                {gone, event}, timeout=_PING, return_when=asyncio.FIRST_COMPLETED
            )
            if not event.done():
                event.cancel()
                if gone.done():
                    return
                piece: bytes | None = b": here\n\n"
            else:
                piece = event.result()
            if piece is None:
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
