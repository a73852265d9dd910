"""log_run: what is kept of a run, and what logging it again does to it."""

import collections
import json
import re
import types
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fixtures_store import Store
from helpers import minimal
from strategies import Plain

from runlog import ValidationError

if TYPE_CHECKING:
    from conftest import RunPython

WHEN = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOSTILE = [
    "'; DROP TABLE workflow_runs; --",
    "\"}]'); DELETE FROM workflow_runs; /*",
    "%s %d %n {0} $1 ?1 :name @p",
    "\\x00 \\u0000 \\' \\",
    "E'\\\\' || pg_sleep(9)",
    "NULL",
    "\x01\x1f\x7f\n\r\t\b\f",
    "\u00fcn\u00ee \u6f22\u5b57 \U0001f642 \ufffd \u2028",
    "a" * 1000,
]


def payload(value: Any) -> Any:
    """A JSON column as an independent client reads it: parsed already, or text."""
    return json.loads(value) if isinstance(value, str | bytes) else value


def test_log_run_success(recorder: Any, store: Store) -> None:
    run = {
        "wpk_id": "orders",
        "run_id": "r1",
        "status": "completed",
        "inputs": {"q": "\u00fc", "n": [1, 2.5, None, True]},
        "outputs": {"text": "ok"},
        "node_logs": [{"node": "a", "status": "completed", "inputs": {"q": 1}}],
        "duration_ms": 123,
        "thread_id": "t1",
        "error_type": "Warning",
        "error_text": "nearly",
        "error_traceback": "Traceback (most recent call last):\nWarning: nearly",
        "metadata": {"user": "u1"},
        "started_at": WHEN,
        "created_at": WHEN + timedelta(seconds=1),
    }
    assert recorder.log_run(run) == "r1"

    columns = "wpk_id, run_id, status, duration_ms, thread_id, error_type, error_text"
    row = store.query(f"SELECT {columns} FROM workflow_runs")
    assert row == [("orders", "r1", "completed", 123, "t1", "Warning", "nearly")]
    kept = store.query("SELECT inputs, outputs, node_logs, metadata FROM workflow_runs")[
        0
    ]
    names = ["inputs", "outputs", "node_logs", "metadata"]
    assert [payload(value) for value in kept] == [run[name] for name in names]
    got = recorder.get_run("r1")
    assert {key: got[key] for key in run} == run


def test_log_run_minimal_data(recorder: Any, store: Store) -> None:
    before = datetime.now(UTC)
    assert recorder.log_run(minimal()) == "r1"
    after = datetime.now(UTC)

    got = recorder.get_run("r1", "w")
    assert (got["wpk_id"], got["run_id"], got["status"]) == ("w", "r1", "completed")
    optional = (
        "inputs outputs node_logs duration_ms thread_id error_type error_text"
        " error_traceback started_at"
    )
    assert [name for name in optional.split() if got[name] is not None] == []
    assert not got["metadata"]
    assert before <= got["created_at"] <= after
    assert before <= got["updated_at"] <= after
    assert uuid.UUID(got["id"]).version == 7
    assert store.query("SELECT count(*) FROM workflow_runs") == [(1,)]


@pytest.mark.parametrize("field", ["wpk_id", "run_id", "status"])
def test_log_run_missing_required_field(recorder: Any, field: Any) -> None:
    run = minimal()
    del run[field]
    with pytest.raises(ValidationError, match=field):
        recorder.log_run(run)
    assert recorder.list_runs().runs == []


