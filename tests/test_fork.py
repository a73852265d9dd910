"""A fork with an open database: parent and child both go on recording."""

from typing import Any

from conftest import RunPython
from fixtures_store import Store
from helpers import minimal

CHILD = """
import os, sys, runlog
def run(name):
    return {"wpk_id": "w", "run_id": name, "status": "completed"}
%s
child = os.fork()
if child == 0:
    print("child", runlog.log_run(run("child")), flush=True)
    runlog.close()
    os._exit(0)
os.waitpid(child, 0)
for n in range(3):
    print("parent", runlog.log_run(run(f"parent{n}")), flush=True)
print(sorted(r["run_id"] for r in runlog.list_runs().runs))
"""


def fork_after(first: str, store: Store, run_python: RunPython) -> Any:
    done = run_python(CHILD % first, env=store.env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_child_of_an_open_recorder_records(store: Store, run_python: RunPython) -> None:
    lines = fork_after('runlog.log_run(run("first"))', store, run_python)
    assert lines[0] == "child child"
    assert lines[-1] == "['child', 'first', 'parent0', 'parent1', 'parent2']"
    count = store.query("SELECT count(*), count(DISTINCT run_id) FROM workflow_runs")
    assert count == [(5, 5)]


def test_a_child_records_when_the_parent_has_not(
    store: Store, run_python: RunPython
) -> None:
    lines = fork_after("", store, run_python)
    assert lines[0] == "child child"
    assert lines[-1] == "['child', 'parent0', 'parent1', 'parent2']"


def test_a_child_records_when_the_parent_has_closed(
    store: Store, run_python: RunPython
) -> None:
    first = 'runlog.log_run(run("first")); runlog.close()'
    lines = fork_after(first, store, run_python)
    assert lines[0] == "child child"
    assert lines[-1] == "['child', 'first', 'parent0', 'parent1', 'parent2']"


def test_a_child_can_open_a_recorder_of_its_own(
    recorder: Any, store: Store, run_python: RunPython
) -> None:
    """SQLite's own table of open files is inherited, whoever opens the file again."""
    recorder.log_run(minimal("before"))
    code = (
        "import os, runlog\n"
        f"options = {store.options!r}\n"
        "runlog.Recorder(**options).list_runs() and None\n"
        "held = runlog.Recorder(**options)\n"
        "held.list_runs()\n"
        "run = {'wpk_id': 'w', 'status': 'completed'}\n"
        "if os.fork() == 0:\n"
        "    runlog.Recorder(**options).log_run(run | {'run_id': 'child'})\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "held.log_run(run | {'run_id': 'parent'})\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    kept = {run["run_id"] for run in recorder.list_runs().runs}
    assert kept == {"before", "child", "parent"}
