"""LangGraph's callbacks: `RunLogHandler`, and what registers it for every graph.

Importing this module imports langgraph; `import runlog` does not.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.context import register_configure_hook
from langgraph import errors
from langgraph.callbacks import GraphCallbackHandler

from runlog import _runlog
from runlog._default import default_recorder, log_run

__all__ = ["RunLogHandler", "install", "on_workflow_complete", "uninstall"]


def _log_failure(reason: str) -> None:
    logging.getLogger("runlog").error(
        "a graph's run was not kept (told once, until one is kept again): %s", reason
    )


if TYPE_CHECKING:

    class RunLogHandler(GraphCallbackHandler):
        """Records every run of the graphs whose callbacks it is in.

        Args:
            wpk_id: names the workflow; without it metadata["wpk_id"] does, or the name of
                the graph.
            recorder: where runs are kept; by default the module's own.

        Raises:
            ValidationError: wpk_id is neither None nor non-empty text.
            TypeError: recorder is no Recorder.
        """

        def __init__(
            self, wpk_id: str | None = None, *, recorder: _runlog.Recorder | None = None
        ) -> None: ...
else:
    RunLogHandler = _runlog.make_handler_type(
        GraphCallbackHandler,
        getattr(errors, "ParentCommand", None),
        getattr(errors, "GraphBubbleUp", None),
        (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit),
        default_recorder,
        _log_failure,
    )
# LangGraph's TracePolicy withholds payloads from handlers that are tracers only
BaseTracer.register(RunLogHandler)


class _Installed:
    """Stands where langchain-core asks for a ContextVar.

    It gives the same handler in every thread and context, or None.
    """

    handler: RunLogHandler | None = None
    hooked = False

    def get(self) -> RunLogHandler | None:
        return self.handler


_installed = _Installed()


def install() -> None:
    """Record every graph of the process, without naming the handler anywhere.

    A graph whose callbacks hold a RunLogHandler already is recorded by that one only.
    """
    if _installed.handler is None:
        _installed.handler = RunLogHandler()
    if not _installed.hooked:  # langchain-core has no way to take a hook back
        register_configure_hook(_installed, True, RunLogHandler)  # type: ignore[arg-type]
        _installed.hooked = True


def uninstall() -> None:
    """Undo `install`. Runs that are open are still recorded to their end."""
    _installed.handler = None


def on_workflow_complete(run_data: Mapping[str, Any]) -> str:
    """Keep a finished workflow's data; `workflow_id` stands for wpk_id.

    Args:
        run_data: what `log_run` takes, with the workflow under `workflow_id` (or wpk_id).

    Returns:
        The run_id. Raises as `log_run` does.
    """
    if isinstance(run_data, Mapping) and "workflow_id" in run_data:
        run_data = dict(run_data)
        run_data.setdefault("wpk_id", run_data.pop("workflow_id"))
    return log_run(run_data)


if os.environ.get("RUNLOG_TRACING") == "1":
    install()
