"""Recording of LangGraph: `RunLogHandler`, and functions that register it for graphs.

Importing this module imports langgraph; `import runlog` does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.context import register_configure_hook
from langgraph import errors, types
from langgraph.pregel import main as pregel

from runlog import _runlog
from runlog._default import default_recorder, log_run

try:
    from langgraph.callbacks import GraphCallbackHandler
except ImportError:  # a LangGraph without callbacks for interrupts
    GraphCallbackHandler = BaseCallbackHandler  # type: ignore[assignment,misc]

__all__ = [
    "RunLogHandler",
    "install",
    "on_workflow_complete",
    "recording",
    "uninstall",
]

NodeInputs = Literal["delta", "full", "none"]


def _log_failure(reason: str) -> None:
    logging.getLogger("runlog").error(
        "a graph's run was not recorded (logged once, until a run is recorded again): %s",
        reason,
    )


if TYPE_CHECKING:

    class RunLogHandler(GraphCallbackHandler):
        """Records every run of the graphs that have it in their callbacks.

        Any number of graphs, threads and event loops may use one handler at once. Its
        callbacks never raise: a failure is counted in `stats()` and logged once.

        Args:
            wpk_id: name of the workflow; by default metadata["wpk_id"], else the name of
                the graph.
            recorder: the recorder that stores the runs; by default the module's own.
            node_inputs: how to store the inputs of each node: "delta", the changes
                (`get_run` returns whole inputs); "full", all of them; "none", nothing.
            checkpoint_interval: seconds after which an open run is written, and again
                after each such interval if it has changed. 0: at every event, before the
                callback returns. None: only at its end.

        Raises:
            ValidationError: an argument has another value, or another name.
            TypeError: recorder is not a Recorder.
        """

        def __init__(
            self,
            wpk_id: str | None = None,
            *,
            recorder: _runlog.Recorder | None = None,
            node_inputs: NodeInputs = "delta",
            checkpoint_interval: float | None = 1.0,
        ) -> None: ...
else:
    RunLogHandler = _runlog.make_handler_type(
        GraphCallbackHandler,
        getattr(errors, "ParentCommand", None),
        getattr(errors, "GraphInterrupt", None),
        getattr(errors, "GraphBubbleUp", None),
        getattr(types, "Command", None),
        (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit),
        default_recorder,
        _log_failure,
    )
# LangGraph's TracePolicy, which withholds payloads, applies to tracers only: count as
# one, so that runlog does not record those payloads either.
BaseTracer.register(RunLogHandler)


class _Installed:
    """Takes the place of a ContextVar in langchain-core.

    Its value, a handler or None, is the same in every thread and context.
    """

    handler: RunLogHandler | None = None

    def get(self) -> RunLogHandler | None:
        return self.handler


_installed = _Installed()
_recording: ContextVar[RunLogHandler | None] = ContextVar("runlog", default=None)
_lock = threading.Lock()
_hooked = False
_blocks = 0
"""Number of open blocks of `recording`, in all contexts."""

_MANAGERS = (
    "get_sync_graph_callback_manager_for_config",
    "get_async_graph_callback_manager_for_config",
)
"""LangGraph's functions that find handlers of interrupts, in the config of a run only."""


def _with_handlers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap one of `_MANAGERS`, so that it also finds the handlers of this module."""

    @functools.wraps(original)
    def manager_for(*args: Any, **kwargs: Any) -> Any:
        manager = original(*args, **kwargs)
        for handler in (_recording.get(), _installed.handler):
            if handler is not None:
                with contextlib.suppress(Exception):  # a future manager may differ
                    manager.add_handler(handler, inherit=True)
        return manager

    manager_for.runlog_wraps = original  # type: ignore[attr-defined]
    return manager_for


def _hook() -> None:
    """Make langchain-core and LangGraph ask for the handlers. The lock must be held."""
    global _hooked
    if not _hooked:  # langchain-core has no way to take a hook back
        # In this order, so that the wpk_id of a block precedes that of `install`.
        register_configure_hook(_recording, True)
        register_configure_hook(_installed, True)  # type: ignore[arg-type]
        _hooked = True
    for name in _MANAGERS:
        found = getattr(pregel, name, None)
        if found is not None and not hasattr(found, "runlog_wraps"):
            setattr(pregel, name, _with_handlers(found))


def _unhook() -> None:
    """Restore LangGraph's functions once no handler is left. The lock must be held."""
    if _installed.handler is not None or _blocks > 0:
        return
    for name in _MANAGERS:
        original = getattr(getattr(pregel, name, None), "runlog_wraps", None)
        if original is not None:
            setattr(pregel, name, original)


def install() -> None:
    """Record every graph of the process.

    A run that another handler records in the same recorder is recorded once.
    """
    with _lock:
        if _installed.handler is None:
            _installed.handler = RunLogHandler()
        _hook()


def uninstall() -> None:
    """Undo `install`. Open runs are still recorded to their end."""
    with _lock:
        _installed.handler = None
        _unhook()


@contextlib.contextmanager
def recording(
    wpk_id: str | None = None,
    *,
    recorder: _runlog.Recorder | None = None,
    node_inputs: NodeInputs = "delta",
    checkpoint_interval: float | None = 1.0,
) -> Iterator[RunLogHandler]:
    """Record the graphs that run in a `with` block.

    The block applies to its context, and therefore to asyncio tasks that start in it and
    to threads that get a copy of the context. In nested blocks, the inner one records.

    Args:
        wpk_id: as for `RunLogHandler`.
        recorder: as for `RunLogHandler`.
        node_inputs: as for `RunLogHandler`.
        checkpoint_interval: as for `RunLogHandler`.

    Yields:
        The handler.

    Raises:
        ValidationError, TypeError: as for `RunLogHandler`.
    """
    global _blocks
    handler = RunLogHandler(
        wpk_id,
        recorder=recorder,
        node_inputs=node_inputs,
        checkpoint_interval=checkpoint_interval,
    )
    with _lock:
        _blocks += 1
        _hook()
    token = _recording.set(handler)
    try:
        yield handler
    finally:
        _recording.reset(token)
        with _lock:
            _blocks -= 1
            _unhook()


def on_workflow_complete(run_data: Mapping[str, Any]) -> str:
    """Record a finished workflow, as `log_run` does.

    Args:
        run_data: a run as for `log_run`; the key `workflow_id` may stand for `wpk_id`.

    Returns:
        The run_id.

    Raises:
        The exceptions of `log_run`.
    """
    if isinstance(run_data, Mapping) and "workflow_id" in run_data:
        run_data = dict(run_data)
        run_data.setdefault("wpk_id", run_data.pop("workflow_id"))
    return log_run(run_data)


if os.environ.get("RUNLOG_TRACING") == "1":
    install()
