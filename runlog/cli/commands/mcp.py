"""Give the history to a coding agent, by the Model Context Protocol on stdio.

It only reads. It needs the extra mcp. The agent's program starts this command.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runlog.cli.errors import DONE, WrongUsageError
from runlog.cli.history import History
from runlog.cli.output import Out

_INSTALL = 'the protocol needs more packages: pip install "langgraph-runlog[mcp]"'


def add_arguments(_: ArgumentParser) -> None:
    """There are none but --db."""


def run(args: Namespace, history: History, out: Out) -> int:  # noqa: ARG001
    """Answer a client until it closes standard input, or Ctrl-C."""
    try:
        from runlog.cli import mcp_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("anyio", "mcp", "pydantic"):
            raise
        raise WrongUsageError(_INSTALL) from None
    mcp_server.serve(history.place)
    return DONE
