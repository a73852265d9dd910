"""The metrics of the history, as Prometheus reads them."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response

from runlog.reading.errors import WrongUsageError
from runlog.web.source import Source


class Metrics:
    """Answers a scrape. Any thread may call it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._registry: Any = None

    def answer(self, accepts: str) -> Response:
        """Return the figures; of a recorder that was given, its process's as well.

        Args:
            accepts: the formats that whoever asks can read.

        Raises:
            WrongUsageError: these name a version that is none.
        """
        try:
            registry = self._registry or self._make()
        except ImportError as error:
            return PlainTextResponse(f"{error}\n", 501)
        from prometheus_client.exposition import choose_encoder

        try:
            encode, media = choose_encoder(accepts)
        except (TypeError, ValueError):
            raise WrongUsageError(
                "the header Accept has a version that is none: write version=1.0.0"
            ) from None
        headers = {"cache-control": "no-store", "content-type": media}
        return Response(encode(registry), 200, headers)

    def _make(self) -> Any:
        from runlog.metrics import collector_of

        collector = collector_of(self._source.open, process=self._source.place is None)
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry()
        registry.register(collector)
        self._registry = registry
        return registry
