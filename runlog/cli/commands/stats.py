"""Count runs and failures, with percentiles of their times and the slowest nodes.

Times are of the newest completed runs (--limit); nodes, retries, tokens and cost are of
the newest runs (--sample).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import DONE
from runlog.cli.history import History
from runlog.cli.names import check_names
from runlog.cli.output import Field, Out, number, to_json, write_rows
from runlog.views.money import Bill
from runlog.views.summary import Totals, by_node, sparkline, totals
from runlog.views.words import count, duration

_NODES = [
    Field("node", lambda one: one.node, least=8),
    Field("count", lambda one: one.number, right=True),
    Field("failed", lambda one: one.failed, right=True, rank=2),
    Field("retried", lambda one: one.retried, right=True, rank=3),
    number("p50_ms", lambda one: one.p50, duration, rank=4, title="p50"),
    number("p95_ms", lambda one: one.p95, duration, rank=1, title="p95"),
    number("total_ms", lambda one: one.total_ms, duration, rank=5, title="in all"),
]
_SLOWEST = 10
_SPANS = 20
"""Bars of the sparkline."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of stats."""
    parser.add_argument("workflow", metavar="WORKFLOW", nargs="?")
    options.add_times(parser)
    parser.add_argument(
        "-n",
        "--limit",
        type=options.at_least(0),
        default=5_000,
        help="how many runs to read for times",
    )
    parser.add_argument(
        "--sample",
        type=options.at_least(0),
        default=200,
        help="how many runs to read whole",
    )
    options.add_format(parser, fields=False)


def run(args: Namespace, history: History, out: Out) -> int:
    """Count runs."""
    filters = options.filters_of(args, history)
    counts = history.open().count_runs(spans=_SPANS, **filters)
    rows = history.rows(args.limit or None, status="completed", **filters)
    whole = totals(counts, rows)
    if whole.runs == 0:
        check_names(history, filters)
        out.note("no runs")
        if args.output == "table":
            return DONE
    bill = Bill()
    sample = list(history.rows(args.sample, **filters)) if args.sample else []
    nodes, retried, tokens = by_node(bill.add(map(history.run, sample)))
    if args.output in ("json", "jsonl"):
        found: dict[str, Any] = whole._asdict()
        found |= {"sample": len(sample), "retried": retried, "tokens": tokens}
        found |= {"cost": bill.total, "nodes": [one._asdict() for one in nodes]}
        out.line(to_json(found, 2 if args.output == "json" else None))
    elif args.output in ("tsv", "md"):
        write_rows(out, args.output, _NODES, nodes)
    else:
        said = f"of the newest {len(sample):,}: {retried:,} retried"
        said += f", {count(tokens, 'token')}"
        if tokens and bill.total is not None:
            said += f", cost {bill.total}"
        _show(out, whole, rows.next is not None, said if sample else "")
        shown = nodes[:_SLOWEST] if out.shortens else nodes
        if shown:
            out.line()
            write_rows(out, "table", _NODES, shown)
    return DONE


def _show(out: Out, whole: Totals, more: bool, sample: str) -> None:
    share = ", ".join(
        f"{number:,} {status}" for status, number in whole.by_status.items()
    )
    out.paragraph(f"{count(whole.runs, 'run')}: {share}")
    out.line(f"from {out.when(whole.first)} to {out.when(whole.last)}")
    out.line(f"[{sparkline(whole.spark)}]")
    times = (whole.p50, whole.p95, whole.p99)
    shown = "  ".join(
        f"{name} {duration(value)}"
        for name, value in zip(("p50", "p95", "p99"), times, strict=True)
    )
    which = f" (the newest {whole.timed:,})" if more else ""
    out.paragraph(f"completed in {shown}{which}")
    if sample:
        out.paragraph(sample)
