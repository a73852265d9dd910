"""runlog watch: each finding is posted once, whatever the webhook and the process do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_help import Cli, Done, cli, on_sqlite
from fixtures_store import Store
from helpers import minimal, until
from insight_histories import now, record
from webhook_receiver import SECRET, Receiver, receiving

from runlog.cli import webhook
from runlog.cli.commands import watch
from runlog.cli.posted import Posted
from runlog.insights import KINDS, Finding, insights

__all__ = ["cli"]
pytestmark = on_sqlite
FAILED = {"status": "failed", "error_type": "KeyError", "error_text": "'price'"}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as made:
        monkeypatch.setenv("RUNLOG_WEBHOOK", made.url)
        yield made


@pytest.fixture
def finding(recorder: Any) -> Finding:
    """The one finding of a history: a new failure."""
    start = now()
    hour = timedelta(hours=1)
    record(
        recorder,
        [minimal(f"good-{n}", created_at=start - n * hour) for n in range(20, 100)],
        [minimal(f"bad-{n}", created_at=start - hour, **FAILED) for n in range(2)],
    )
    (found,) = insights(recorder=recorder).findings
    return found


def once(cli: Cli, *more: str) -> Done:
    done = cli("watch", "--once", *more)
    said = done.out + done.err
    assert SECRET not in said
    assert "Traceback" not in said
    return done


def test_a_finding_is_posted_once(
    cli: Cli, receiver: Receiver, finding: Finding, store: Store
) -> None:
    done = once(cli)
    assert done.code == 0
    assert finding.text in done.out
    (got,) = receiver.got
    assert got["finding"] == finding.as_json()
    assert (got["again"], got["id"]) == (False, receiver.keys[0])
    assert once(cli).out == ""
    assert len(receiver.got) == 1
    remembered = Path(store.options["sqlite_path"] + "-watch").read_text()
    assert SECRET not in remembered
    assert "price" not in remembered


def test_it_is_posted_again_when_it_is_worse(
    cli: Cli, receiver: Receiver, finding: Finding, recorder: Any
) -> None:
    once(cli)
    record(recorder, [minimal("bad-2", created_at=now(), **FAILED)])
    once(cli)
    assert len(receiver.got) == 1  # half as many again is no news
    record(recorder, [minimal("bad-3", created_at=now(), **FAILED)])
    once(cli)
    assert [one["finding"]["now"] for one in receiver.got] == [2, 4]
    assert len(set(receiver.keys)) == 2


def test_it_is_posted_again_when_it_comes_back(
    store: Store, finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = store.options["sqlite_path"], [1e9]
    monkeypatch.setattr("time.time", lambda: clock[0])

    def news() -> Any:
        return Posted(path, "t").news(finding)

    posted = Posted(path, "t")
    first = posted.news(finding)
    assert first is not None
    posted.sending(finding, first[0])
    posted.sent(finding)
    clock[0] += 23 * 3600
    assert news() is None
    clock[0] += 2 * 3600
    again = news()
    assert again is not None
    assert again[0] != first[0]
    assert Posted(path, "another").news(finding) is not None


def test_regression_more_lost_runs_are_news(store: Store) -> None:
    """As any rate that is half as high again."""
    posted = Posted(store.options["sqlite_path"], "t")
    posted_again = set()
    for kind in KINDS:
        one = Finding(kind, "w", None, now(), "", 0.0, 2.0, "")
        first = posted.news(one)
        assert first is not None
        posted.sending(one, first[0])
        posted.sent(one)
        assert posted.news(one) is None
        one.now = 4.0
        if posted.news(one) is not None:
            posted_again.add(kind)
    assert set(KINDS) - posted_again == {"stuck", "waiting", "stopped_node"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}), "answered 404 Not Found"),
        ((302, {"location": f"http://127.0.0.1:1/{SECRET}"}), "redirects are not"),
        ((503, {"retry-after": "0"}), "answered 503"),
        ((503, {"retry-after": "120"}), "answered 503"),  # longer than a post may take
        ((429, {"retry-after": "86400"}), "asks for 86,400 seconds"),
    ],
)
def test_a_refusal_is_said_and_it_is_sent_again(
    cli: Cli, receiver: Receiver, finding: Finding, answer: Any, said: str
) -> None:
    receiver.answer = answer
    done = once(cli)
    assert done.code in (1, 3)
    assert said in done.err
    assert "sent again with the next report" in done.err
    assert done.err.count("\n") == 1
    receiver.answer = (204, {})
    assert once(cli).code == 0
    assert len(set(receiver.keys)) == 1  # so that a receiver takes it once
    assert once(cli).out == ""


def test_what_is_refused_stops_no_other(
    cli: Cli, receiver: Receiver, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again at each look; the others are posted once."""
    for name in ("a", "b", "c"):
        failed = FAILED | {"error_text": f"'{name}'"}
        runs = [minimal(f"{name}{n}", name, created_at=now(), **failed) for n in range(2)]
        record(recorder, runs)
    receiver.refuses = "b"
    for expected in (["a", "b", "c"], ["b"], ["b"]):
        del receiver.got[:]
        done = once(cli)
        assert sorted(one["finding"]["workflow"] for one in receiver.got) == expected
        assert done.code == 1
        assert "answered 400 Bad Request; it is sent again" in done.err
        assert done.err.count("\n") == 1
    receiver.answer = (404, {})
    receiver.refuses = ""
    runs = [minimal(f"d{n}", "d", created_at=now(), **FAILED) for n in range(2)]
    record(recorder, runs)
    assert "answered 404 Not Found; 2 findings are sent again" in once(cli).err
    receiver.answer = (200, {})
    del receiver.got[:]
    assert once(cli).code == 0
    assert [one["finding"]["workflow"] for one in receiver.got] == ["b", "d"]