def test_what_is_given_again_replaces_and_the_rest_stays(
    recorder: Any, store: Store
) -> None:
    first = minimal(
        status="running",
        inputs={"a": 1},
        outputs={"b": 1},
        metadata={"m": 1},
        thread_id="t1",
        duration_ms=5,
        started_at=WHEN,
    )
    recorder.log_run(first)
    before = recorder.get_run("r1")
    recorder.log_run(minimal(outputs={"c": 2}, duration_ms=7))
    after = recorder.get_run("r1")

    changed = {"status": "completed", "outputs": {"c": 2}, "duration_ms": 7}
    assert after == before | changed | {"updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert store.query("SELECT count(*) FROM workflow_runs") == [(1,)]


def test_none_replaces_a_payload_and_nothing_else(recorder: Any) -> None:
    fields: dict[str, Any] = {
        "thread_id": "t",
        "duration_ms": 5,
        "metadata": {"m": 1},
        "started_at": WHEN,
    }
    recorder.log_run(minimal(inputs=1, outputs=2, node_logs=[3], **fields))
    nothing: dict[str, Any] = dict.fromkeys(
        [*fields, "inputs", "outputs", "node_logs", "created_at"]
    )
    recorder.log_run(minimal(**nothing))
    got = recorder.get_run("r1")
    assert {name: got[name] for name in fields} == fields
    assert (got["inputs"], got["outputs"], got["node_logs"]) == (None, None, None)


def test_an_error_goes_with_its_status(recorder: Any) -> None:
    recorder.log_run(minimal(status="failed", error_type="ValueError", error_text="bad"))
    got = recorder.get_run("r1")
    assert (got["status"], got["error_type"], got["error_text"]) == (
        "failed",
        "ValueError",
        "bad",
    )
    recorder.log_run(minimal(status="completed"))
    got = recorder.get_run("r1")
    assert (got["status"], got["error_type"], got["error_text"]) == (
        "completed",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("running", "completed", "completed"),
        ("running", "failed", "failed"),
        ("running", "running", "running"),
        ("completed", "running", "completed"),
        ("failed", "running", "failed"),
        ("cancelled", "running", "cancelled"),
        ("interrupted", "running", "interrupted"),
        ("completed", "failed", "failed"),
        ("failed", "completed", "completed"),
    ],
)
def test_a_finished_run_never_goes_back_to_running(
    recorder: Any, first: Any, second: Any, kept: Any
) -> None:
    recorder.log_run(minimal(status=first))
    assert recorder.log_run(minimal(status=second)) == "r1"
    assert recorder.get_run("r1")["status"] == kept


def test_the_same_run_id_in_two_workflows_is_two_runs(recorder: Any) -> None:
    recorder.log_run(minimal("r1", "a", outputs=1))
    recorder.log_run(minimal("r1", "b", outputs=2))
    assert recorder.get_run("r1", "a")["outputs"] == 1
    assert recorder.get_run("r1", "b")["outputs"] == 2
    assert len(recorder.list_runs().runs) == 2


@pytest.mark.parametrize("value", [[1], "m", 5, True])
def test_metadata_that_is_no_mapping_is_kept_under_its_name(
    recorder: Any, value: Any
) -> None:
    recorder.log_run(minimal(metadata=value, user="u"))
    assert recorder.get_run("r1")["metadata"] == {"metadata": value, "user": "u"}


def test_other_keys_go_into_metadata(recorder: Any) -> None:
    recorder.log_run(
        minimal(metadata={"a": 1}, user="u", tags=["x"], nested={"k": Plain})
    )
    expected = {"a": 1, "user": "u", "tags": ["x"], "nested": {"k": "<strategies.Plain>"}}
    assert recorder.get_run("r1")["metadata"] == expected
    other_key: dict[Any, Any] = {5: "five"}
    recorder.log_run(minimal("r2") | other_key)
    assert recorder.get_run("r2")["metadata"] == {"5": "five"}


@pytest.mark.parametrize("wrap", [types.MappingProxyType, collections.UserDict, dict])
def test_any_mapping_is_a_run(recorder: Any, wrap: Any) -> None:
    assert recorder.log_run(wrap(minimal(inputs={"a": 1}))) == "r1"
    assert recorder.get_run("r1")["inputs"] == {"a": 1}


def test_text_subclasses_are_text(recorder: Any) -> None:
    text = type("Text", (str,), {})
    assert recorder.log_run(minimal(text("r1"), text("w"))) == "r1"
    assert recorder.get_run("r1")["wpk_id"] == "w"


@pytest.mark.parametrize("given", [0, 1, 2**31 - 1, np.int64(5), np.uint8(7)])
def test_duration_takes_integers(recorder: Any, given: Any) -> None:
    recorder.log_run(minimal(duration_ms=given))
    assert recorder.get_run("r1")["duration_ms"] == int(given)


