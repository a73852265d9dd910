"""What a graph had left to do when the consumer of its stream left.

A consumer may leave once it has the answer. LangGraph then closes the stream with
GeneratorExit, or cancels its task: the same as in the middle of a run. Only LangGraph's
loop knows whether another node would have run. The exception's traceback leads to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

from runlog._imports import importing

_FAILED = "__error__"
_HANDLED = "__error_source_node__"
_PAUSED = "__interrupt__"
_CONTROL = {_FAILED, _HANDLED, _PAUSED, "__resume__"}
"""Channels by which LangGraph notes what became of a task; they stand in checkpoints."""


def state_when_left(
    error: BaseException, whole: bool, interrupted: bool
) -> tuple[bool, Any] | None:
    """What had become of a graph whose stream ended with this exception.

    The user's reducers may run once more, on copies of the channels.

    Args:
        error: what the graph ended with.
        whole: no node was open or had been cancelled.
        interrupted: a node had been interrupted.

    Returns:
        Whether the graph was interrupted, and its outputs. None if work was left, or if
        that is unknown.
    """
    if not isinstance(error, (GeneratorExit, asyncio.CancelledError)):
        return None
    try:
        loop = _loop_of(error)
        if loop is not None:
            return _state_of(loop, whole, interrupted)
    except Exception:  # another LangGraph, or a reducer that raises
        logging.getLogger("runlog").debug("a graph's state is unknown", exc_info=True)
    return (True, None) if whole and interrupted else None


def _loop_of(error: BaseException) -> Any:
    """The loop of the graph whose method `stream` or `astream` has caught the error."""
    traceback = error.__traceback__
    loop = None if traceback is None else traceback.tb_frame.f_locals.get("loop")
    return loop if hasattr(loop, "checkpoint_pending_writes") else None


def _state_of(loop: Any, whole: bool, interrupted: bool) -> tuple[bool, Any] | None:
    if loop.status == "out_of_steps":
        return None
    if loop.output is not None or loop.status == "done":  # nothing but chunks was left
        return loop.status != "done", _outputs_of(loop)
    if loop.status != "pending":
        return None
    finished = _finished(loop, whole, interrupted)
    return None if finished is None else _next_state(loop, finished == "paused")


def _outputs_of(loop: Any) -> Any:
    with importing:
        from langgraph.pregel._io import read_channels

    if loop.output is not None:
        return loop.output
    return read_channels(loop.channels, loop.output_keys)


def _was_cut(task: Any) -> bool:
    """Whether the task was cancelled, perhaps after its node had ended."""
    return any(
        channel == _FAILED and isinstance(value, asyncio.CancelledError)
        for channel, value in task.writes
    )


def _interrupted(loop: Any, surely: bool) -> set[str]:
    """The ids of the tasks with an interrupt in this run: a resumed one has older ones.

    Older versions of LangGraph do not note which are: there, the events have to tell.
    """
    found = {
        task_id
        for task_id, channel, _ in loop.checkpoint_pending_writes
        if channel == _PAUSED
    }
    written = getattr(loop, "_written_task_ids", found if surely else set())
    return found & written


def _finished(loop: Any, whole: bool, pausing: bool) -> str | None:
    """Whether the step is "done", or "paused" by a task; None if work is left."""
    paused = False
    handled: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    interrupted = _interrupted(loop, whole and pausing)
    for task in loop.tasks.values():
        written = {channel for channel, _ in task.writes}
        if _HANDLED in written:
            handled[loop.nodes[task.name].error_handler_node] += 1
        elif _FAILED in written and not (whole and _was_cut(task)):
            return None
        elif written - _CONTROL:
            ended[task.name] += 1
        elif (_FAILED in written and pausing) or task.id in interrupted:
            paused = True  # the interrupt may still have been on its way out
        else:
            return None
    if handled - ended:
        return None
    return "paused" if paused else "done"


def _next_state(loop: Any, paused: bool) -> tuple[bool, Any] | None:
    """What LangGraph would do after the step, tried on copies."""
    with importing:
        from langgraph.checkpoint.base import copy_checkpoint
        from langgraph.pregel._algo import (
            apply_writes,
            prepare_next_tasks,
            should_interrupt,
        )
        from langgraph.pregel._io import read_channels

    tasks = loop.tasks.values()
    checkpoint = copy_checkpoint(loop.checkpoint)
    channels = {name: channel.copy() for name, channel in loop.channels.items()}
    updated = apply_writes(
        checkpoint,
        channels,
        tasks,
        loop.checkpointer_get_next_version,
        loop.trigger_to_nodes,
    )
    outputs = read_channels(channels, loop.output_keys)
    after = loop.interrupt_after
    if paused or (after and should_interrupt(checkpoint, after, tasks)):
        return True, outputs
    following = prepare_next_tasks(
        checkpoint,
        [],
        loop.nodes,
        channels,
        loop.managed,
        loop.config,
        loop.step + 1,
        loop.stop,
        for_execution=False,
        trigger_to_nodes=loop.trigger_to_nodes,
        updated_channels=updated,
    )
    if not following:
        return False, outputs
    before = loop.interrupt_before
    stops = before == "*" or any(task.name in before for task in following.values())
    return (True, outputs) if before and stops else None
