"""The module in several interpreters of one process: state of its own in each."""

import subprocess
from collections.abc import Callable
from pathlib import Path

CODE = """
try:
    import _interpreters as interpreters
    new = lambda: interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    new = lambda: interpreters.create(isolated=False)
import runlog

def code(name):
    return f'''
import datetime, runlog
runlog.configure(sqlite_path={path!r})
runlog.log_run(dict(wpk_id="w", run_id="{name}", status="completed",
                    inputs=datetime.datetime.now(), started_at=datetime.datetime.now()))
assert runlog.get_run("{name}")["created_at"].tzinfo is datetime.timezone.utc
try:
    runlog.log_run(dict())
except runlog.ValidationError:
    pass
runlog.close()
'''

for n in range(4):
    one = new()
    failed = interpreters.run_string(one, code(f"sub{n}"))
    assert failed is None, failed
    interpreters.destroy(one)
exec(code("main"))
runlog.configure(sqlite_path=path)
print(sorted(run["run_id"] for run in runlog.list_runs().runs))
"""


def test_interpreters_that_share_the_gil_record_independently(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_python(f"path = {str(tmp_path / 'runs.db')!r}\n{CODE}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['main', 'sub0', 'sub1', 'sub2', 'sub3']\n"
