"""Posts findings to a webhook, whose URL is a credential: it is never shown whole."""

from __future__ import annotations

import os
import threading
from typing import Any, Final

from runlog.cli.errors import AwayError, CommandError
from runlog.cli.output import to_json
from runlog.cli.post import check_url, post

VARIABLE: Final = "RUNLOG_WEBHOOK"
SHAPES: Final = ("json", "slack")
_TRIES: Final = 2
_SECONDS: Final = 10.0
_WHOLE: Final = 60.0
"""Seconds after which a post is given up, however slowly its server still answers."""


class Webhook:
    """Where findings are posted to."""

    def __init__(self, url: str, shape: str) -> None:
        self._url = url
        self._shape = shape

    @property
    def url(self) -> str:
        """Its address, which nobody may see."""
        return self._url

    def send(self, key: str, again: bool, finding: Any) -> None:
        """Post a finding.

        Args:
            key: the same for the same news, so that a receiver takes it once.
            again: whether it may have been received before.
            finding: the finding.

        Raises:
            CommandError: the server has refused it, or answered with a redirect.
            AwayError: nobody knows whether it has it: it was not reached, or was silent.
        """
        body = to_json(self._body(key, again, finding)).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        failed: list[BaseException] = []
        taken = threading.Event()

        def work() -> None:
            try:
                post(
                    self._url,
                    body,
                    headers,
                    tries=_TRIES,
                    seconds=_SECONDS,
                    within=_WHOLE,
                    taken=taken.set,
                )
            except Exception as error:  # noqa: BLE001 - raised again below
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True, name="runlog-webhook")
        thread.start()
        thread.join(_WHOLE)
        if thread.is_alive():
            if taken.is_set():
                return  # the body of its answer, of which nothing is needed, is slow
            raise AwayError(f"the webhook has not answered for {_WHOLE:.0f} seconds")
        if failed:
            raise _plain(failed[0])

    def _body(self, key: str, again: bool, finding: Any) -> dict[str, Any]:
        if self._shape == "slack":
            lines = [f"*{finding.kind}* {finding.text}"]
            if finding.runs:
                lines.append(f"runs: {' '.join(finding.runs)}")
            said = "\n".join(lines)
            for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
                said = said.replace(sign, name)  # else Slack reads links and mentions
            return {"text": said}
        return {"id": key, "again": again, "finding": finding.as_json()}


def _plain(error: BaseException) -> Exception:
    """The same error in words of the webhook."""
    if isinstance(error, CommandError):
        said = f"the webhook: {error}"
        if " answered 3" in said:
            said += ": redirects are not followed, name the address that it leads to"
        return CommandError(said)
    if isinstance(error, AwayError):
        return AwayError(f"the webhook: {error}")
    return AwayError(f"the webhook: {type(error).__name__}")  # its text may quote the URL


def webhook(shape: str) -> Webhook | None:
    """The webhook that the environment names; None for none.

    Raises:
        WrongUsageError: its URL can't be used. The message does not quote it.
    """
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        return None
    check_url(url, VARIABLE)
    return Webhook(url, shape)