@pytest.mark.parametrize(
    "answer",
    [
        b"%s",
        b"HTTP/1.1 400 %s\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 %s\r\n\r\n",
        b"HTTP/1.1 599 %s\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 %s\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%s\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n",
        b"",
    ],
)
def test_what_a_server_answers_is_not_quoted(
    cli: Cli, finding: Finding, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have the request line, and so the credential in the address."""
    monkeypatch.setattr(webhook, "_TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        line = connection.recv(65_536).partition(b"\r\n")[0]
                        connection.sendall(answer.replace(b"%s", line))

        thread = threading.Thread(target=echo)
        thread.start()
        port = server.getsockname()[1]
        monkeypatch.setenv("RUNLOG_WEBHOOK", f"http://127.0.0.1:{port}/hook/{SECRET}")
        done = once(cli)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert done.code in (1, 3)
    assert "POST" not in done.err
    assert "the webhook: http://127.0.0.1" in done.err


def test_a_webhook_that_hangs_is_given_up(
    cli: Cli, receiver: Receiver, finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it was taken: it is sent again, with a mark that says so."""
    monkeypatch.setattr(webhook, "_WHOLE", 0.3)
    receiver.answer = None
    done = once(cli)
    assert done.code == 3
    assert "the webhook has not answered for 0 seconds" in done.err
    receiver.answer = (200, {})
    receiver.let_go.set()
    monkeypatch.setattr(webhook, "_WHOLE", 60.0)
    assert once(cli).code == 0
    assert receiver.got[-1]["again"] is True
    assert len(set(receiver.keys)) == 1


@pytest.mark.parametrize("limit", ["_SECONDS", "_WHOLE"])
def test_regression_an_answer_whose_body_never_ends_counts(
    cli: Cli,
    receiver: Receiver,
    finding: Finding,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    """Its head says that the finding is there: it is not sent twice."""
    monkeypatch.setattr(webhook, limit, 3.0)
    receiver.answer, receiver.holds = (200, {"content-length": "9"}), True
    done = once(cli)
    assert (done.code, done.err) == (0, "")
    assert once(cli).out == ""
    assert len(receiver.got) == 1


def test_regression_what_may_have_arrived_is_never_sent_again_without_the_mark(
    cli: Cli, receiver: Receiver, finding: Finding
) -> None:
    """The receiver takes it, and ends the connection without an answer."""
    receiver.answer = None
    receiver.let_go.set()
    assert once(cli).code == 3
    receiver.answer = (200, {})
    assert once(cli).code == 0
    assert [one["again"] for one in receiver.got] == [False, True]
    assert len(set(receiver.keys)) == 1


def test_regression_a_full_disk_does_not_end_the_watch(
    cli: Cli,
    receiver: Receiver,
    finding: Finding,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What can't be remembered is not posted. The next look may go well."""
    blocked = Path(store.options["sqlite_path"] + "-watch.new")
    blocked.mkdir()

    def wait(_: float) -> None:
        if not blocked.exists():
            raise KeyboardInterrupt
        assert receiver.got == []
        blocked.rmdir()

    monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=wait, time=time.time))
    done = cli("watch")
    assert done.code == 130
    assert "can't be written" in done.err
    assert len(receiver.got) == 1


def test_a_webhook_that_is_not_there(
    cli: Cli, finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("RUNLOG_WEBHOOK", f"http://127.0.0.1:{port}/{SECRET}")
    done = once(cli)
    assert done.code == 3
    assert f"http://127.0.0.1:{port} is out of reach" in done.err


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://h/{SECRET}",
        SECRET,
        f"http://{SECRET}:x@h/",
        f"http://h:{SECRET}/",
        f"http://h/{SECRET} x",
        f"http://h/{SECRET}\u00e9",
        f"http://[{SECRET}/",
        f"http:///{SECRET}",
    ],
)
def test_a_url_that_is_none_is_not_quoted(
    cli: Cli, finding: Finding, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLOG_WEBHOOK", url)
    done = once(cli)
    assert done.code == 2
    assert "RUNLOG_WEBHOOK" in done.err


def test_the_shape_of_slack(cli: Cli, receiver: Receiver, recorder: Any) -> None:
    """What was recorded can neither mention anybody nor link anywhere."""
    failed = FAILED | {"error_text": "<!channel> & <http://x|y>"}
    record(recorder, [minimal(f"r{n}", created_at=now(), **failed) for n in range(2)])
    once(cli, "--shape", "slack")
    (got,) = receiver.got
    assert list(got) == ["text"]
    assert got["text"].startswith("*new_failure* w: 2 runs failed with KeyError")
    assert "&lt;!channel&gt; &amp;" in got["text"]
    assert "<" not in got["text"]


def test_without_a_webhook_it_prints(cli: Cli, finding: Finding) -> None:
    assert finding.text in once(cli).out
    assert once(cli).out == ""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_posts(
    receiver: Receiver, finding: Finding, store: Store, when: str, cli: Cli
) -> None:
    """kill -9 before the answer, or between the answer and the note of it."""
    receiver.answer = None if when == "before" else (200, {})
    code = (
        "import os, sys; from runlog.cli import main, posted; "
        f"when = {when!r}; sent = posted.Posted.sent; "
        "posted.Posted.sent = lambda *a: os.kill(os.getpid(), 9); "
        "main(['watch', '--once'])"
    )
    env = os.environ | store.env | {"RUNLOG_WEBHOOK": receiver.url}
    with subprocess.Popen([sys.executable, "-c", code], env=env) as process:
        until(lambda: len(receiver.got) == 1)
        if when == "before":
            process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -9
    receiver.answer = (200, {})
    receiver.let_go.set()
    assert once(cli).code == 0
    assert [one["again"] for one in receiver.got] == [False, True]
    assert receiver.keys[0] == receiver.keys[1]
    assert once(cli).out == ""


def test_one_watch_at_a_time(
    receiver: Receiver, finding: Finding, store: Store, cli: Cli
) -> None:
    """Of two, the second says so; Ctrl-C ends the first, which had posted."""
    env = os.environ | store.env | {"RUNLOG_WEBHOOK": receiver.url}
    command = [sys.executable, "-m", "runlog", "watch", "--every", "1h"]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        until(lambda: len(receiver.got) == 1)
        done = once(cli)
        assert done.code == 1
        assert "another runlog watch" in done.err
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert len(receiver.got) == 1


def test_what_is_remembered_can_be_damaged(
    cli: Cli, finding: Finding, store: Store
) -> None:
    path = Path(store.options["sqlite_path"] + "-watch")
    path.write_text("{")
    done = once(cli)
    assert done.code == 1
    assert "delete it to have every finding posted again" in done.err
    path.write_text(json.dumps({"x": 1, "y": {"key": "z"}}))
    assert finding.text in once(cli).out
    assert cli("watch", "--once", "--every", "soon").code == 2
