"""Metrics of the history, for Prometheus and OpenTelemetry.

    from prometheus_client import REGISTRY
    import runlog.metrics
    REGISTRY.register(runlog.metrics.collector())

The figures are read from the database when they are asked for, so every process of a
program has the same ones. docs/metrics.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from runlog._imports import importing

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from prometheus_client.registry import Collector

    from runlog.recorder import Recorder

__all__ = ["collector", "observe"]

INSTALL: Final = (
    'metrics need the package prometheus-client: pip install "langgraph-runlog[metrics]"'
)
_INSTALL_API: Final = (
    "observe needs the package opentelemetry-api: pip install opentelemetry-api"
)


def collector(recorder: Recorder | None = None) -> Collector:
    """Return a collector for a registry of prometheus-client.

    A scrape reads the database, for 5 s at most. If that is out of reach, it has
    `runlog_store_up` 0 and what is known without it.

    Args:
        recorder: what is read; by default the recorder that the functions of `runlog`
            have at that time.

    Raises:
        ImportError: the extra `metrics` is not installed.
    """
    return collector_of(_opener(recorder), process=True)


def observe(meter: Meter | None = None, recorder: Recorder | None = None) -> None:
    """Make observable instruments of OpenTelemetry's metrics API.

    docs/metrics.md, "OpenTelemetry", has their names.

    Args:
        meter: makes them; by default one of the global provider.
        recorder: as for `collector`.

    Raises:
        ImportError: opentelemetry-api is not installed.
    """
    with importing:
        try:
            from runlog.metrics.opentelemetry import make
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "opentelemetry":
                raise
            raise ImportError(_INSTALL_API, name=error.name) from error

    make(meter, _opener(recorder))


def collector_of(open_recorder: Callable[[], Any], *, process: bool) -> Collector:
    """Return a collector of what a function opens.

    Args:
        open_recorder: returns a recorder; it may raise.
        process: whether the process records, and has figures of its own.

    Raises:
        ImportError: the extra `metrics` is not installed.
    """
    with importing:
        try:
            from runlog.metrics.prometheus import Collector as Made
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "prometheus_client":
                raise
            raise ImportError(INSTALL, name=error.name) from error
        from runlog.metrics.reading import Reader

    return Made(Reader(open_recorder), process)


def _opener(recorder: Recorder | None) -> Callable[[], Any]:
    if recorder is not None:
        return lambda: recorder
    from runlog._default import default_recorder

    return default_recorder
