"""LangGraph's callbacks: `RunLogHandler`, and what registers it for every graph.

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
except ImportError:  # a LangGraph that tells nobody of interrupts
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
        "a graph's run was not kept (told once, until one is kept again): %s", reason
    )


if TYPE_CHECKING:

    class RunLogHandler(GraphCallbackHandler):
        """Records every run of the graphs whose callbacks it is in.

        Any number of graphs, threads and event loops may use one handler at once. It
        never raises: what it could not keep is counted in `stats()` and logged once.

        Args:
            wpk_id: names the workflow; without it metadata["wpk_id"] does, or the name of
                the graph.
            recorder: where runs are kept; by default the module's own.
            node_inputs: what is kept of the state that each node gets: "delta", what has
                changed (`get_run` gives it back whole); "full", all of it; or "none".
            checkpoint_interval: seconds after which a run that is still open is written
                as it stands, and again where it has changed; 0: at every event, before it
                returns; None: never.

        Raises:
            ValidationError: an argument has another value than these, or another name.
            TypeError: recorder is no Recorder.
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
# LangGraph's TracePolicy withholds payloads from handlers that are tracers only
BaseTracer.register(RunLogHandler)


class _Installed:
    """Stands where langchain-core asks for a ContextVar.

    It gives the same handler in every thread and context, or None.
    """

    handler: RunLogHandler | None = None

    def get(self) -> RunLogHandler | None:
        return self.handler


_installed = _Installed()
_recording: ContextVar[RunLogHandler | None] = ContextVar("runlog", default=None)
_lock = threading.Lock()
_hooked = False
_blocks = 0
"""Blocks of `recording` that are open, in all contexts."""

_MANAGERS = (
    "get_sync_graph_callback_manager_for_config",
    "get_async_graph_callback_manager_for_config",
)
"""LangGraph's own, which look for handlers of interrupts in a run's config only."""


def _with_handlers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap one of `_MANAGERS`, so that it finds the handlers of hooks as well."""

    @functools.wraps(original)
    def manager_for(*args: Any, **kwargs: Any) -> Any:
        manager = original(*args, **kwargs)
        for handler in (_recording.get(), _installed.handler):
            if handler is not None:
                with contextlib.suppress(Exception):  # of a manager that is not as now
                    manager.add_handler(handler, inherit=True)
        return manager

    manager_for.runlog_wraps = original  # type: ignore[attr-defined]
    return manager_for


def _hook() -> None:
    """Have langchain-core and LangGraph ask for the handlers. Lock held."""
    global _hooked
    if not _hooked:  # langchain-core has no way to take a hook back
        # In this order: a block's name for its workflow goes before the process's.
        register_configure_hook(_recording, True)
        register_configure_hook(_installed, True)  # type: ignore[arg-type]
        _hooked = True
    for name in _MANAGERS:
        found = getattr(pregel, name, None)
        if found is not None and not hasattr(found, "runlog_wraps"):
            setattr(pregel, name, _with_handlers(found))


def _unhook() -> None:
    """Give LangGraph its functions back, when nobody needs them any more. Lock held."""
    if _installed.handler is not None or _blocks > 0:
        return
    for name in _MANAGERS:
        original = getattr(getattr(pregel, name, None), "runlog_wraps", None)
        if original is not None:
            setattr(pregel, name, original)


def install() -> None:
    """Record every graph of the process, without naming the handler anywhere.

    A run that another handler records already, in the same recorder, is recorded once.
    """
    with _lock:
        if _installed.handler is None:
            _installed.handler = RunLogHandler()
        _hook()


def uninstall() -> None:
    """Undo `install`. Runs that are open are still recorded to their end."""
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
    """Record the graphs that run in a block.

    As in `with recording("nightly"): graph.invoke(...)`.

    It holds for the context of the block, so for what asyncio starts in it and for
    threads that are given a copy of it. A block within a block is recorded by the inner
    one.

    Args:
        wpk_id: as for `RunLogHandler`.
        recorder: as there.
        node_inputs: as there.
        checkpoint_interval: as there.

    Yields:
        The handler.

    Raises:
        ValidationError, TypeError: as `RunLogHandler` does.
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
