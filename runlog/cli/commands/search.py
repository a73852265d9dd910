"""Find runs by their words, the newest first, or by meaning, the closest first.

All words must occur. "two words" in quotes are a phrase; begin* finds word beginnings.
A search by meaning needs OPENAI_KEY.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.commands.list import fields_of
from runlog.cli.errors import DONE, WrongUsageError
from runlog.cli.history import History
from runlog.cli.names import check_names, short_ids
from runlog.cli.output import Field, Out
from runlog.views.lines import Line
from runlog.views.words import count

_MOST = 1000
"""How many runs search_runs returns."""
_BY_WORDS = ["status", "run", "workflow", "where", "text", "when"]
_BY_MEANING = ["score", "status", "run", "workflow", "at", "duration_ms", "when"]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of search."""
    parser.add_argument("words", metavar="WORD", nargs="*", help="words in the runs")
    parser.add_argument("--meaning", metavar="TEXT", help="the subject of the runs")
    parser.add_argument("-w", "--workflow", metavar="NAME", help="only this workflow")
    parser.add_argument("-s", "--status", metavar="STATUS", help="only this status")
    options.add_times(parser, until=False)
    parser.add_argument("-n", "--limit", type=options.at_least(1, _MOST), default=10)
    options.add_format(parser)


def run(args: Namespace, history: History, out: Out) -> int:
    """Find runs."""
    if options.asks_for_fields(args, out, _fields({})):
        return DONE
    if bool(args.words) == bool(args.meaning):
        raise WrongUsageError(
            "what for? runlog search WORD ..., or runlog search --meaning TEXT"
        )
    filters = options.filters_of(args, history)
    history.close()  # it was opened without the embedding server
    words = False if args.meaning else None  # None: as RUNLOG_WORDS says
    recorder = history.open(search=bool(args.meaning), words=words)
    hits = recorder.search_runs(
        args.meaning or " ".join(args.words),
        by="meaning" if args.meaning else "words",
        limit=args.limit,
        **filters,
    )
    rows = [(hit, history.line(hit)) for hit in hits]
    ids = short_ids([line.run_id for _, line in rows]) if out.is_terminal else {}
    usual = _BY_MEANING if args.meaning else _BY_WORDS
    if not options.write(args, out, _fields(ids), usual, rows):
        check_names(history, filters)
        out.note("no runs")
    if not getattr(hits, "complete", True):
        waiting = count(hits.waiting, "run is", "runs are")
        out.note(f"{waiting} not indexed yet, so there may be more")
    return DONE


def _fields(ids: dict[str, str]) -> list[Field]:
    return [
        Field(
            "score",
            lambda row: row[0].get("score"),
            lambda row, _: "-" if "score" not in row[0] else f"{row[0]['score']:.3f}",
            right=True,
        ),
        Field("where", lambda row: _where(row[0]), least=8, rank=2),
        Field(
            "text",
            lambda row: _text(row[0]),
            lambda row, out: _text(row[0], out) or "-",
            least=20,
        ),
        *map(_of_line, fields_of(ids)),
    ]


def _where(hit: Any) -> str | None:
    """The node and the member that the first hit of the words is in."""
    for snippet in hit.get("snippets", ()):
        node = snippet["node"]
        return f"{node}: {snippet['field']}" if node else str(snippet["field"])
    return None


def _text(hit: Any, out: Out | None = None) -> str | None:
    """The text around the first hit. For a terminal, which has no room for all of it, it
    begins a little before the hit.
    """
    for snippet in hit.get("snippets", ()):
        first = 0
        if out is not None and out.width is not None:
            first = max(0, snippet["start"] - out.width // 8)
        text = " ".join(snippet["text"][first:].split())
        return f"…{text}" if first else text
    return None


def _of_line(field: Field) -> Field:
    """The field of a line, for rows that are a hit and a line."""
    show, status = field.show, field.status

    def shown(row: tuple[Any, Line], out: Out) -> str:
        value = field.value(row[1]) if show is None else show(row[1], out)
        return "-" if value is None else str(value)

    return field._replace(
        value=lambda row: field.value(row[1]),
        show=shown,
        status=None if status is None else lambda row: status(row[1]),
    )
