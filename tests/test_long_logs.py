"""Node logs of long runs: decoded when they are asked for, and dicts all the same."""

import copy
import json
import pickle
import sys
import threading
import tracemalloc
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from fixtures_store import Store
from helpers import minimal

import runlog
from runlog._lazy import LazyDict
from runlog._logs import NodeLog

MANY = 1200


def growing(count: int) -> list[dict[str, Any]]:
    """Logs of a graph whose state grows by a message a step, as a handler stores them."""
    logs: list[dict[str, Any]] = []
    for step in range(count):
        delta: dict[str, Any] = {
            "since": step - 1 if step else None,
            "append": {"messages": [step]},
        }
        if step % 7 == 3:
            delta["set"] = {"step": step, "other": ["x"]}
        if step % 7 == 5:
            delta["unset"] = ["step"]
        if step % 7 == 4:
            delta["append"]["other"] = ["y"]
        log = {"node": f"n{step}", "inputs_delta": delta, "outputs": {"é": step}}
        logs.append(log | {"duration_ms": 0.5})
    return logs


def expanded(logs: list[Any], inputs: dict[str, Any]) -> list[Any]:
    """What get_run gives for the logs."""
    done: list[Any] = []
    for log in logs:
        delta = log["inputs_delta"]
        base = inputs if delta["since"] is None else done[delta["since"]]["inputs"]
        state = dict(base)
        for key, tail in delta.get("append", {}).items():
            state[key] = state[key] + tail
        for key in delta.get("unset", ()):
            del state[key]
        state |= delta.get("set", {})
        renamed = {"inputs" if k == "inputs_delta" else k: v for k, v in log.items()}
        done.append(renamed | {"inputs": state})
    return done


INPUTS: dict[str, Any] = {"messages": ["first"], "other": []}
STORED = growing(MANY)
WANT = expanded(STORED, INPUTS)


def run_of(recorder: Any) -> Any:
    return recorder.get_run("r1")


def read(recorder: Any, logs: Any = STORED, inputs: Any = INPUTS) -> list[Any]:
    recorder.log_run(minimal(inputs=inputs, node_logs=logs))
    found = recorder.get_run("r1")["node_logs"]
    assert type(found) is list
    return found


def test_a_long_run_has_the_same_logs(recorder: Any, store: Store) -> None:
    found = read(recorder)
    assert {type(log) for log in found} == {NodeLog}
    assert found == WANT
    if store.kind == "sqlite":  # jsonb sorts keys
        assert [list(log) for log in found] == [list(log) for log in WANT]
    short = read(recorder, STORED[:50])
    assert {type(log) for log in short} == {dict}
    assert short == WANT[:50]


def test_logs_may_be_read_in_any_order(recorder: Any) -> None:
    for order in ([*range(MANY)], [*range(MANY)][::-97], [5, 1199, 0, 5, 600, 599, 601]):
        found = read(recorder)
        for at in order:
            assert found[at]["inputs"] == WANT[at]["inputs"]
        assert found[7] == WANT[7]


def test_what_a_reader_changes_is_its_own(recorder: Any) -> None:
    found = read(recorder)
    inputs = found[100]["inputs"]
    inputs["messages"].append("mine")
    inputs["other"].append("mine")
    inputs["new"] = 1
    assert found[100]["inputs"] == WANT[100]["inputs"]
    assert found[101] == WANT[101]
    found[101]["inputs"] = "mine"
    found[101]["outputs"]["mine"] = 1
    assert found[101]["inputs"] == "mine"
    assert found[101]["outputs"] == {"é": 101, "mine": 1}
    assert found[102:] == WANT[102:]


@pytest.fixture
def log(tmp_path: Any) -> Any:
    with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db")) as recorder:
        return read(recorder)[200]


LOG = WANT[200]


