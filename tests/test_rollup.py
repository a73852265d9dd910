"""The roll-up: what is counted is what the runs add up to, whatever happened to them."""

from __future__ import annotations

import random
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures_store import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rollup_fold import exact, fold

from runlog import Recorder
from runlog.rollup import EDGES, Block, Rollup

BASE = datetime(2026, 11, 1, tzinfo=UTC)
WAIT = 60.0


class History:
    """A recorder, and what its runs were when they were last seen."""

    def __init__(self, store: Store, recorder: Recorder, seed: int) -> None:
        self.store = store
        self.recorder = recorder
        self.random = random.Random(seed)
        self.names: set[tuple[str, str]] = set()
        self.gone: list[Any] = []
        self.prefix = str(uuid.UUID(int=self.random.getrandbits(128)))

    def run(self, wpk_id: str, name: int, at: datetime, status: str) -> dict[str, Any]:
        """A run, with whatever chance gives it."""
        some = self.random
        logs: list[Any] = [self.log() for _ in range(some.randint(0, 4))]
        run: dict[str, Any] = {
            "wpk_id": wpk_id,
            "run_id": f"{self.prefix}-{name}",
            "status": status,
            "node_logs": some.choice([logs, logs, [*logs, 7, {"$of": [0, 1]}], None]),
            "metadata": some.choice(
                [
                    None,
                    {"tokens": {"total": 9, "input": 4}, "llm_calls": 2},
                    {"tokens": {"input": 4}, "llm_calls": 2, "models": ["m-3"]},
                    {"x": []},
                ]
            ),
            "created_at": at,
        }
        if some.random() < 0.9:
            run["duration_ms"] = some.choice([0, 1, 30, 5000, 2_000_000_000])
        if status == "failed":
            run["error_type"] = some.choice(["ValueError", "KeyError"])
            run["error_text"] = f"no {some.randint(0, 99)} of {some.choice('xy')} ä"
            if some.random() < 0.5:
                run["metadata"] = {"totals": {"at": "pay"}}
        return run

    def log(self) -> dict[str, Any]:
        """A node log."""
        some = self.random
        at = BASE + timedelta(seconds=some.randint(0, 100))
        calls = [
            {"kind": "llm", "model": "m-1", "tokens": {"output": 2}},
            {"kind": "llm", "model": "m-1", "tokens": {"output": 2}, "cached": True},
            {"kind": "tool", "model": "m-2"},
        ]
        return {
            "node": some.choice(["draft", "pay", "pay", "ends \u00e4 \n"]),
            "status": some.choice(["completed", "completed", "failed", "odd"]),
            "attempt": some.choice([1, 1, 2, 3]),
            "started_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "duration_ms": some.choice([0.25, 12, 3000.5, None, -1, "x"]),
            "tokens": some.choice(
                [None, {"total": 5, "input_details": {"cache_read": 3, "x": None}}, [1]]
            ),
            "llm_calls": some.choice([0, 1]),
            "models": some.choice([["m-1"], ["m-1", "m-2"], [], None]),
            "calls": calls if some.random() < 0.3 else [],
        }

    def log_run(self, wpk_id: str, name: int, at: datetime, status: str) -> None:
        """Record a run, or one that is there again."""
        run = self.run(wpk_id, name, at, status)
        self.recorder.log_run(run)
        self.names.add((run["run_id"], wpk_id))

    def runs(self) -> list[Any]:
        """The runs that are there."""
        found = [self.recorder.get_run(*name) for name in sorted(self.names)]
        return [run for run in found if run is not None]

    def delete(self, **filters: Any) -> None:
        """Have runlog delete runs."""
        before = {run["id"]: run for run in self.runs()}
        self.recorder.delete_runs(**filters)
        left = {run["id"] for run in self.runs()}
        self.gone += [run for key, run in before.items() if key not in left]

    def delete_elsewhere(self) -> None:
        """Have another program delete a run, between two counts."""
        runs = self.runs()
        if runs:
            self.count()
            run = self.random.choice(runs)
            self.store.query(
                "DELETE FROM workflow_runs WHERE run_id = ? AND wpk_id = ?",
                run["run_id"],
                run["wpk_id"],
            )
            self.gone.append(run)
            self.count()

    def count(self) -> Rollup:
        """Ask for the roll-up."""
        found = self.recorder.rollup(wait=WAIT)
        assert found.waiting == 0, self.recorder.stats()["rollup_error"]
        return found

    def check(self) -> None:
        """Compare the roll-up with the runs."""
        found = {(block.workflow, block.since): block for block in self.count().blocks}
        wanted = fold([*self.runs(), *self.gone])
        empty = exact(Block("", BASE))
        for key in found.keys() | wanted.keys():
            mine = exact(found[key]) if key in found else empty
            theirs = exact(wanted[key]) if key in wanted else empty
            assert mine == theirs, key
        for workflow in {key[0] for key in wanted if wanted[key].run.number}:
            whole = Block(workflow, BASE)
            for key in sorted(wanted):
                if key[0] == workflow:
                    whole.add(wanted[key])
            totals = self.recorder.rollup_totals(wait=WAIT).blocks
            (mine_,) = [block for block in totals if block.workflow == workflow]
            assert exact(mine_)["run"] == exact(whole)["run"]
            assert exact(mine_)["nodes"] == exact(whole)["nodes"]


STATUSES = ["completed", "completed", "failed", "interrupted", "running", "cancelled"]
STEP = st.one_of(
    st.tuples(
        st.just("log"),
        st.sampled_from("ab"),
        st.integers(0, 5),
        st.sampled_from([0, 0, 1, 9_000, 20_000, -40_000, 3_000_000]),
        st.sampled_from(STATUSES),
    ),
    st.tuples(
        st.sampled_from(["count", "delete", "delete by", "elsewhere", "change", "again"])
    ),
)


