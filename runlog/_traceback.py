"""The traceback of a node's or a run's exception as text.

The layout is Python's own, without carets. The line of a library's frame ends in
" [library]", so that readers can fold these; frames of the program's own code have no
mark. Values of variables are not read, nor attributes that a class of the program's may
compute.

The work is bounded, whatever the exception is: of long stacks, chains and groups the ends
are shown.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from runlog._source_lines import SourceLines

Shorten = Callable[[object, int], str]
"""A text, or str() of an exception, without secrets, in at most so many bytes."""

_MESSAGE = 4096  # bytes of a message
_NOTE = 1024
_NOTES = 8
_LINE = 240  # bytes of a source line, characters of a name
_COMPARED = 20_000  # frames of one stack that are compared with the one before
_COUNTED = 100_000  # further ones
_FRAMES = 240  # shown in all
_FRAMES_LEAST = 12  # of each exception
_SAME = 3  # how often the same frame is shown in a row, as in Python
_CHAIN_SEEN = 1_000  # exceptions of a chain that are looked at
_CHAIN_ENDS = 8  # shown at either end
_WIDTH = 15  # exceptions of a group that are shown, as in Python
_DEPTH = 6  # groups within groups
_SHOWN = 48  # exceptions in all

_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"

_FRAMEWORK = {"langgraph", "langchain", "langchain_core"}
_LIBRARIES = _FRAMEWORK | {"langchain_classic", "langchain_community", "runlog"}
_INSTALLED = ("/site-packages/", "/dist-packages/")
_STDLIB = str(Path(os.__file__).parent) + os.sep


class _Frame(NamedTuple):
    """A frame, or several in a row at the same place."""

    file: str
    line: int
    function: str
    package: str  # the first name of its module
    times: int


class _Gap(NamedTuple):
    """Frames that are left out; None: the rest of the stack."""

    frames: int | None


@dataclass(slots=True)
class _Part:
    """An exception of a chain; without an error: some that are left out, or "earlier"."""

    error: BaseException | None
    how: str  # how it led to the next one
    left_out: int | str = 0
    frames: list[_Frame | _Gap] = field(default_factory=list)
    members: list[list[_Part]] | None = None  # of a group: the chain of each
    more: int = 0  # members that are left out


def _reader(owner: type, name: str) -> Callable[[Any], Any]:
    """Reads a field itself, where a subclass may have a property of that name."""
    descriptor: Any = owner.__dict__[name]
    return lambda instance: descriptor.__get__(instance, type(instance))


_stack_of = _reader(BaseException, "__traceback__")
_cause_of = _reader(BaseException, "__cause__")
_context_of = _reader(BaseException, "__context__")
_hides_context = _reader(BaseException, "__suppress_context__")
_attributes_of = _reader(BaseException, "__dict__")
_members_of = _reader(BaseExceptionGroup, "exceptions")
_module_of = _reader(type, "__module__")
_qualname_of = _reader(type, "__qualname__")
_syntax = {
    name: _reader(SyntaxError, name) for name in ("msg", "filename", "lineno", "text")
}


def format_traceback(error: BaseException, shorten: Shorten) -> str:
    """The traceback of an exception, with its causes, contexts, groups and notes.

    Args:
        error: the exception. It is not changed, and no reference to it or to a frame of
            its stack is left.
        shorten: takes a text or an exception, and the bytes of UTF-8 that it may have;
            returns the text without secrets.

    Returns:
        Lines, without a line feed after the last one. It may be longer than what is kept.
    """
    collector = _Collector()
    chain = collector.chain(error, 0)
    share = max(_FRAMES_LEAST, _FRAMES // max(1, len(collector.parts)))
    for part in collector.parts:
        part.frames = _frames(part.error, share)
    return "\n".join(_Writer(collector.parts, shorten).lines(chain))


class _Collector:
    """The exceptions that one text shows."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []  # those with an error
        self._seen: set[int] = set()

    def chain(self, error: BaseException, depth: int) -> list[_Part]:
        """What led to an exception, and itself at the end; of many, both ends."""
        newest: list[_Part] = []
        oldest: deque[_Part] = deque(maxlen=_CHAIN_ENDS)
        how, count = "", 0
        at: BaseException | None = error
        while at is not None and count < _CHAIN_SEEN and id(at) not in self._seen:
            self._seen.add(id(at))
            (newest if count < _CHAIN_ENDS else oldest).append(_Part(at, how))
            count += 1
            if (cause := _cause_of(at)) is not None:
                how, at = _CAUSE, cause
            else:
                how, at = _CONTEXT, None if _hides_context(at) else _context_of(at)
        left_out = count - len(newest) - len(oldest)
        gap = [_Part(None, oldest[0].how, left_out)] if left_out else []
        chain = [*newest, *gap, *oldest]
        if count == 0:  # it is shown already
            return [_Part(error, "")]
        if at is not None and id(at) not in self._seen:
            chain.append(_Part(None, how, "earlier"))
        for part in chain:
            self._add(part, depth)
        return chain[::-1]

    def _add(self, part: _Part, depth: int) -> None:
        """Lists a part, with the members of a group; those that are too many are not."""
        if part.error is None:
            return
        if len(self.parts) >= _SHOWN:
            part.error, part.left_out = None, 1
            return
        self.parts.append(part)
        if issubclass(type(part.error), BaseExceptionGroup):
            members = _members_of(part.error)
            shown = members[: _WIDTH if depth < _DEPTH else 0]
            part.members = [self.chain(member, depth + 1) for member in shown]
            part.more = len(members) - len(shown)


