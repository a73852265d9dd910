"""Print the metrics of the history, or serve them for Prometheus.

It needs the extra metrics. It shows the figures of the database; those of a recording
process are only in that process. If the database can't be reached, runlog_store_up is 0.
"""

from __future__ import annotations

import threading
from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli import options
from runlog.cli.errors import AWAY, DONE, CommandError, WrongUsageError
from runlog.cli.history import History
from runlog.cli.output import Out

_LAST_PORT = 65535


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of metrics."""
    parser.add_argument(
        "--port",
        type=options.at_least(0),
        help="serve them on this port until Ctrl-C; 0 for any free port",
    )
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1")


def run(args: Namespace, history: History, out: Out) -> int:
    """Print or serve the metrics."""
    from runlog.metrics import collector_of

    lock = threading.Lock()

    def open_recorder() -> Any:
        with lock:  # several scrapes at once
            return history.open()

    try:
        collector = collector_of(open_recorder, process=False)
    except ImportError as error:
        raise CommandError(str(error)) from None
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(collector)
    if args.port is None:
        return _print(registry, out)
    return _serve(registry, args, history, out)


def _print(registry: Any, out: Out) -> int:
    from prometheus_client import generate_latest

    text = generate_latest(registry).decode()
    out.line(text.rstrip("\n"))
    return DONE if "\nrunlog_store_up 1" in text else AWAY


def _serve(registry: Any, args: Namespace, history: History, out: Out) -> int:
    from prometheus_client import start_http_server

    if args.port > _LAST_PORT:
        raise WrongUsageError(f"there is no port {args.port}: 0 to {_LAST_PORT}")
    try:
        server, thread = start_http_server(args.port, args.host, registry)
    except OSError as error:
        why = error.strerror or str(error)
        raise WrongUsageError(
            f"can't listen on {args.host}, port {args.port}: {why}; see --host and --port"
        ) from None
    name = f"[{args.host}]" if ":" in args.host else args.host
    shown = history.place.shown()
    out.line(f"runlog: {shown} is at http://{name}:{server.server_port}/metrics")
    out.flush()
    try:
        threading.Event().wait()
    finally:
        server.shutdown()
        thread.join()
    return DONE
