"""Runs as a Parquet file, through duckdb or pyarrow, whichever is installed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

from runlog.cli import jsonl
from runlog.cli.errors import WrongUsageError

COLUMNS: Final = {
    "id": "VARCHAR",
    "wpk_id": "VARCHAR",
    "run_id": "VARCHAR",
    "status": "VARCHAR",
    "duration_ms": "BIGINT",
    "thread_id": "VARCHAR",
    "error_type": "VARCHAR",
    "error_text": "VARCHAR",
    "error_traceback": "VARCHAR",
    "started_at": "TIMESTAMPTZ",
    "created_at": "TIMESTAMPTZ",
    "updated_at": "TIMESTAMPTZ",
    "inputs": "JSON",
    "outputs": "JSON",
    "node_logs": "JSON",
    "metadata": "JSON",
    "owner": "VARCHAR",
}
"""The columns, with their types as duckdb calls them."""
_ROWS: Final = 1000
_TEXT: Final = 1 << 24
"""Rows that pyarrow gets at once, and characters of theirs."""
_LEAST: Final = 1 << 24


def writer() -> Callable[[Iterable[Any], str], None]:
    """Return what writes runs to a file of a name.

    Raises:
        WrongUsageError: neither package is installed.
    """
    if find_spec("duckdb"):
        return _by_duckdb
    if find_spec("pyarrow"):
        return _by_pyarrow
    raise WrongUsageError(
        "Parquet needs the package duckdb or pyarrow. With duckdb alone: runlog export "
        "> runs.jsonl; duckdb -c \"COPY (FROM 'runs.jsonl') TO 'runs.parquet'\""
    )


@contextmanager
def _replacing(name: str) -> Iterator[str]:
    """A name beside a file, which replaces the file when all is written.

    Raises:
        WrongUsageError: nothing can be written there.
    """
    real = os.path.realpath(name)
    folder = os.path.dirname(real)
    try:
        with tempfile.TemporaryDirectory(prefix=".runlog-", dir=folder) as made:
            new = os.path.join(made, "runs.parquet")
            yield new
            os.replace(new, real)
    except OSError as error:
        raise WrongUsageError(f"{name} can't be written: {error.strerror}") from None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _by_duckdb(runs: Iterable[Any], name: str) -> None:
    import duckdb

    with _replacing(name) as new:
        lines = os.path.join(os.path.dirname(new), "runs.jsonl")
        longest = 0
        with open(lines, "w", encoding="ascii") as file:
            for run in runs:
                size = 1
                for piece in jsonl.encode(run):
                    size += file.write(piece)
                file.write("\n")
                longest = max(longest, size)
        types = ", ".join(f"{one}: {_quoted(kind)}" for one, kind in COLUMNS.items())
        most = max(_LEAST, longest + 1024)
        read = (
            f"read_json({_quoted(lines)}, format='newline_delimited', "
            f"columns={{{types}}}, maximum_object_size={most})"
        )
        with duckdb.connect(":memory:", config={"threads": 1}) as connection:
            connection.execute(
                "SET preserve_insertion_order = true; SET TimeZone = 'UTC'"
            )
            connection.execute(
                f"COPY (SELECT * FROM {read}) TO {_quoted(new)} (FORMAT parquet)"  # noqa: S608 - quoted
            )


def _by_pyarrow(runs: Iterable[Any], name: str) -> None:
    import pyarrow
    from pyarrow import parquet

    of = {
        "BIGINT": pyarrow.int64(),
        "TIMESTAMPTZ": pyarrow.timestamp("us", "UTC"),
    }
    schema = pyarrow.schema(
        [(one, of.get(kind, pyarrow.string())) for one, kind in COLUMNS.items()]
    )
    with _replacing(name) as new, parquet.ParquetWriter(new, schema) as file:
        rows: list[dict[str, Any]] = []
        taken = 0
        for run in runs:
            row = _row(run)
            rows.append(row)
            taken += sum(len(one) for one in row.values() if type(one) is str)
            if len(rows) == _ROWS or taken > _TEXT:
                file.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows.clear()
                taken = 0
        file.write_table(pyarrow.Table.from_pylist(rows, schema))


def _row(run: Any) -> dict[str, Any]:
    """The columns of a run, with payloads as text."""
    return {
        name: jsonl.text_of(run[name])
        if kind == "JSON" and run.get(name) is not None
        else run.get(name)
        for name, kind in COLUMNS.items()
    }