@pytest.mark.parametrize(
    ("call", "want"),
    [
        (lambda log: log == LOG, True),
        (lambda log: LOG.__class__(LOG) == log, True),
        (lambda log: log != LOG, False),
        (lambda log: log == {}, False),
        (lambda log: LOG.__class__(LOG) != log, False),
        (lambda log: log["inputs"], LOG["inputs"]),
        (lambda log: log["node"], "n200"),
        (lambda log: log.get("inputs"), LOG["inputs"]),
        (lambda log: (log.get("none"), log.get("none", 3)), (None, 3)),
        (lambda log: list(log.items()), list(LOG.items())),
        (lambda log: list(log.values()), list(LOG.values())),
        (lambda log: list(log.keys()), list(LOG)),
        (lambda log: log.keys() == LOG.keys(), True),
        (lambda log: list(reversed(log)), list(reversed(LOG))),
        (lambda log: ("inputs" in log, "inputs_delta" in log, 1 in log), (1, 0, 0)),
        (len, len(LOG)),
        (bool, True),
        (list, list(LOG)),
        (dict, LOG),
        (lambda log: {**log}, LOG),
        (lambda log: {} | log, LOG),
        (lambda log: log | {"a": 1}, LOG | {"a": 1}),
        (repr, repr(LOG)),
        (str, str(LOG)),
        (json.dumps, json.dumps(LOG)),
        (lambda log: json.dumps(log, indent=1), json.dumps(LOG, indent=1)),
        (lambda log: json.dumps([{"a": log}]), json.dumps([{"a": LOG}])),
        (lambda log: log.copy(), LOG),
        (copy.copy, LOG),
        (copy.deepcopy, LOG),
        (lambda log: pickle.loads(pickle.dumps(log)), LOG),
        (lambda log: pickle.loads(pickle.dumps(log, 2)), LOG),
        (lambda log: log.pop("inputs"), LOG["inputs"]),
        (lambda log: log.pop("none", 4), 4),
        (lambda log: log.popitem(), ("duration_ms", 0.5)),
        (lambda log: log.setdefault("inputs", 1), LOG["inputs"]),
        (lambda log: log.setdefault("none", 1), 1),
        (lambda log: isinstance(log, dict), True),
        (lambda log: "{node} {outputs}".format(**log), f"n200 {LOG['outputs']}"),
    ],
)
def test_a_log_behaves_as_a_dict(log: Any, call: Any, want: Any) -> None:
    found = call(log)
    assert found == want
    if isinstance(found, dict):
        assert type(found) is dict


def test_changes_of_a_log_stay(recorder: Any) -> None:
    found = read(recorder)
    found[0]["new"] = 1
    del found[1]["inputs"]
    found[2].update({"node": "x"}, y=2)
    found[3] |= {"z": 3}
    found[4].clear()
    found[5].pop("outputs")
    assert found[0] == WANT[0] | {"new": 1}
    assert found[1] == {k: v for k, v in WANT[1].items() if k != "inputs"}
    assert found[2] == WANT[2] | {"node": "x", "y": 2}
    assert found[3] == WANT[3] | {"z": 3}
    assert (found[4], len(found[4]), list(found[4])) == ({}, 0, [])
    assert "outputs" not in found[5]
    assert found[6:] == WANT[6:]
    with pytest.raises(KeyError):
        found[1]["inputs"]
    with pytest.raises(TypeError):
        hash(found[0])
    match found[7]:
        case {"inputs": {"messages": [*_]}, "node": "n7"}:
            pass
        case _:
            pytest.fail("no match")


def test_what_was_read_can_be_logged_again(recorder: Any) -> None:
    found = read(recorder)
    recorder.log_run(minimal("r2", inputs=found[900], outputs=found[:40]))
    again = recorder.get_run("r2")
    assert again["inputs"] == WANT[900]
    assert again["outputs"] == WANT[:40]


@pytest.mark.parametrize(
    "odd",
    [
        5,
        "text",
        None,
        [1],
        {},
        {"inputs_delta": {}},
        {"inputs_delta": 5},
        {"inputs_delta": {"since": 10**30}},
        {"inputs_delta": {"since": -5}},
        {"inputs_delta": {"since": 5000}},
        {"inputs_delta": {"since": 0.0}},
        {"inputs_delta": {"since": "0"}},
        {"inputs_delta": {"since": True and [0]}},
        {"inputs_delta": {"since": 0, "append": {"none": [1]}}},
        {"inputs_delta": {"since": 0, "append": {"messages": 1}}},
        {"inputs_delta": {"since": 0, "append": []}},
        {"inputs_delta": {"since": 0, "unset": ["none"]}},
        {"inputs_delta": {"since": 0, "unset": [[1]]}},
        {"inputs_delta": {"since": 0, "set": [1]}},
    ],
)
def test_logs_of_another_form_stay_as_they_are(recorder: Any, odd: Any) -> None:
    after = {"node": "after", "inputs_delta": {"since": MANY, "set": {"a": 1}}}
    fine = {"node": "fine", "inputs_delta": {"since": MANY - 1, "set": {"a": 1}}}
    found = read(recorder, [*STORED, odd, after, fine])
    assert found[MANY : MANY + 2] == [odd, after]
    assert found[MANY + 2]["inputs"] == WANT[-1]["inputs"] | {"a": 1}


