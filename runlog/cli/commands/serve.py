"""Show the history in a browser. It needs the extra web.

On another address than 127.0.0.1, browsers need a token: that of RUNLOG_WEB_TOKEN, or one
that the command makes and prints.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runlog.cli import options
from runlog.cli.errors import DONE, CommandError
from runlog.cli.history import History
from runlog.cli.output import Out

PORT = 7117


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of serve."""
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1")
    parser.add_argument(
        "--port", type=options.at_least(0), default=PORT, help="0 for any free port"
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="another host name of the page, such as a proxy's",
    )
    parser.add_argument(
        "--proxy",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="a trusted proxy, or its network, whose X-Forwarded-For counts",
    )
    parser.add_argument(
        "--read-only", action="store_true", help="without the buttons that delete runs"
    )


def run(args: Namespace, history: History, out: Out) -> int:
    """Serve the page until Ctrl-C."""
    try:
        from runlog.web import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "jinja2", "uvicorn"):
            raise
        from runlog.web import INSTALL

        raise CommandError(INSTALL) from None

    def say(text: str) -> None:
        out.line(text)
        out.flush()

    server.serve(
        history.place,
        host=args.host,
        port=args.port,
        names=args.allow_host,
        proxies=args.proxy,
        allow_delete=not args.read_only,
        say=say,
    )
    return DONE