def walk(history: History, steps: list[Any]) -> None:
    """Do what is asked for."""
    history.count()  # what is deleted before somebody asks is never counted
    for step in steps:
        if step[0] == "log":
            at = BASE + timedelta(seconds=step[3])
            history.log_run(step[1], step[2], at, step[4])
        elif step[0] == "count":
            history.check()
        elif step[0] == "delete":
            history.delete(status="failed")
        elif step[0] == "delete by":
            history.delete(wpk_id="a", before=BASE + timedelta(seconds=5))
        elif step[0] == "elsewhere":
            history.delete_elsewhere()
        elif step[0] == "change":
            history.store.query(
                "UPDATE workflow_runs SET duration_ms = 77 WHERE wpk_id = 'b'"
            )
        else:
            history.recorder._reset_rollup()
    history.check()


@pytest.mark.parametrize("most", [12, pytest.param(200, marks=pytest.mark.long)])
def test_blocks_are_what_the_runs_add_up_to(store: Store, most: int) -> None:
    """Whatever is logged, logged again, late, deleted by whomever, or counted between."""
    with Recorder(**store.options) as recorder:
        recorder.list_runs()  # makes the tables

        @settings(
            max_examples=most,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(STEP, max_size=25), st.integers(0, 1000))
        def check(steps: list[Any], seed: int) -> None:
            for table in (
                *("run_rollup", "run_rollup_state", "workflow_runs", "run_rollup_marks"),
                *("run_rollup_nodes", "run_rollup_workflows"),
            ):
                store.query(f"DELETE FROM {table}")
            walk(History(store, recorder, seed), steps)

        check()


@pytest.mark.long_with("postgres")
def test_leaves_split_and_are_counted_again(store: Store, recorder: Recorder) -> None:
    """With more runs than a leaf, and than a step, has; late ones among them."""
    history = History(store, recorder, 1)
    some = history.random
    for name in range(700):
        history.log_run("a", name, BASE + timedelta(seconds=name // 3), "completed")
    history.check()
    for name in range(700, 1000):
        at = BASE + timedelta(seconds=some.uniform(0, 300))
        history.log_run(some.choice("ab"), name, at, some.choice(STATUSES))
    history.delete(wpk_id="a", status="completed", before=BASE + timedelta(seconds=60))
    history.check()
    assert len(store.query("SELECT 1 FROM run_rollup WHERE level = 0")) > 3
    history.delete(wpk_id="a")
    history.check()
    for block in recorder.rollup(wait=WAIT).blocks:
        assert block.run.number > 0


def test_any_name_of_a_workflow_is_counted(store: Store, recorder: Recorder) -> None:
    """PostgreSQL gets many of them in one text."""
    names = {'a"b', "c\\d", "{e,f}", "NULL", " g'\n"}
    recorder.rollup(wait=WAIT)
    for name in sorted(names):
        recorder.log_run({"wpk_id": name, "run_id": "r", "status": "completed"})
    found = recorder.rollup(wait=WAIT)
    assert found.waiting == 0
    assert {block.workflow for block in found.blocks} == names


@pytest.mark.parametrize("counted", ["before", "after"])
def test_regression_the_last_moment_of_the_calendar(
    store: Store, recorder: Recorder, counted: str
) -> None:
    """No span of time holds it. The walk over the runs ends, and others are counted."""
    if counted == "before":
        recorder.rollup(wait=WAIT)
    for moment in (datetime.max, datetime.min, datetime.max - timedelta(hours=1)):
        at = moment.replace(tzinfo=UTC)
        run = {"wpk_id": "w", "run_id": str(at), "status": "failed", "created_at": at}
        recorder.log_run(run)
        recorder.log_run(run | {"status": "completed"})
    recorder.log_run({"wpk_id": "x", "run_id": "r", "status": "completed"})
    found = recorder.rollup_totals(wait=5)
    assert found.waiting == 0, recorder.stats()["rollup_error"]
    assert {block.workflow: block.run.number for block in found.blocks}["x"] == 1


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("counted", ["before", "after"])
@pytest.mark.parametrize("column", ["wpk_id", "created_at"])
def test_regression_a_blob_in_a_column_of_texts(
    store: Store, recorder: Recorder, counted: str, column: str
) -> None:
    """SQLite keeps it, behind all texts: a walk by texts came to no end."""
    for name in "abc":
        recorder.log_run({"wpk_id": "w", "run_id": name, "status": "completed"})
    if counted == "before":
        assert recorder.rollup(wait=WAIT).waiting == 0
    store.query(
        f"UPDATE workflow_runs SET {column} = CAST({column} AS BLOB) WHERE run_id <> 'c'"
    )
    recorder.log_run({"wpk_id": "x", "run_id": "r", "status": "completed"})
    found = recorder.rollup_totals(wait=5)
    assert found.waiting == 0, recorder.stats()["rollup_error"]
    numbers = {block.workflow: block.run.number for block in found.blocks}
    assert numbers == {"w": 1, "x": 1}


def test_the_buckets_are_those_of_the_extension() -> None:
    """src/rollup/edges_table.h is what gen_edges.py prints."""
    path = Path(__file__).resolve().parent.parent / "src" / "rollup" / "edges_table.h"
    numbers = re.findall(r"UINT64_C\((\d+)\)", path.read_text(encoding="utf-8"))
    assert tuple(map(int, numbers)) == EDGES