def test_whole_inputs_begin_a_new_chain(recorder: Any) -> None:
    whole = {"node": "whole", "inputs": {"messages": ["new"]}}
    more = {"inputs_delta": {"since": MANY, "append": {"messages": ["er"]}}}
    old = {"inputs_delta": {"since": MANY - 1, "append": {"messages": ["old"]}}}
    found = read(recorder, [*STORED, whole, more, more, old])
    assert found[MANY] == whole
    assert found[MANY + 1] == found[MANY + 2] == {"inputs": {"messages": ["new", "er"]}}
    assert found[-1]["inputs"]["messages"] == [*WANT[-1]["inputs"]["messages"], "old"]


def test_few_logs_with_large_states_are_not_all_expanded(recorder: Any) -> None:
    inputs = {"messages": [0] * 100_000}
    delta = {"since": None, "append": {"messages": [1]}}
    logs = [{"inputs_delta": {**delta, "since": i - 1 if i else None}} for i in range(50)]
    found = read(recorder, logs, inputs)
    assert {type(log) for log in found} == {NodeLog}
    assert found[-1]["inputs"]["messages"] == inputs["messages"] + [1] * 50


def test_threads_read_the_same_logs(recorder: Any) -> None:
    found = read(recorder)
    wrong: list[int] = []

    def walk(step: int) -> None:
        wrong.extend(
            at for at in range(0, MANY, step) if found[at]["inputs"] != WANT[at]["inputs"]
        )

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=walk, args=(n,)) for n in (1, 2, 3, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


class Slow(LazyDict):
    """Does something while it is loaded, once, and while it takes what was loaded."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile
        self.sizes: list[int] = []

    def _load(self) -> dict[str, Any]:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return Taken(self)


class Taken(dict[str, Any]):
    """What was loaded."""

    def __init__(self, log: Slow) -> None:
        super().__init__(node="n", status="completed")
        self.log = log

    def items(self) -> Any:
        for item in super().items():
            self.log.sizes.append(dict.__len__(self.log))
            yield item


def test_a_thread_that_loads_a_log_undoes_no_change_of_another() -> None:
    def change() -> None:
        thread = threading.Thread(target=slow.update, kwargs={"status": "mine"})
        thread.start()
        thread.join()

    slow = Slow(change)
    assert slow["node"] == "n"
    assert slow == {"node": "n", "status": "mine"}


def test_a_log_is_at_no_moment_empty() -> None:
    """json.dumps would take it for `{}`."""
    slow = Slow(lambda: None)
    assert slow["node"] == "n"
    assert slow.sizes == [1, 1]


def messages(count: int) -> list[Any]:
    """Logs of about as much text as those of a chat."""
    text = "message of some length, about fifty characters as usual"
    return [
        {
            "node": f"node:{step}",
            "status": "completed",
            "step": step,
            "attempt": 1,
            "parent": None,
            "error_type": None,
            "error_text": None,
            "inputs_delta": {
                "since": step - 1 if step else None,
                "append": {"messages": [{"type": "ai", "content": f"{step} {text}"}]},
            },
            "outputs": {"messages": [{"type": "ai", "content": f"{step} {text}"}]},
            "started_at": "2026-11-23T18:00:00.123456Z",
            "duration_ms": 1.5,
            "models": [],
        }
        for step in range(count)
    ]


def test_memory_stays_within_three_times_the_text(tmp_path: Any) -> None:
    logs = messages(10_000)
    size = len(json.dumps(logs, separators=(",", ":")))
    with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db")) as recorder:
        recorder.log_run(minimal(inputs={"messages": []}, node_logs=logs))
        recorder.get_run("none")
        tracemalloc.start()
        try:
            found = run_of(recorder)["node_logs"]
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(found) == 10_000
    assert len(found[-1]["inputs"]["messages"]) == 10_000
    print(held / size, peak / size)
    assert held < 2 * size
    assert peak < 3 * size


def test_reading_all_nodes_takes_linear_time(recorder: Any) -> None:
    """Of the first member of each state; the lists are copied, which is quick."""

    def cost(count: int) -> float:
        found = read(recorder, growing(count))
        start = process_time()
        for log in found:
            assert log["inputs"]["messages"][0] == "first"
        return process_time() - start

    cost(MANY)
    assert cost(4 * MANY) < 4 * 3 * cost(MANY)


def test_an_open_run_of_many_nodes(recorder: Any, store: Store) -> None:
    recorder.log_run(minimal(status="running", inputs=INPUTS))
    ((run,),) = store.query("SELECT id FROM workflow_runs")
    holes = ", ".join(["('w', ?, ?, ?, 1)"] * 100)
    for first in range(0, MANY, 100):
        values = [
            value
            for at in range(first, first + 100)
            for value in (run, f"n{at:010}", json.dumps(STORED[at]))
        ]
        store.query(f"INSERT INTO run_parts VALUES {holes}", *values)
    assert recorder.get_run("r1")["node_logs"] == WANT
