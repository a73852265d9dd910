"""`runlog serve`: a process that listens, and where it may."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cli_help import Cli, cli, empty, on_sqlite
from fixtures_postgres import free_port
from fixtures_store import Store

__all__ = ["cli", "empty"]


@contextmanager
def serving(
    store: Store, *argv: str, code: str | None = None, **env: str
) -> Iterator[tuple[str, str]]:
    """A process of `runlog serve`, or of code that calls it: what it has printed, and its
    address.
    """
    program = str(Path(sys.executable).with_name("runlog"))
    own = [program, "serve", "--port", "0", *argv]
    process = subprocess.Popen(
        own if code is None else [sys.executable, "-c", code],
        env={**os.environ, **store.env, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"(http://\S+)\n", line)
        assert found is not None, process.communicate()[1]
        yield line, found[1]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
        assert (process.returncode, rest, errors) == (130, "", "")
    finally:
        process.kill()
        process.communicate()


def get(address: str) -> httpx.Response:
    return httpx.get(address, trust_env=False, timeout=60)


def test_serve(store: Store, empty: None) -> None:
    with serving(store) as (line, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert "password" not in line
        answer = get(address)
        assert (answer.status_code, "No run is recorded yet" in answer.text) == (
            200,
            True,
        )
        assert "server" not in answer.headers


@on_sqlite
def test_serve_ends_with_a_browser_that_listens(store: Store, empty: None) -> None:
    with (
        httpx.Client(trust_env=False, timeout=None) as client,
        serving(store) as (_, address),
        client.stream("GET", f"{address}events") as answer,
    ):
        assert answer.status_code == 200


@on_sqlite
def test_another_address_needs_a_token(store: Store, empty: None) -> None:
    with serving(store, "--host", "0.0.0.0") as (_, address):
        token = address.partition("?token=")[2]
        assert len(token) >= 32
        port = re.search(r":(\d+)/", address)
        assert port is not None
        own = f"http://127.0.0.1:{port[1]}/"
        assert get(own).status_code == 401
        assert get(f"{own}?token={token}").status_code == 303
    given = "a token of one's own"
    with serving(store, "--host", "0.0.0.0", RUNLOG_WEB_TOKEN=given) as (line, address):
        assert given not in line


@on_sqlite
def test_regression_a_token_from_a_file_ends_with_a_line_break(
    store: Store, empty: None
) -> None:
    with serving(store, RUNLOG_WEB_TOKEN=f"{TOKEN}\r\n") as (line, address):
        assert TOKEN not in line
        assert get(address.partition("?")[0]).status_code == 401
        assert get(f"{address.partition('?')[0]}?token={TOKEN}").status_code == 303


TOKEN = "a token of one's own"


class Guesses(httpx.Client):
    """A proxy that asks for browsers, with a token."""

    def guess(self, forwarded: str, token: str = "wrong") -> httpx.Response:
        """Ask for a browser, whose cookies are its own."""
        self.cookies.clear()
        headers = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https"}
        return self.get("/", params={"token": token}, headers=headers)


@contextmanager
def guessing(store: Store, *argv: str) -> Iterator[Guesses]:
    """A page with a token, behind a proxy."""
    with serving(store, *argv, RUNLOG_WEB_TOKEN=TOKEN) as (_, address):
        base = address.partition("?")[0]
        with Guesses(base_url=base, trust_env=False, timeout=60) as made:
            yield made


@on_sqlite
def test_wrong_tokens_count_for_whoever_connects(store: Store, empty: None) -> None:
    with guessing(store) as proxy:
        for number in range(20):
            assert proxy.guess(f"198.51.100.{number}").status_code == 401
        assert proxy.guess("198.51.100.77", TOKEN).status_code == 429


@on_sqlite
def test_wrong_tokens_behind_a_proxy(store: Store, empty: None) -> None:
    """The proxy adds the address that it sees to what a browser has written there."""
    network = ("--proxy", "127.0.0.0/8", "--proxy", "192.0.2.1")
    with guessing(store, *network) as proxy:
        for number in range(20):
            written = f"203.0.113.{number}, 198.51.100.1"
            assert proxy.guess(written).status_code == 401
        assert proxy.guess("198.51.100.1", TOKEN).status_code == 429
        answer = proxy.guess("198.51.100.2", TOKEN)
        assert answer.status_code == 303
        assert "Secure" in answer.headers["set-cookie"]


SLOW = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ",
    "half a body": b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nf",
    "half a head behind another": b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET ",
}
DEADLINES = """
import sys
import h11
from runlog.web import deadline

