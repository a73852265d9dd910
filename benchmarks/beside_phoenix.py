"""The page of `runlog serve` beside that of Phoenix, as a browser loads both.

Both have as many runs of one node in a SQLite file, one of 200 nodes and one of 1,000,
with the payloads of page.py. Phoenix's rows are made by SQL, in the form that it gives
the spans of OpenInference. Chromium opens each page anew, with an empty cache, until
its rows are there and nothing more is sent. What is counted: the CPU time of the server,
the requests, and the bytes on the wire.

Arguments: how many runs (10000), a multiple of a thousand. `make bench-page` runs it,
with Phoenix in an environment of its own.
"""

import base64
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common import ROOT, Claim, compare, need_room, report, scratch, set_up, significant
from page import BIG, RECORDED, cpu, fill, log, memory, serving
from playwright.sync_api import Browser, sync_playwright

PHOENIX = ROOT / ".venv-phoenix" / "bin" / "phoenix"
START_SECONDS = 240.0
PAGE_MS = 150_000.0
ROUNDS = 3
QUIET_SECONDS = 1.5
"""A page is whole when its rows are there, and nothing has been sent for so long."""
ROWS = {"list": "w3", "run": "node 5"}
"""A text that a page has when its rows are there, by the first word of its name."""
PROJECT = base64.b64encode(b"Project:1").decode().rstrip("=")
SIDES = ("runlog", "Phoenix")
Figures = dict[str, float]
Side = tuple[int, Mapping[str, str]]
"""The process id of a server, and the addresses of its pages."""

SPAN = """
    INSERT INTO spans (trace_rowid, span_id, parent_id, name, span_kind, start_time,
        end_time, attributes, events, status_code, status_message,
        cumulative_error_count, cumulative_llm_token_count_prompt,
        cumulative_llm_token_count_completion)
    VALUES (?, ?, ?, ?, 'CHAIN', ?, ?, ?, '[]', ?, ?, ?, 0, 0)
"""
COPY_TRACES = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :copies)
    INSERT INTO traces (id, project_rowid, trace_id, start_time, end_time)
    SELECT id + i * 1000, 1, printf('%032x', id + i * 1000),
        datetime(start_time, -i || ' seconds') || '.000000',
        datetime(end_time, -i || ' seconds') || '.500000'
    FROM traces, n WHERE id < 1000
"""
COPY_SPANS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :copies)
    INSERT INTO spans (trace_rowid, span_id, parent_id, name, span_kind, start_time,
        end_time, attributes, events, status_code, status_message,
        cumulative_error_count, cumulative_llm_token_count_prompt,
        cumulative_llm_token_count_completion)
    SELECT trace_rowid + i * 1000, printf('%016x', trace_rowid + i * 1000), NULL, name,
        span_kind, datetime(start_time, -i || ' seconds') || '.000000',
        datetime(end_time, -i || ' seconds') || '.500000', attributes, events,
        status_code, status_message, cumulative_error_count, 0, 0
    FROM spans, n WHERE trace_rowid < 1000
"""


def moment(at: datetime) -> str:
    """A time as Phoenix stores it."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def attributes(entry: Mapping[str, Any]) -> str:
    """What OpenInference makes of a node's payloads."""
    kept: dict[str, Any] = {"openinference": {"span": {"kind": "CHAIN"}}}
    for ours, theirs in (("inputs", "input"), ("outputs", "output")):
        value = json.dumps(entry[ours])
        kept[theirs] = {"value": value, "mime_type": "application/json"}
    return json.dumps(kept)


def add_trace(connection: sqlite3.Connection, number: int, nodes: int) -> None:
    """A trace with a root and, if there is more than one node, a span for each."""
    begun = datetime.now(UTC) - timedelta(minutes=1 + number / 10)
    failed = nodes == 1 and number % 10 == 0
    ends = moment(begun), moment(begun + timedelta(seconds=0.5))
    connection.execute(
        "INSERT INTO traces (id, project_rowid, trace_id, start_time, end_time) "
        "VALUES (?, 1, ?, ?, ?)",
        (number, f"{number:032x}", *ends),
    )
    status = ("ERROR", f"'price {number}'", 1) if failed else ("OK", "", 0)
    root = f"{number:016x}"
    more = (*ends, attributes(log(1)), *status)
    connection.execute(SPAN, (number, root, None, f"w{number % 20}", *more))
    for place in range(nodes if nodes > 1 else 0):
        entry = log(place)
        more = (*ends, attributes(entry), "OK", "", 0)
        span = f"{number * 10_000 + place:016x}"
        connection.execute(SPAN, (number, span, root, entry["node"], *more))


