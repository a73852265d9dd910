"""The collector for prometheus-client."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as Base
from prometheus_client.samples import Exemplar, Sample

from runlog.metrics.families import FAMILIES, Family
from runlog.metrics.reading import Reader
from runlog.metrics.values import Labels, values_of
from runlog.rollup import CLASSIC_SECONDS, EDGES, Figures

_PLACES: Final = [bisect_left(EDGES, round(1e6 * bound)) for bound in CLASSIC_SECONDS]
"""The place in EDGES of each bound."""
_BOUNDS: Final = [str(bound) for bound in CLASSIC_SECONDS]
_EXEMPLAR: Final = 128
"""Characters that the labels of an exemplar may have in OpenMetrics."""
_ESCAPED: Final = frozenset('"\\\n')
"""Not every parser of exemplars knows how these are escaped."""


class Collector(Base):
    """Reads the history at each scrape."""

    def __init__(self, reader: Reader, process: bool) -> None:
        """Collect what a reader reads.

        Args:
            reader: reads the history.
            process: whether to add the figures of this process.
        """
        self._reader = reader
        self._process = process

    def describe(self) -> Iterator[Metric]:
        """Yield every family without its series: the registry looks at the names."""
        for family in FAMILIES:
            yield _empty(family)

    def collect(self) -> Iterator[Metric]:
        """Yield the families of which something is known. It raises nothing."""
        reading = self._reader.read()
        for family, values in values_of(reading, self._process):
            metric = _empty(family)
            if family.kind == "histogram":
                for labels, figures in values:
                    _add_histogram(metric, family, labels, figures)
            else:
                name = family.shown
                for labels, value in values:
                    pairs = dict(zip(family.labels, labels, strict=True))
                    sample = (
                        Sample(name, value, 1)
                        if family.kind == "info"
                        else Sample(name, pairs, value)
                    )
                    metric.samples.append(sample)
            yield metric


def _empty(family: Family) -> Metric:
    made: dict[str, Any] = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
        "info": InfoMetricFamily,
    }
    metric: Metric = made[family.kind](family.name, family.help, labels=family.labels)
    return metric


def _add_histogram(
    metric: Metric, family: Family, labels: Labels, figures: Figures
) -> None:
    """Add the buckets of durations. The one with the slowest run names it."""
    pairs = dict(zip(family.labels, labels, strict=True))
    counts = sorted(figures.durations.counts.items())
    exemplar, slowest = _exemplar(figures), figures.slowest_us
    bucket, samples = f"{family.name}_bucket", metric.samples
    number, at, below = 0, 0, -1
    for place, bound, text in zip(_PLACES, CLASSIC_SECONDS, _BOUNDS, strict=True):
        while at < len(counts) and counts[at][0] <= place:
            number += counts[at][1]
            at += 1
        here = below < slowest <= 1e6 * bound
        named = exemplar if here else None
        samples.append(Sample(bucket, {**pairs, "le": text}, number, None, named))
        below = round(1e6 * bound)
    total = figures.durations.number
    named = exemplar if slowest > below else None
    samples.append(Sample(bucket, {**pairs, "le": "+Inf"}, total, None, named))
    samples.append(Sample(f"{family.name}_count", pairs, total))
    samples.append(Sample(f"{family.name}_sum", pairs, figures.durations.total / 1e6))


def _exemplar(figures: Figures) -> Exemplar | None:
    run_id = figures.slowest_in
    if run_id is None or len("run_id") + len(run_id) > _EXEMPLAR:
        return None
    if _ESCAPED.intersection(run_id):
        return None
    return Exemplar({"run_id": run_id}, figures.slowest_us / 1e6)
