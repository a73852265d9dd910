"""Make a report of insights every few minutes, and post each finding once to a webhook.

RUNLOG_WEBHOOK is its URL. Without it, findings are only printed. A finding is posted
again when it has grown by half, or returns after a day. The file FILE-watch, beside the
history, remembers the posted findings.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import Any

from runlog.cli.commands.insights import read
from runlog.cli.errors import AWAY, DONE, FAULT, AwayError, CommandError, describe
from runlog.cli.history import History
from runlog.cli.output import Out, rfc3339
from runlog.cli.posted import Posted, alone
from runlog.cli.text import safe
from runlog.cli.webhook import SHAPES, Webhook, webhook
from runlog.reading.times import parse_age

_LEAST = 10.0


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of watch."""
    parser.add_argument("workflow", metavar="WORKFLOW", nargs="?")
    parser.add_argument(
        "--every", metavar="TIME", default="5m", help="how often: 5m, 1h; at least 10s"
    )
    parser.add_argument("--once", action="store_true", help="make one report: for cron")
    parser.add_argument(
        "--shape", choices=SHAPES, default="json", help="the format of posts"
    )


def run(args: Namespace, history: History, out: Out) -> int:
    """Watch."""
    pause = max(_LEAST, parse_age(args.every).total_seconds())
    where = webhook(args.shape)
    history.open()  # says what is wrong before anything waits
    target = f"{history.place.shown()} {where.url if where else ''}"
    asked = Namespace(workflow=args.workflow, since=None, wait=60)
    with alone(history.place.path):
        posted = Posted(history.place.path, target)
        while True:
            try:
                code = _look(asked, history, out, posted, where)
            except CommandError as error:
                if args.once:
                    raise
                out.note(f"runlog: {error}")  # a disk that is full may not stay so
            out.flush()
            if args.once:
                return code
            time.sleep(pause)


def _look(
    asked: Namespace, history: History, out: Out, posted: Posted, where: Webhook | None
) -> int:
    """Look once, and post what is new; return the exit code."""
    try:
        report = read(asked, history)
    except Exception as error:  # noqa: BLE001 - said; the next report may succeed
        code, said = describe(error)
        out.note(f"runlog: {said}")
        return code
    code, refusals = DONE, []
    for one in report.findings:
        news = posted.news(one)
        if news is None:
            continue
        try:
            out.line(_post(posted, where, one, news))
        except AwayError as error:
            out.note(f"runlog: {error}; it is sent again with the next report")
            code = AWAY
            break  # the others would wait as long for it
        except CommandError as error:
            posted.refused(one)
            refusals.append(error)
            code = FAULT
    if refusals:
        them = "it is" if len(refusals) == 1 else f"{len(refusals)} findings are"
        out.note(f"runlog: {refusals[0]}; {them} sent again with the next report")
    posted.save()
    return code


def _post(
    posted: Posted, where: Webhook | None, finding: Any, news: tuple[str, bool]
) -> str:
    """Post a finding; return the line that says so."""
    key, again = news
    posted.sending(finding, key)
    if where is not None:
        where.send(key, again, finding)
    posted.sent(finding)
    return f"{rfc3339(time.time())}  {finding.kind}  {safe(finding.text)}"
