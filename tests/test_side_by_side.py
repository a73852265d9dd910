"""The workers of pytest -n: what happens when one of them dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from child_env import child_env

TESTS = Path(__file__).resolve().parent

DIES = """
import os, signal
if os.environ["PYTEST_XDIST_WORKER"] == "gw1":
    os.kill(os.getpid(), signal.SIGKILL)
def test_that_is_never_run():
    pass
"""


@pytest.mark.long
def test_a_worker_that_dies_before_its_first_test_ends_the_run(tmp_path: Path) -> None:
    """Else the others would wait for it, and nobody would hear of it."""
    (tmp_path / "test_dies.py").write_text(DIES)
    settings = str(TESTS.parent / "pyproject.toml")
    options = ["-n", "2", "--max-worker-restart=0", "-c", settings, "-p", "conftest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        env=child_env({"PYTHONPATH": str(TESTS)}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3
    assert "gw1 died before its first test: exit code -9" in done.stdout
