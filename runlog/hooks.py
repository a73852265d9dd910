"""Recording of LangGraph: `RunLogHandler`, and functions that register it for graphs.

Importing this module imports langgraph; `import runlog` does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import runlog
from runlog import _advice, _copies, _runlog
from runlog._default import default_recorder, log_run
from runlog._leaving import state_when_left

if getattr(runlog, "log_run", None) is not log_run:
    raise ImportError(_advice.on_package(runlog.__file__), name="runlog")
try:
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.base import BaseTracer
    from langchain_core.tracers.context import register_configure_hook
    from langgraph import errors, types
    from langgraph.pregel import Pregel

    from runlog._blocks import Asked, Block, registry
except ImportError as error:
    raise type(error)(_advice.on_langgraph(error), name=error.name) from error
try:
    from langgraph.callbacks import GraphCallbackHandler
except ImportError:  # LangGraph before 1.1.7 has no events for pauses
    GraphCallbackHandler = BaseCallbackHandler  # type: ignore[assignment,misc]

__all__ = [
    "RunLogHandler",
    "install",
    "on_workflow_complete",
    "recording",
    "uninstall",
]

pregel = sys.modules[Pregel.__module__]
"""langgraph.pregel.main, or langgraph.pregel before 0.6."""

NodeInputs = Literal["delta", "full", "none"]
Calls = Literal["delta", "full", "summary", "none"]
Roots = Literal["graphs", "all"]


def _log_failure(reason: str) -> None:
    logging.getLogger("runlog").error(
        "a graph's run was not recorded (logged once, until a run is recorded again): %s",
        reason,
    )


if TYPE_CHECKING:

    class RunLogHandler(GraphCallbackHandler):
        """Records every run of the graphs that have it in their callbacks.

        Any number of graphs, threads and event loops may use one handler at once. Its
        callbacks raise only the program's own exceptions, such as a KeyboardInterrupt
        while a value is converted. A failure is counted in `stats()` and logged once.

        A copy, also by `copy.deepcopy`, shares the recorder and the open runs of the
        original. A handler can be pickled, unless its recorder was given credentials.

        Args:
            wpk_id: name of the workflow; by default metadata["wpk_id"], else the name of
                the graph.
            recorder: the recorder that stores the runs; by default the default recorder
                of runlog.
            node_inputs: how to store the inputs of each node: "delta", as changes
                (`get_run` returns whole inputs); "full", whole; "none", not at all.
            checkpoint_interval: seconds between two writes of an open run that has
                changed; the first is after 20 ms at the latest. 0: at every event, before
                the callback returns. None: only at its end.
            calls: how much to keep of the calls of models, tools and retrievers: "delta",
                everything, each message of their prompts once per run (`get_run` returns
                whole prompts); "full", everything, with whole prompts in the database;
                "summary", all but prompts, texts, arguments, outputs and documents;
                "none", only their numbers.
            roots: "all" also records a chain, a model, a tool or a retriever that is
                called outside of a graph, as a run; "graphs" does not.

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
            calls: Calls = "delta",
            roots: Roots = "all",
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
        state_when_left,
    )
    RunLogHandler.__copy__ = _copies.copy_handler
    RunLogHandler.__deepcopy__ = _copies.deepcopy_handler
    RunLogHandler.__reduce_ex__ = _copies.reduce_handler
# LangGraph's TracePolicy, which withholds payloads, applies to tracers only: count as
# one, so that runlog does not record those payloads either.
BaseTracer.register(RunLogHandler)


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
        for handler in (registry.recording(), registry.installed):
            if handler is not None:
                with contextlib.suppress(Exception):  # a future manager may differ
                    manager.add_handler(handler, inherit=True)
        return manager

    manager_for.runlog_wraps = original  # type: ignore[attr-defined]
    return manager_for


def _hook() -> None:
    """Make langchain-core and LangGraph ask for the handlers. The lock must be held."""
    if not registry.hooked:  # langchain-core has no way to take a hook back
        # In this order, so that the wpk_id of a block precedes that of `install`.
        for get in (registry.recording, lambda: registry.installed):
            register_configure_hook(Asked(get), True)  # type: ignore[arg-type]
        registry.hooked = True
    for name in _MANAGERS:
        found = getattr(pregel, name, None)
        if found is not None and not hasattr(found, "runlog_wraps"):
            setattr(pregel, name, _with_handlers(found))


