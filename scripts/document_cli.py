"""Write what `runlog list` and `runlog show` print of the demo's runs into README.md.

    .venv/bin/python scripts/document_cli.py     (or make document)

The page has a pair of marks; this script writes the text between them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- runlog -->\n).*?(<!-- end -->)", re.DOTALL)
COMMANDS = [["list", "-n", "3"], ["show", "-"]]
COLUMNS = 88


def printed_by(command: list[str], path: Path) -> str:
    """What a terminal of 88 columns shows of a command, without colour."""
    program = Path(sys.executable).with_name("runlog")
    pipe = subprocess.run(
        [
            "script",
            "-qec",
            f"stty cols {COLUMNS}; {program} {' '.join(command)}",
            "/dev/null",
        ],
        env=os.environ | {"RUNLOG_SQLITE_PATH": str(path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rstrip() for line in pipe.stdout.replace("\r", "").split("\n")]
    text = "\n".join(lines).strip("\n").replace(f"{REPOSITORY}/", "")
    return f"$ runlog {' '.join(command)}\n{text}\n"


def main() -> None:
    """Record the examples' runs, and write what the commands print of them."""
    with tempfile.TemporaryDirectory(prefix="runlog-") as folder:
        path = Path(folder, "runs.db")
        for example in ("demo.py", "agent.py"):
            subprocess.run(
                [sys.executable, REPOSITORY / "examples" / example],
                env=os.environ | {"RUNLOG_SQLITE_PATH": str(path)},
                stdout=subprocess.DEVNULL,
                check=True,
            )
        shown = "\n".join(printed_by(command, path) for command in COMMANDS)
    page = REPOSITORY / "README.md"
    text = MARKED.sub(lambda m: f"{m[1]}```text\n{shown}```\n{m[2]}", page.read_text())
    page.write_text(text)


if __name__ == "__main__":
    main()
