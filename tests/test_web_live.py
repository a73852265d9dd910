"""What is new, as a stream of events."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cli_help import on_sqlite
from fixtures_browser import Tab
from fixtures_postgres import PostgresServer, running
from fixtures_proxy import Proxied
from fixtures_web import Page
from helpers import minimal, until

import runlog
from runlog.web import app


class Stream:
    """A browser that listens."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        kind = ""
        try:
            for line in self.answer.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    self.events.put((kind, json.loads(line[6:])))
        except httpx.HTTPError:
            pass  # it was closed, here or there
        self.events.put(("end", None))

    def close(self) -> None:
        """Close the connection, as a tab does that is closed."""
        stream = self.answer.extensions["network_stream"]
        with contextlib.suppress(OSError):  # the server has closed it
            stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def next(self) -> tuple[str, Any]:
        """The next event, waited for."""
        return self.events.get(timeout=60)

    def until(self, kind: str) -> Any:
        """What the next event of a kind says."""
        while True:
            got, data = self.next()
            assert got != "end" or kind == "end"
            if got == kind:
                return data


@contextlib.contextmanager
def listening(page: Page, **params: str) -> Iterator[Stream]:
    """A browser that listens to the page."""
    with (
        httpx.Client(base_url=page.url, timeout=None, trust_env=False) as client,
        client.stream("GET", "/events", params=params) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        stream = Stream(answer)
        try:
            yield stream
        finally:
            stream.close()


@pytest.fixture
def live(recorder: runlog.Recorder) -> Iterator[Page]:
    """The page, with a recorder that records."""
    recorder.log_run(minimal("r1"))
    made = Page(app(recorder))
    yield made
    made.close()


def test_new_runs_are_told(live: Page, recorder: runlog.Recorder) -> None:
    with listening(live) as stream:
        assert [run["id"] for run in stream.until("runs")] == ["r1"]
        recorder.log_run(minimal("r2", "other", status="failed", thread_id="t"))
        (told,) = stream.until("runs")
        assert (told["id"], told["workflow"], told["status"], told["thread"]) == (
            "r2",
            "other",
            "failed",
            "t",
        )
    with listening(live) as again:
        assert [run["id"] for run in again.until("runs")] == ["r2", "r1"]


def test_one_run_is_told_of_when_it_changes(
    live: Page, recorder: runlog.Recorder
) -> None:
    recorder.log_run(minimal("r2", status="running"))
    with listening(live, workflow="w", id="r2") as stream:
        assert stream.until("run")["status"] == "running"
        recorder.log_run(minimal("r3"))
        recorder.log_run(minimal("r2", status="completed"))
        assert stream.until("run")["status"] == "completed"


def test_the_end_of_an_old_run_is_told_to_all(
    live: Page, recorder: runlog.Recorder
) -> None:
    """A list may show it though a hundred runs are newer: by a filter, or as its end."""
    recorder.log_run(minimal("old", "rare", status="running"))
    for number in range(120):
        recorder.log_run(minimal(f"n{number}"))
    with listening(live) as stream, listening(live, workflow="rare", id="old") as one:
        assert "old" not in {run["id"] for run in stream.until("runs")}
        assert one.until("run")["status"] == "running"
        recorder.log_run(minimal("old", "rare", status="failed"))
        (told,) = stream.until("runs")
        assert (told["workflow"], told["id"], told["status"]) == ("rare", "old", "failed")
        assert one.until("run")["status"] == "failed"
        recorder.log_run(minimal("gone", "rare", status="running"))
        assert [run["id"] for run in stream.until("runs")] == ["gone"]
    with listening(live, workflow="rare", id="gone") as one:
        assert one.until("run")["status"] == "running"
        recorder.delete_runs(run_id="gone")
        assert one.until("run") is None


@on_sqlite
def test_only_a_get_is_a_stream(live: Page) -> None:
    head = live.client.head("/events")
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")
    assert live.client.post("/events").status_code == 405
    assert live.application.state.listeners() == 0


@on_sqlite
def test_a_closed_tab_ends_its_stream(live: Page) -> None:
    with listening(live) as one, listening(live) as other:
        one.until("runs")
        other.until("runs")
        assert live.application.state.listeners() == 2
        one.close()
        until(lambda: live.application.state.listeners() == 1)
        other.close()
        until(lambda: live.application.state.listeners() == 0)


@on_sqlite
def test_the_database_is_asked_once_for_all(
    live: Page, recorder: runlog.Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    plain = runlog.Recorder.list_runs

    def list_runs(self: Any, **filters: Any) -> Any:
        asked.append(filters.get("status"))
        return plain(self, **filters)

    monkeypatch.setattr(runlog.Recorder, "list_runs", list_runs)
    with listening(live) as one, listening(live) as two, listening(live) as three:
        for stream in (one, two, three):
            stream.until("runs")
        asked.clear()
        until(lambda: asked.count(None) >= 3)
        # Each round asks for the newest and for the running ones, whoever listens.
        assert abs(asked.count(None) - asked.count("running")) <= 1
    until(lambda: live.application.state.listeners() == 0)


@on_sqlite
def test_the_end_of_the_server_ends_the_streams(live: Page) -> None:
    with listening(live) as stream:
        stream.until("runs")
        live.application.state.stop()
        stream.until("end")


def test_the_database_goes_away_and_comes_back() -> None:
    with contextlib.contextmanager(running)(PostgresServer()) as server:
        dsn = server.dsn(server.create_database())
        with runlog.Recorder(postgres_dsn=dsn) as recorder:
            recorder.log_run(minimal("r1"))
            assert recorder.flush(60)
            made = Page(app(recorder))
            try:
                with listening(made) as stream:
                    stream.until("runs")
                    server.halt(immediate=True)
                    assert stream.until("away")
                    answer = made.get("/")
                    assert answer.status_code == 503
                    assert "out of reach" in answer.text
                    server.resume()
                    assert [run["id"] for run in stream.until("runs")] == ["r1"]
                    assert "r1" in made.text("/")
            finally:
                made.close()


@pytest.mark.chromium
def test_a_browser_says_that_the_database_is_away(proxied: Proxied, tab: Tab) -> None:
    with runlog.Recorder(**proxied.options, postgres_timeout=1) as recorder:
        recorder.log_run(minimal("r1"))
        assert recorder.flush(60)
        made = Page(app(recorder))
        try:
            tab.page.goto(made.url)
            tab.page.wait_for_selector("#live >> text=live")
            assert tab.page.locator("#away").is_hidden()
            proxied.proxy.outage()
            tab.page.locator("#away").wait_for(state="visible")
            assert tab.page.locator('[data-run="r1"]').is_visible()
            proxied.proxy.forward()
            tab.page.locator("#away").wait_for(state="hidden")
            recorder.log_run(minimal("r2"))
            tab.page.wait_for_selector("#news >> text=1 new run")
            tab.page.goto("about:blank")  # so that it does not miss the server
        finally:
            made.close()
