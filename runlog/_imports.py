"""Imports at their first use, which a fork in another thread waits for.

A thread that forks takes no other thread along. In the child, the locks of modules that
others were importing stay taken: the next import of such a module would wait for ever. So
what runlog imports at a first use, it imports under `importing`, which each fork takes.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock  # threading costs a third of the import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

importing = RLock()
"""Hold it for an import within a function, and for nothing else: `with importing:`.

Not for modules whose body uses runlog, such as runlog.hooks: a thread that imports one
would wait for the lock, whose holder would wait for the module. Re-entrant, as a signal
handler or a finalizer may use runlog meanwhile.
"""

_FORK_SECONDS = 10.0
"""A fork goes on after that: it may be part of a module that the import waits for."""


def load(name: str) -> ModuleType:
    """Import a module for the extension, and return it."""
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None)
    if loaded is not None and not getattr(spec, "_initializing", False):
        return loaded  # not a wait for another module, which may take long
    with importing:
        __import__(name)
        return sys.modules[name]


def _hold() -> None:
    importing.acquire(timeout=_FORK_SECONDS)


def _release() -> None:
    if importing._is_owned():  # type: ignore[attr-defined] # noqa: SLF001 - not after a timeout
        importing.release()


os.register_at_fork(
    before=_hold,
    after_in_parent=_release,
    after_in_child=importing._at_fork_reinit,  # type: ignore[attr-defined] # noqa: SLF001 - as threading does
)