def fill_phoenix(path: Path, runs: int) -> None:
    """The same runs in Phoenix's file, whose tables it has made."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for number in range(RECORDED):
            add_trace(connection, number, 1)
        if runs > RECORDED:
            copies = {"copies": runs // RECORDED - 1}
            connection.execute(COPY_TRACES, copies)
            connection.execute(COPY_SPANS, copies)
        for place, nodes in enumerate(BIG):
            add_trace(connection, runs + place, nodes)
        connection.commit()
        connection.execute("ANALYZE")
        connection.commit()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def phoenix(folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process id of a Phoenix that answers."""
    if not PHOENIX.exists():
        raise SystemExit("skipped: there is no Phoenix: make bench-page installs it")
    port = free_port()
    env = os.environ | {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    address = f"http://127.0.0.1:{port}/"
    with (
        folder.with_suffix(".log").open("wb") as output,
        subprocess.Popen(
            [PHOENIX, "serve"], env=env, stdout=output, stderr=output
        ) as one,
    ):
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(address):
                if one.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("skipped: Phoenix did not start")
                time.sleep(0.5)
            yield address, one.pid
        finally:
            one.send_signal(signal.SIGTERM)
            try:
                one.wait(15)
            except subprocess.TimeoutExpired:
                one.kill()


def answers(address: str) -> bool:
    """Whether somebody answers there."""
    with suppress(OSError), urllib.request.urlopen(address):  # noqa: S310 - our own
        return True
    return False


def visit(browser: Browser, side: Side, page: str) -> Figures:
    """Open a page with an empty cache, until nothing more is sent."""
    pid, addresses = side
    context = browser.new_context()
    tab = context.new_page()
    wire = context.new_cdp_session(tab)
    wire.send("Network.enable")
    counted = {"requests": 0, "kb": 0.0}
    last = [time.monotonic()]

    def asked(event: Any) -> None:
        counted["requests"] += not event["request"]["url"].startswith("data:")
        last[0] = time.monotonic()

    def sent(event: Any) -> None:
        counted["kb"] += event["encodedDataLength"] / 1e3
        last[0] = time.monotonic()

    wire.on("Network.requestWillBeSent", asked)
    wire.on("Network.loadingFinished", sent)
    before = cpu(pid)
    tab.goto(addresses[page], timeout=PAGE_MS)
    rows = tab.get_by_text(ROWS[page.split(maxsplit=1)[0]], exact=True)
    rows.first.wait_for(timeout=PAGE_MS, state="attached")
    while time.monotonic() - last[0] < QUIET_SECONDS:
        tab.wait_for_timeout(100)
    used = (cpu(pid) - before) * 1e3
    if keep := os.environ.get("BENCH_PICTURES"):
        whose = urlsplit(addresses[page]).port
        tab.screenshot(path=f"{keep}-{whose}-{page.replace(' ', '-')}.png")
    context.close()
    return {"cpu_ms": significant(used), **{k: significant(counted[k]) for k in counted}}


def addresses_of(ours: str, theirs: str, runs: int) -> dict[str, dict[str, str]]:
    """The pages that are compared."""
    project = f"{theirs}projects/{PROJECT}"
    pages: dict[str, dict[str, str]] = {
        "runlog": {"list": ours},
        "Phoenix": {"list": f"{project}/traces"},
    }
    for place, nodes in enumerate(BIG):
        name = f"run of {nodes:,} nodes"
        pages["runlog"][name] = f"{ours}run?workflow=big&id=run-{nodes}"
        pages["Phoenix"][name] = f"{project}/traces/{runs + place:032x}"
    return pages


def claims_of(found: Mapping[str, Any], runs: int) -> list[Claim]:
    """A line for each figure of each page; none has a limit."""
    pages, megabytes = found["pages"], found["mb"]
    claims = []
    for page in pages["runlog"]:
        called = f"{page} of {runs:,} runs" if page == "list" else page
        for key, what, unit in (
            ("cpu_ms", "CPU of the server", "ms"),
            ("kb", "on the wire", "KB"),
            ("requests", "requests", ""),
        ):
            ours, theirs = ([one[key] for one in pages[side][page]] for side in SIDES)
            claims.append(compare(f"{called}, {what}", ours, theirs, None, unit))
    ours, theirs = ([megabytes[side]] for side in SIDES)
    claims.append(compare("memory of the server", ours, theirs, None, "MB"))
    return claims


def measure(browser: Browser, sides: Mapping[str, Side]) -> dict[str, Any]:
    """Rounds of all pages, both sides in turns."""
    pages: dict[str, Any] = {side: {} for side in sides}
    for number in range(ROUNDS + 1):  # the first is not counted: it fills caches
        for side, (_, addresses) in sides.items():
            for page in addresses:
                figures = visit(browser, sides[side], page)
                if number > 0:
                    pages[side].setdefault(page, []).append(figures)
    return {"pages": pages, "mb": {s: memory(pid) for s, (pid, _) in sides.items()}}


def main() -> None:
    set_up()
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    need_room(6_000 * runs)
    with scratch("phoenix") as folder:
        (kept := folder / "phoenix").mkdir()
        fill(folder / "runs.db", runs)
        with (
            serving(folder / "runs.db") as (ours, our_pid, _),
            phoenix(kept) as (theirs, their_pid),
            sync_playwright() as driver,
        ):
            fill_phoenix(kept / "phoenix.db", runs)
            pages = addresses_of(ours, theirs, runs)
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            pids = (our_pid, their_pid)
            found = measure(
                browser,
                {s: (pid, pages[s]) for s, pid in zip(SIDES, pids, strict=True)},
            )
            browser.close()
    report(
        "beside_phoenix",
        claims_of(found, runs),
        found,
        notes={"runs": runs},
        more_versions={"phoenix": version()},
    )


def version() -> str:
    """That of Phoenix."""
    line = "from importlib.metadata import version as v; print(v('arize-phoenix'))"
    command = [str(PHOENIX.with_name("python")), "-c", line]
    return subprocess.check_output(command, text=True).strip()


if __name__ == "__main__":
    main()