def _unhook() -> None:
    """Restore LangGraph's functions once no handler is left. The lock must be held."""
    if registry.installed is not None or registry.blocks > 0:
        return
    for name in _MANAGERS:
        original = getattr(getattr(pregel, name, None), "runlog_wraps", None)
        if original is not None:
            setattr(pregel, name, original)


def _setting(name: str, default: str) -> Any:
    """A setting of the environment; an empty one counts as none."""
    return os.environ.get(name) or default


def install(*, calls: Calls | None = None, roots: Roots | None = None) -> None:
    """Record every graph of the process.

    A run that another handler records in the same database is recorded once. A second
    call changes only the arguments that it is given.

    Args:
        calls: as for `RunLogHandler`; by default the environment's RUNLOG_CALLS, else
            "delta".
        roots: as for `RunLogHandler`; by default the environment's RUNLOG_ROOTS, else
            "graphs".

    Raises:
        ValidationError: an argument, or the environment, has another value.
    """
    with registry.lock:
        before: Any = registry.installed
        known = type(before) is RunLogHandler
        if not known or calls is not None or roots is not None:
            had = (None, None)
            if before is not None:
                had = before._arguments()[-2:]  # noqa: SLF001 - ours
            registry.installed = RunLogHandler(
                calls=calls or had[0] or _setting("RUNLOG_CALLS", "delta"),
                roots=roots or had[1] or _setting("RUNLOG_ROOTS", "graphs"),
            )
        _hook()


def uninstall() -> None:
    """Undo `install`. Open runs are still recorded to their end."""
    with registry.lock:
        registry.installed = None
        _unhook()


def recording(
    wpk_id: str | None = None,
    *,
    recorder: _runlog.Recorder | None = None,
    node_inputs: NodeInputs = "delta",
    checkpoint_interval: float | None = 1.0,
    calls: Calls = "delta",
    roots: Roots = "graphs",
) -> Block:
    """Record the graphs that run in a `with` block.

    The block applies to the context in which it is entered, and therefore to asyncio
    tasks that start in it and to threads that get a copy of the context; these stay in
    the block until they end. In nested blocks, the inner one records. The block may be
    left in another context or thread, and before blocks within it: that never raises.

    Args:
        wpk_id: as for `RunLogHandler`.
        recorder: as for `RunLogHandler`.
        node_inputs: as for `RunLogHandler`.
        checkpoint_interval: as for `RunLogHandler`.
        calls: as for `RunLogHandler`.
        roots: as for `RunLogHandler`, but "graphs" by default.

    Returns:
        The block, which gives the handler to `as`. It may also be used as a decorator, of
        functions, coroutine functions and generators: then each call is in a block.

    Raises:
        ValidationError, TypeError: as for `RunLogHandler`.
    """
    handler = RunLogHandler(
        wpk_id,
        recorder=recorder,
        node_inputs=node_inputs,
        checkpoint_interval=checkpoint_interval,
        calls=calls,
        roots=roots,
    )
    return Block(handler, _hook, _unhook)


def on_workflow_complete(run_data: Mapping[str, Any]) -> str:
    """Record a finished workflow, as `log_run` does.

    Args:
        run_data: a run as for `log_run`; the key `workflow_id` may replace `wpk_id`.

    Returns:
        The run_id.

    Raises:
        The exceptions of `log_run`.
    """
    if isinstance(run_data, Mapping) and "workflow_id" in run_data:
        run_data = dict(run_data)
        run_data.setdefault("wpk_id", run_data.pop("workflow_id"))
    return log_run(run_data)


def _is_tracing() -> bool:
    """What RUNLOG_TRACING says. A wrong value does not break the import."""
    value = _setting("RUNLOG_TRACING", "0")
    tracing = _runlog.read_switch(value)
    if tracing is None:
        logging.getLogger("runlog").error(
            "RUNLOG_TRACING must be a switch (1, true, yes or on; 0, false, no or off), "
            "not a str of %d character%s, so it records no graph",
            len(value),
            "" if len(value) == 1 else "s",
        )
    return tracing is True


if _is_tracing():
    install()
