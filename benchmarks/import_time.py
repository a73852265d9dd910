"""Import: `import runlog` over `python -c pass`, each in a new process.

The limit is one of wall time, because a user waits for that. The notes have the CPU time
as well, which is steadier on a busy machine.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from common import alternate, compare, report, scratch, set_up, significant

ROUNDS = 41
SECONDS = 30.0
LIMIT_MS = 15.0
PROGRAMS = {"import": "import runlog", "pass": "pass"}


def run_python(code: str, folder: Path) -> tuple[float, float]:
    """Milliseconds of wall and of CPU time of one child."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code], cwd=folder)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"python -c {code!r} ended with status {child.returncode}")
    return wall * 1000, (used.ru_utime + used.ru_stime) * 1000


def main() -> None:
    set_up()
    cpu: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    # In an empty folder, Python imports the installed package, not the checkout.
    with scratch("import") as folder:

        def measure(name: str, _: int) -> float:
            wall, used = run_python(PROGRAMS[name], folder)
            cpu[name].append(significant(used))
            return wall

        for code in PROGRAMS.values():  # compiles the bytecode, fills the page cache
            run_python(code, folder)
            run_python(code, folder)
        wall = alternate(list(PROGRAMS), measure, ROUNDS, SECONDS)
    claim = compare(
        "import runlog - python -c pass",
        wall["import"],
        wall["pass"],
        LIMIT_MS,
        "ms",
        relation="difference",
    )
    report(
        "import_time",
        [claim],
        {"wall_ms": wall, "cpu_ms": cpu},
        notes={
            "cpu_ms": significant(median(cpu["import"]) - median(cpu["pass"])),
            "interpreter": Path(sys.executable).name,
        },
    )


if __name__ == "__main__":
    main()