LOCAL = datetime(2024, 7, 1, 12, 30, 15, 250000)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (WHEN, WHEN),
        (WHEN.astimezone(timezone(timedelta(hours=5, minutes=30))), WHEN),
        (LOCAL, LOCAL.astimezone(UTC)),
        ("2024-01-02T03:04:05.678901+00:00", WHEN),
        ("2024-01-02T03:04:05.678901Z", WHEN),
        ("2024-01-02 08:34:05.678901+05:30", WHEN),
        (LOCAL.isoformat(), LOCAL.astimezone(UTC)),
        (1704164645, WHEN.replace(microsecond=0)),
        (1704164645.5, WHEN.replace(microsecond=500000)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1.5, datetime(1969, 12, 31, 23, 59, 58, 500000, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("field", ["created_at", "started_at"])
def test_a_time_is_a_datetime_a_text_or_seconds(
    recorder: Any, field: Any, given: Any, expected: Any
) -> None:
    recorder.log_run(minimal(**{field: given}))
    got = recorder.get_run("r1")[field]
    assert got == expected
    assert got.utcoffset() == timedelta(0)


def test_naive_times_are_local_time(store: Store, run_python: "RunPython") -> None:
    code = """
import datetime, runlog
when = datetime.datetime(2024, 7, 1, 12)
run = {"wpk_id": "w", "run_id": "r1", "status": "completed"}
runlog.log_run(run | {"started_at": when, "created_at": when.isoformat()})
got = runlog.get_run("r1")
print(got["started_at"].isoformat(), got["created_at"].isoformat())
"""
    done = run_python(code, env={**store.env, "TZ": "America/New_York"})
    assert done.stdout.split() == ["2024-07-01T16:00:00+00:00"] * 2, done.stderr


def test_hostile_text_comes_back_as_it_is(recorder: Any, store: Store) -> None:
    for number, text in enumerate(HOSTILE):
        fields = {"thread_id": text, "error_type": text, "error_text": text}
        payloads = {
            "inputs": {text: text},
            "outputs": text,
            "node_logs": [{"node": text}],
        }
        run = minimal(text, text, **fields, **payloads, metadata={text: text})
        run["status"] = text
        assert recorder.log_run(run) == text
        got = recorder.get_run(text, text)
        assert {key: got[key] for key in run} == run
        assert [r["run_id"] for r in recorder.list_runs(thread_id=text).runs] == [text]
        assert [r["run_id"] for r in recorder.list_runs(status=text).runs] == [text]
        assert [r[0] for r in recorder.get_runs_by_wpk_id(text)] == [text]
        assert store.query("SELECT count(*) FROM workflow_runs") == [(number + 1,)]
    deleted = [recorder.delete_runs(wpk_id=t, run_id=t, thread_id=t) for t in HOSTILE]
    assert deleted == [1] * len(HOSTILE)


def test_what_the_databases_cannot_hold_is_replaced_in_optional_text(
    recorder: Any,
) -> None:
    text = "nul\0 surrogate\ud800"
    recorder.log_run(minimal(thread_id=text, error_type=text, error_text=text))
    got = recorder.get_run("r1")
    expected = "nul\ufffd surrogate\ufffd"
    assert [got[f] for f in ("thread_id", "error_type", "error_text")] == [expected] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (42, "42"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (1.5, "1.5"),
        (b"ab", "YWI="),
    ],
)
def test_thread_id_becomes_text(recorder: Any, given: Any, expected: Any) -> None:
    recorder.log_run(minimal(thread_id=given))
    assert recorder.get_run("r1")["thread_id"] == expected
    assert len(recorder.list_runs(thread_id=expected).runs) == 1


class Hostile:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("field", ["inputs", "outputs", "node_logs"])
def test_odd_payloads_never_raise(recorder: Any, field: Any) -> None:
    odd: list[Any] = [
        5,
        "text",
        None,
        {},
        [],
        (),
        1e400,
        Plain(),
        CYCLE,
        {"a": CYCLE},
        len,
        b"\0",
        "\ud800",
    ]
    odd += [
        [None],
        [[1]],
        [{"node": 5, "inputs": CYCLE}],
        {1: {None: ()}},
        Hostile(),
        [Hostile()],
    ]
    odd += [np.zeros(2), re.compile("x"), iter([]), type, object(), range(3), 10**5000]
    for number, value in enumerate(odd):
        assert recorder.log_run(minimal(f"r{number}", **{field: value})) == f"r{number}"
    assert len(recorder.get_runs_by_wpk_id("w", limit=100)) == len(odd)
    assert recorder.get_run("r4")[field] == []
    assert recorder.get_run("r8")[field] == ["<cycle>"]
