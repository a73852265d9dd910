"""Copies and pickles of handlers and recorders.

A copy of a handler records to the same recorder, and acts as one with the original. A
pickle holds settings, never credentials.
"""

from __future__ import annotations

import os
import sys

from runlog._imports import importing
from runlog._runlog import dsn_has_secrets

TYPE_CHECKING = False  # typing costs much of an import
if TYPE_CHECKING:
    from typing import Any

    from runlog.recorder import Recorder

_SECRETS = ("openai_key", "openai_headers", "milvus_token")
_URLS = ("openai_base_url", "milvus_endpoint")


def _is_secret(name: str, value: Any) -> bool:
    """Whether an option of a recorder may hold credentials."""
    if name in ("postgres_dsn", "read_dsn"):
        return dsn_has_secrets(value)
    return name in _SECRETS or (name in _URLS and ("@" in value or "?" in value))


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that a recorder was given, for its pickle; a secret one is None."""
    given = {name: value for name, value in options.items() if value is not None}
    if "sqlite_path" in given:
        path = os.fspath(given["sqlite_path"])
        given["sqlite_path"] = os.path.abspath(path)  # noqa: PTH100 - pathlib loads slowly
    return {
        name: None if _is_secret(name, value) else value for name, value in given.items()
    }


def reduce_recorder(recorder: Recorder, given: dict[str, Any]) -> tuple[Any, ...]:
    """Pickle a recorder by the options that it was given.

    Raises:
        TypeError: one of them may hold credentials.
    """
    for name, value in given.items():
        if value is None:
            raise TypeError(
                f"a Recorder that was given {name} can't be pickled: the pickle would "
                "hold credentials. Set the environment variable instead, also for the "
                "process that unpickles, or leave the recorder out of the handler"
            )
    state: Any = recorder.__getstate__()
    if type(state) is dict:
        state = {name: value for name, value in state.items() if name != "_given"}
    return restore_recorder, (type(recorder), given), state or None


def restore_recorder(cls: type[Recorder], given: dict[str, Any]) -> Recorder:
    """What a pickle of a recorder calls; `cls` may have a constructor of its own."""
    recorders = sys.modules["runlog.recorder"]
    recorder = cls.__new__(cls)
    recorders.Recorder.__init__(recorder, **given)
    return recorder


def _twin_of(handler: Any) -> Any:
    cls: Any = type(handler)
    twin = cls.__new__(cls)
    twin._become(handler)  # noqa: SLF001 - ours
    return twin


def _give_state(twin: Any, state: Any) -> None:
    """Set what `__getstate__` has returned, as the module copy does: a subclass may have
    slots, or say itself what a copy has.
    """
    if not state:
        return
    if hasattr(twin, "__setstate__"):
        twin.__setstate__(state)
        return
    members, slots = state if type(state) is tuple else (state, {})
    vars(twin).update(members or {})
    for name, value in slots.items():
        setattr(twin, name, value)


def copy_handler(handler: Any) -> Any:
    """`__copy__` of a handler."""
    twin = _twin_of(handler)
    _give_state(twin, handler.__getstate__())
    return twin


def deepcopy_handler(handler: Any, memo: dict[int, Any]) -> Any:
    """`__deepcopy__` of a handler; the recorder stays the same."""
    with importing:
        import copy

    twin = memo[id(handler)] = _twin_of(handler)
    _give_state(twin, copy.deepcopy(handler.__getstate__(), memo))
    return twin


_OPTIONS = ("recorder", "node_inputs", "checkpoint_interval", "calls", "roots")


def reduce_handler(handler: Any, _: object) -> tuple[Any, ...]:
    """`__reduce_ex__` of a handler, for pickle."""
    wpk_id, *given = handler._arguments()  # noqa: SLF001 - ours
    options = dict(zip(_OPTIONS, given, strict=True))
    return (
        restore_handler,
        (type(handler), wpk_id, options),
        handler.__getstate__() or None,
    )


def restore_handler(cls: Any, wpk_id: str | None, options: dict[str, Any]) -> Any:
    """What a pickle of a handler calls; `cls` may have a constructor of its own."""
    handlers = sys.modules["runlog.hooks"]  # imported with the class
    handler = cls.__new__(cls)
    handlers.RunLogHandler.__init__(handler, wpk_id, **options)
    return handler