deadline._SECONDS = {h11.IDLE: 0.5, h11.SEND_BODY: 1.0}
from runlog.cli import main

sys.exit(main(["serve", "--port", "0"]))
"""


@on_sqlite
def test_requests_that_do_not_arrive_are_given_up(store: Store, empty: None) -> None:
    """Those that are open keep others out. An answer may take any time."""
    with serving(store, code=DEADLINES) as (_, address), contextlib.ExitStack() as opened:
        port = int(address.rpartition(":")[2].strip("/"))

        def connect() -> socket.socket:
            made = socket.create_connection(("127.0.0.1", port), timeout=60)
            return opened.enter_context(made)

        patient = connect()
        patient.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert patient.recv(65_536).startswith(b"HTTP/1.1 200")
        for sent in SLOW.values():
            slow = connect()
            slow.sendall(sent)
            while slow.recv(65_536):
                pass  # until the server closes it
        assert b"event:" in patient.recv(65_536)


def cpu_of_children() -> float:
    """The CPU time, in seconds, of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@on_sqlite
def test_it_listens_soon(store: Store, empty: None) -> None:
    """From its start to its end it takes no more than three times the CPU that importing
    its libraries takes.
    """
    libraries = "import jinja2, starlette.applications, uvicorn, runlog"
    start = cpu_of_children()
    subprocess.run([sys.executable, "-c", libraries], check=True)
    imported = cpu_of_children()
    with serving(store):
        pass
    assert cpu_of_children() - imported < 3 * (imported - start)


@on_sqlite
def test_serve_can_be_read_only(store: Store, empty: None) -> None:
    with serving(store, "--read-only") as (_, address):
        assert get(f"{address}delete?workflow=w&id=x").status_code == 404


@on_sqlite
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "70000"], "0 to 65535"),
        (["--proxy", "proxy.example"], "give an address, or a network as 10.0.0.0/8"),
        (["--port", "x"], "whole number"),
        (["--host", "nowhere.invalid"], "can't listen on nowhere.invalid"),
        (["--host", "192.0.2.1"], "can't listen on 192.0.2.1"),
    ],
)
def test_an_address_that_cannot_be(cli: Cli, argv: list[str], said: str) -> None:
    done = cli("serve", *argv)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@on_sqlite
def test_a_port_that_is_taken(cli: Cli, store: Store, empty: None) -> None:
    with serving(store) as (_, address):
        port = address.rpartition(":")[2].strip("/")
        done = cli("serve", "--port", port)
    assert done.code == 2
    assert "--port" in done.err
    assert free_port() > 0


@on_sqlite
def test_a_short_token_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNLOG_WEB_TOKEN", "short")
    done = cli("serve", "--host", "0.0.0.0")
    assert (done.code, done.out) == (2, "")
    assert "RUNLOG_WEB_TOKEN has 5 characters: 16 at least" in done.err
    assert "'short'" not in done.err


@pytest.mark.parametrize("missing", ["starlette", "jinja2", "uvicorn"])
def test_without_the_extra_one_line_says_what_to_install(
    run_python: object, missing: str
) -> None:
    code = (
        "import sys; sys.modules[sys.argv[1]] = None; from runlog.cli import main; "
        "sys.exit(main(['serve']))"
    )
    done = run_python(code, missing)  # type: ignore[operator]
    assert done.returncode == 1
    assert done.stderr.strip().endswith('pip install "langgraph-runlog[web]"')
    assert done.stderr.count("\n") == 1
    code = (
        "import sys; sys.modules[sys.argv[1]] = None; import runlog.web; runlog.web.app()"
    )
    done = run_python(code, missing)  # type: ignore[operator]
    if missing == "uvicorn":
        assert done.returncode == 0
    else:
        assert 'pip install "langgraph-runlog[web]"' in done.stderr
