"""Runs as lines of JSON: what export writes and import reads.

A line has `"runlog": 1`, the version of the format, and every member that `get_run`
gives. Times are text by RFC 3339, in microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

VERSION: Final = 1
LONGEST: Final = 1 << 30
"""Bytes that a line may have."""
GIVEN: Final = (
    "wpk_id",
    "run_id",
    "status",
    "inputs",
    "outputs",
    "node_logs",
    "duration_ms",
    "thread_id",
    "error_type",
    "error_text",
    "error_traceback",
    "metadata",
    "started_at",
    "created_at",
)
"""The members that `log_run` takes. It makes id, updated_at and owner itself."""


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return stamp(value)
    return str(value)


_encode = json.JSONEncoder(
    separators=(",", ":"), check_circular=False, default=_plain
).encode


def stamp(moment: datetime) -> str:
    """A time of UTC by RFC 3339, in microseconds."""
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def cursor_of(row: Any) -> str | None:
    """The cursor of the runs after one, which is its time and its id.

    None for a run without a time, as only other programs write.
    """
    moment = row["created_at"]
    return f"{stamp(moment)}~{row['id']}" if isinstance(moment, datetime) else None


def text_of(value: Any) -> str:
    """A value as JSON of ASCII characters, without control characters."""
    text = _encode(value)
    return text.replace("\x7f", "\\u007f") if "\x7f" in text else text


def _is_lazy(log: Any) -> bool:
    """Whether a log is decoded at its first use (runlog/_lazy.py)."""
    return isinstance(log, dict) and type(log) is not dict


def encode(run: Any) -> Iterator[str]:
    """Yield the line of a run, without its end, in pieces.

    Args:
        run: as `get_run` returns it. Node logs that are decoded when they are asked for
            are written one by one, so that no more than one is in memory.
    """
    logs = run.get("node_logs")
    if type(logs) is not list or not any(map(_is_lazy, logs[:2])):
        yield text_of({"runlog": VERSION, **run})
        return
    rest = {name: value for name, value in run.items() if name != "node_logs"}
    yield text_of({"runlog": VERSION, **rest})[:-1] + ',"node_logs":['
    for place, log in enumerate(logs):
        yield ("," if place else "") + text_of(log)
        if _is_lazy(log):
            logs[place] = None  # it keeps what it has decoded
    yield "]}"


def decode(line: bytes) -> dict[str, Any]:
    """Return the run of a line, as `log_run` takes it.

    Args:
        line: a line as `encode` makes it.

    Raises:
        ValueError: the line holds no run; the message says why.
    """
    try:
        found = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if type(found) is not dict:
        raise ValueError("is no JSON object")
    version = found.get("runlog")
    if version is None:
        raise ValueError('is no line of runlog export: it has no member "runlog"')
    if version != VERSION or type(version) is not int:
        raise ValueError(
            f"has the format {version!r}, and this runlog reads {VERSION}: update runlog"
        )
    return given(found)


def given(run: Any) -> dict[str, Any]:
    """Return what `log_run` takes of a run that `get_run` has returned.

    A member that is null is left out.
    """
    return {name: run[name] for name in GIVEN if run.get(name) is not None}


def lines(stream: Any) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each line that is not empty, from 1.

    Args:
        stream: a binary file.

    Raises:
        ValueError: a line is longer than LONGEST; the message has its number.
    """
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise ValueError(f"line {number} is longer than {LONGEST >> 30} GiB")
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if line := line.strip():
            yield number, line
