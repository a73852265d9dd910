"""What a node changed in the state of its graph."""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.logs import Log, dicts, read_logs

_COMMAND = {"graph", "update", "resume", "goto"}
MISSING = "<missing>"
"""Stands for the value of a key that was not in the state."""


class Change(NamedTuple):
    """A key of the state that a node changed."""

    key: str
    kind: str
    """ "added", "changed" or "appended"; "returned" for a list whose state after is not
    known, as a reducer may have put it together with the one before."""
    before: Any
    after: Any
    """The value after the node's step; of an appended list, the new items only."""


def changes(run: Any, index: int, logs: list[Log] | None = None) -> list[Change]:
    """Return what a node changed, in the order of the keys.

    The state before is the node's inputs; the state after is the inputs of the node that
    follows in its graph, else the outputs of the graph. Nodes that ran side by side give
    the state after together, so only the keys that the node itself returned count.

    Args:
        run: a run as `get_run` returns it.
        index: the place of the node's log.
        logs: its node logs, if they are known already.
    """
    logs = read_logs(run) if logs is None else logs
    log = logs[index]
    before = log.inputs if isinstance(log.inputs, dict) else {}
    update = update_of(log.outputs)
    if update is None:
        return []
    after = _next_state(run, log, logs)
    found = []
    for key, given in update.items():
        old = before.get(key, MISSING)
        known = after is not None and key in after
        new = after[key] if after is not None and known else given
        if not known and type(old) is list and type(new) is list:
            change: Change | None = Change(str(key), "returned", None, new)
        else:
            change = _compare(str(key), old, new)
        if change is not None:
            found.append(change)
    return found


def state_after(run: Any, index: int, logs: list[Log] | None = None) -> Any:
    """Return the state after a node's step, as far as the record has it.

    Returns:
        The inputs of the next node, or the outputs of the graph; else the node's inputs
        with what the node returned; None if neither is a dict.
    """
    logs = read_logs(run) if logs is None else logs
    log = logs[index]
    after = _next_state(run, log, logs)
    if after is not None:
        return after
    update = update_of(log.outputs)
    if isinstance(log.inputs, dict) and update is not None:
        return {**log.inputs, **update}
    return update


def _compare(key: str, old: Any, new: Any) -> Change | None:
    if old is MISSING:
        return Change(key, "added", None, new)
    if old == new and type(old) is type(new):
        return None
    if type(old) is list and type(new) is list and old and new[: len(old)] == old:
        return Change(key, "appended", old, new[len(old) :])
    return Change(key, "changed", old, new)


def update_of(outputs: Any) -> dict[str, Any] | None:
    """Return the keys that a node returned: a dict, a Command, or a list of these."""
    if isinstance(outputs, dict):
        if outputs.keys() >= _COMMAND:
            return update_of(outputs["update"])
        if outputs.keys() == {"update"}:
            return update_of(outputs["update"])
        return outputs
    if type(outputs) is list and outputs and len(dicts(outputs)) == len(outputs):
        merged: dict[str, Any] = {}
        for one in outputs:
            merged |= update_of(one) or {}
        return merged
    return None


def _next_state(run: Any, log: Log, logs: list[Log]) -> dict[str, Any] | None:
    """The inputs of the first node of the next step of its graph, or its outputs.

    A node that was sent a value (`Send`) has that value as its inputs and not the state,
    so inputs that lack a key of the state do not count.
    """
    if log.step is None or log.status != "completed":
        return None
    for one in logs[log.place + 1 :]:
        if one.parent == log.parent and one.step is not None and one.step > log.step:
            own, given = log.inputs, one.inputs  # lazy logs are cheap in their order
            if isinstance(given, dict) and isinstance(own, dict):
                return given if given.keys() >= own.keys() else None
            return None
    if log.parent is None:
        outputs = run.get("outputs")
        return outputs if isinstance(outputs, dict) else None
    return None
