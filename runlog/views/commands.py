"""Command lines that show runs, for people to copy."""

from __future__ import annotations

import shlex


def command(name: str, workflow: str, *run_ids: str) -> str | None:
    """Return a command line of a shell that looks at runs.

    Args:
        name: of the command, such as "show".
        workflow: of the runs.
        run_ids: their ids.

    Returns:
        The command line, quoted. None if a name has characters that can't be seen, as
        whoever pastes a command should know what it is; or if an id would name another
        run: "-" is the newest, and "@failed" the newest that failed.
    """
    if not all(text.isprintable() for text in (workflow, *run_ids)):
        return None
    if any(not one or one == "-" or one.startswith("@") for one in run_ids):
        return None
    last = ["--"] if any(one.startswith("-") for one in run_ids) else []
    return shlex.join(["runlog", name, f"--workflow={workflow}", *last, *run_ids])
