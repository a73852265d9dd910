"""The benchmarks' programs of C build from the headers as they are now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
PROGRAMS = sorted(path.stem for path in BENCHMARKS.glob("*.c"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_builds(name: str, tmp_path: Path) -> None:
    code = f"import bare, pathlib; bare.BUILD = pathlib.Path({str(tmp_path)!r}); "
    code += f"print(bare.build({name!r}))"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert Path(done.stdout.strip()).is_file()
