"""Show where the history is, and how large."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runlog.cli import options
from runlog.cli.errors import DONE, AwayError
from runlog.cli.history import History
from runlog.cli.output import Field, Out
from runlog.reading import places
from runlog.reading.places import file_size
from runlog.views.words import size

_FIELDS = [
    Field("store", lambda one: one["store"]),
    Field("path", lambda one: one["path"]),
    Field(
        "bytes",
        lambda one: one["bytes"],
        lambda one, _: _size(one["bytes"]),
        right=True,
        title="size",
    ),
    Field("chosen", lambda one: one["chosen"], title="chosen by"),
]


def _size(number: int | None) -> str:
    return "-" if number is None else size(number)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of path."""
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Say where the history is."""
    if options.asks_for_fields(args, out, _FIELDS):
        return DONE
    place = history.place
    bytes_ = file_size(place.path)
    if place.dsn is not None:
        bytes_ = _size_on_server(place.dsn)
    elif not places.applied(place):
        raise AwayError(f"{place.shown()} is no history")
    rows = [
        {
            "store": place.kind,
            "path": place.shown(),
            "bytes": bytes_,
            "chosen": place.chosen,
        }
    ]
    if place.dsn is not None:
        journal = file_size(place.path)
        rows.append(
            {"store": "journal", "path": place.path, "bytes": journal, "chosen": "-"}
        )
    options.write(args, out, _FIELDS, [field.name for field in _FIELDS], rows)
    return DONE


def _size_on_server(dsn: str) -> int | None:
    size: int | None = places.look(dsn)["database"]["bytes"]
    return size