def _frames(error: BaseException | None, share: int) -> list[_Frame | _Gap]:
    """The frames of an exception, the outermost first: of many, the first and last."""
    places, count, goes_on = _places(_stack_of(error))
    rest: list[_Frame | _Gap] = [_Gap(None)] if goes_on else []
    if len(places) <= share:
        return [_frame(*place) for place in places] + rest
    first, last = places[: share // 3], places[share // 3 - share :]
    shown: list[_Frame | _Gap] = [_frame(*place) for place in first]
    shown.append(_Gap(count - sum(times for _, times in (*first, *last))))
    shown += [_frame(*place) for place in last]
    return shown + rest


def _places(
    stack: TracebackType | None,
) -> tuple[list[tuple[TracebackType, int]], int, bool]:
    """The different places of a stack, each with the times in a row, and their sum.

    True in the end: the stack goes on.
    """
    places: list[tuple[TracebackType, int]] = []
    count, times = 0, 0
    at, first = stack, stack
    while at is not None and first is not None and count < _COMPARED:
        if _is_same(at, first):
            times += 1
        else:
            places.append((first, times))
            first, times = at, 1
        count += 1
        at = at.tb_next
    if first is not None:
        places.append((first, times))
    rest: deque[TracebackType] = deque(maxlen=_FRAMES)
    while at is not None and count < _COMPARED + _COUNTED:
        rest.append(at)
        count += 1
        at = at.tb_next
    places += ((place, 1) for place in rest)
    return places, count, at is not None


def _is_same(one: TracebackType, other: TracebackType) -> bool:
    return one is other or (
        one.tb_frame.f_code is other.tb_frame.f_code
        and (one.tb_lasti == other.tb_lasti or one.tb_lineno == other.tb_lineno)
    )


def _frame(at: TracebackType, times: int) -> _Frame:
    code = at.tb_frame.f_code
    module = dict.get(at.tb_frame.f_globals, "__name__")
    package = module.split(".", 1)[0] if type(module) is str else ""
    return _Frame(code.co_filename, at.tb_lineno or 0, code.co_name, package, times)


def _is_installed(frame: _Frame) -> bool:
    return any(folder in frame.file for folder in _INSTALLED)


def _is_stdlib(frame: _Frame) -> bool:
    return frame.file.startswith(("<frozen", _STDLIB)) and not _is_installed(frame)


def _is_library(frame: _Frame) -> bool:
    return frame.package in _LIBRARIES or _is_stdlib(frame) or _is_installed(frame)


def _all_frames(parts: list[_Part]) -> list[_Frame]:
    frames = [frame for part in parts for frame in part.frames]
    return [frame for frame in frames if isinstance(frame, _Frame)]


def _package_of_program(parts: list[_Part]) -> str:
    """The package that counts as the program's own, if no frame is; else ""."""
    frames = _all_frames(parts)
    if not all(_is_library(frame) for frame in frames):
        return ""
    for frame in frames:
        if frame.package not in _FRAMEWORK | {"runlog"} and not _is_stdlib(frame):
            return frame.package
    return ""


class _Writer:
    """Writes the parts as lines."""

    def __init__(self, parts: list[_Part], shorten: Shorten) -> None:
        self._shorten = shorten
        self._program = _package_of_program(parts)
        self._depth = 0  # of groups
        self._open = False  # the frame around a group's members
        self._sources = self._read_sources(parts)

    def _read_sources(self, parts: list[_Part]) -> dict[tuple[str, int], str]:
        """Reads the lines of the program's own frames first."""
        frames = _all_frames(parts)
        frames.sort(key=lambda frame: not self._is_own(frame))
        sources = SourceLines()
        return {(f.file, f.line): sources.get(f.file, f.line) for f in frames}

    def _is_own(self, frame: _Frame) -> bool:
        return not _is_library(frame) or frame.package == self._program != ""

    def _emit(self, lines: Iterator[str] | list[str], margin: str = "|") -> Iterator[str]:
        indent = "  " * self._depth + margin + " " if self._depth else ""
        for line in lines:
            yield indent + line

    def lines(self, chain: list[_Part]) -> Iterator[str]:
        for part in chain:
            if part.error is None:
                plural = "" if part.left_out == 1 else "s"
                yield from self._emit([f"<cut: {part.left_out} exception{plural}>"])
            elif part.members is not None:
                yield from self._group(part, part.members)
            else:
                yield from self._one(part)
            if part.how:
                yield from self._emit(["", part.how, ""])

    def _one(self, part: _Part) -> Iterator[str]:
        if part.frames:
            yield from self._emit(["Traceback (most recent call last):"])
            yield from self._emit(self._stack(part.frames))
        yield from self._emit(self._message(part.error))

    def _group(self, part: _Part, members: list[list[_Part]]) -> Iterator[str]:
        outermost = self._depth == 0
        self._depth += outermost
        if part.frames:
            title = "Exception Group Traceback (most recent call last):"
            yield from self._emit([title], "+" if outermost else "|")
            yield from self._emit(self._stack(part.frames))
        yield from self._emit(self._message(part.error))
        yield from self._members(members, part.more)
        self._depth -= outermost

    def _members(self, members: list[list[_Part]], more: int) -> Iterator[str]:
        for number, chain in enumerate([*members, *([None] if more else [])], 1):
            title = str(number) if chain is not None else "..."
            start = "+-+" if number == 1 else "  +"
            yield "  " * self._depth + f"{start}---------------- {title} ----------------"
            self._open = number == len(members) + bool(more)
            self._depth += 1
            if chain is not None:
                yield from self.lines(chain)
            else:
                plural = "" if more == 1 else "s"
                yield from self._emit([f"and {more} more exception{plural}"])
            if self._open:
                yield "  " * self._depth + "+------------------------------------"
                self._open = False
            self._depth -= 1

    def _stack(self, frames: list[_Frame | _Gap]) -> Iterator[str]:
        for frame in frames:
            if isinstance(frame, _Gap):
                yield f"  <cut: {frame.frames or 'further'} frames>"
                continue
            yield from [*self._place(frame)] * min(frame.times, _SAME)
            if frame.times > _SAME:
                more = frame.times - _SAME
                plural = "" if more == 1 else "s"
                yield f"  [Previous line repeated {more} more time{plural}]"

    def _place(self, frame: _Frame) -> Iterator[str]:
        file, function = _name(frame.file), _name(frame.function)
        mark = "" if self._is_own(frame) else " [library]"
        yield f'  File "{file}", line {frame.line}, in {function}{mark}'
        if source := self._sources[frame.file, frame.line]:
            yield "    " + self._short(source)

    def _short(self, line: str) -> str:
        return _on_one_line(self._shorten(line, _LINE))

    def _message(self, error: BaseException | None) -> Iterator[str]:
        text: object = error
        if issubclass(type(error), SyntaxError):
            assert error is not None
            yield from self._syntax(error)
            message = _syntax["msg"](error)
            text = message if type(message) is str else error
        said = self._shorten(text, _MESSAGE)
        name = _type_name(type(error))
        yield from (f"{name}: {said}" if said else name).split("\n")
        yield from self._notes(error)

    def _notes(self, error: BaseException | None) -> Iterator[str]:
        notes = _attributes_of(error).get("__notes__") if error is not None else None
        if type(notes) is list or type(notes) is tuple:
            for note in notes[:_NOTES]:
                yield from self._shorten(note, _NOTE).split("\n")
            if len(notes) > _NOTES:
                yield f"<cut: {len(notes) - _NOTES} notes>"

    def _syntax(self, error: BaseException) -> Iterator[str]:
        """Where a SyntaxError is; the program may have set anything."""
        file, line, text = (_syntax[key](error) for key in ("filename", "lineno", "text"))
        if type(line) is int:
            name = _name(file) if type(file) is str else "<string>"
            yield f'  File "{name}", line {line}'
        if type(text) is str and (code := text[:8192].strip()):
            yield "    " + self._short(code)


def _type_name(kind: type) -> str:
    module, name = _module_of(kind), _qualname_of(kind)
    if type(module) is not str or module in ("builtins", "__main__"):
        return _name(name)
    return _name(f"{module}.{name}")


def _name(text: str) -> str:
    """A name on one line; of a very long one the end."""
    return _on_one_line(text[-_LINE:])


def _on_one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
