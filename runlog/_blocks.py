"""Blocks of `recording`, and what is registered with LangChain for the whole process.

A block may be entered in one context and left in another: a generator runs in the context
of whoever asks for its next item. A token of ContextVar.reset would raise there. So a
context has the blocks around it instead, of which those that are over are skipped.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain_core.tracers import context as langchain_context

from runlog._runlog import current_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from runlog.hooks import RunLogHandler


class _Entry:
    """A block that was entered."""

    __slots__ = ("_over_in", "ended", "handler")

    def __init__(self, handler: RunLogHandler) -> None:
        self.handler = handler
        self.ended = False
        self._over_in: list[weakref.ref[Any]] = []

    def enter(self) -> None:
        """Begin in the current context, in which the variable has been set."""
        self._over_in.append(weakref.ref(current_context()))

    def end(self) -> None:
        """End, in the context in which it began and in the current one.

        A task or thread that copied the context meanwhile stays in the block.
        """
        here = current_context()
        if here is not None and not self.is_listed(here):
            self._over_in.append(weakref.ref(here))
        self.ended = True

    def is_over(self) -> bool:
        """Whether it does not apply to the current context any more."""
        return self.ended and self.is_listed(current_context())

    def is_listed(self, context: object) -> bool:
        """Whether it began in a context, or was ended there."""
        return any(reference() is context for reference in self._over_in)


class Registry:
    """What this process has registered.

    It outlives this module: LangChain keeps the hooks of a module that is reloaded, or
    removed from sys.modules and imported anew.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """A finalizer may end a block while its thread holds it."""
        self.hooked = False
        self.blocks = 0
        """Number of open blocks, in all contexts."""
        self.installed: RunLogHandler | None = None
        self.variable: ContextVar[tuple[_Entry, ...]] = ContextVar("runlog", default=())
        """The blocks around a context, the innermost first; some may be over."""
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self.lock = threading.RLock()  # no thread of the child would release the old one

    def recording(self) -> RunLogHandler | None:
        """The handler of the innermost block around the caller."""
        for entry in self.variable.get():
            if not entry.is_over():
                return entry.handler
        return None

    def around(self) -> tuple[_Entry, ...]:
        """The blocks around the caller, without those that are over: a context in which
        blocks begin that others end would collect them.
        """
        return tuple(entry for entry in self.variable.get() if not entry.is_over())


registry: Registry = getattr(langchain_context, "_runlog", None) or Registry()
"""Kept by langchain-core, like its hooks."""
langchain_context._runlog = registry  # type: ignore[attr-defined] # noqa: SLF001


class Asked:
    """Takes the place of a ContextVar in langchain-core, which asks it for a handler."""

    def __init__(self, get: Any) -> None:
        self.get = get


class Block(contextlib.ContextDecorator):
    """What `recording` returns: a block for `with`, or a decorator.

    Any thread, task or context may leave it, in any order with other blocks; that never
    raises. Several may be in one object at once: each leaves what it entered.
    """

    def __init__(self, handler: RunLogHandler, hook: Any, unhook: Any) -> None:
        self._handler = handler
        self._hook = hook
        self._unhook = unhook
        self._entries: list[_Entry] = []

    def _recreate_cm(self) -> Block:
        return Block(self._handler, self._hook, self._unhook)

    def __call__(self, func: Any) -> Any:
        """Decorate a function: each call is in a block.

        What a coroutine function or a generator function does comes after the call.
        """
        if inspect.iscoroutinefunction(func):
            return self._around_coroutine(func)
        if inspect.isgeneratorfunction(func):
            return self._around_generator(func)
        if inspect.isasyncgenfunction(func):
            return self._around_async_generator(func)
        return super().__call__(func)

    def _around_coroutine(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await func(*args, **kwargs)

        return inner

    def _around_generator(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return (yield from func(*args, **kwargs))

        return inner

    def _around_async_generator(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        async def inner(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            with self._recreate_cm():
                async with contextlib.aclosing(func(*args, **kwargs)) as generator:
                    step = generator.__anext__()
                    while True:
                        try:
                            item = await step
                        except StopAsyncIteration:
                            return
                        try:
                            sent = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as error:  # noqa: BLE001  as `yield from`
                            step = generator.athrow(error)
                        else:
                            step = generator.asend(sent)

        return inner

    def __enter__(self) -> RunLogHandler:
        with registry.lock:
            registry.blocks += 1
            self._hook()
        entry = _Entry(self._handler)
        registry.variable.set((entry, *registry.around()))
        entry.enter()
        self._entries.append(entry)
        return self._handler

    def __exit__(self, *_: object) -> None:
        entry = self._take_entry()
        if entry is None:  # left twice
            return
        entry.end()
        around = registry.around()
        if len(around) < len(registry.variable.get()):
            registry.variable.set(around)
        with registry.lock:
            registry.blocks -= 1
            self._unhook()

    def _take_entry(self) -> _Entry | None:
        """The newest entry of this context. If there is none, the block was entered in
        another context: the newest of all.
        """
        here = current_context()
        while entries := list(self._entries):
            mine = [entry for entry in entries if entry.is_listed(here)]
            entry = (mine or entries)[-1]
            with contextlib.suppress(ValueError):  # another thread has just taken it
                self._entries.remove(entry)
                return entry
        return None
