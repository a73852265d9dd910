"""What tests of metrics share: scrapes, read by prometheus-client's own parser."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as om_parse,
)
from prometheus_client.parser import text_string_to_metric_families as parse

import runlog
from runlog.metrics import collector

ROOT = Path(__file__).resolve().parent.parent
Labels = tuple[tuple[str, str], ...]
NOT_NAMES = re.compile(r'"[^"]*"|\{[^}]*\}|\b(?:by|without|on)\s*\([^)]*\)')
NAME = re.compile(r"[a-z:_]*\brunlog[_:][\w:]*")


class Scrape:
    """The series of an exposition."""

    def __init__(self, text: str, openmetrics: bool = False) -> None:
        self.text = text
        self.families = list((om_parse if openmetrics else parse)(text))
        self.samples = [one for family in self.families for one in family.samples]
        self.names = {one.name for one in self.samples}

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the series that have these labels; there has to be one."""
        found: list[float] = [
            one.value
            for one in self.samples
            if one.name == name and labels.items() <= one.labels.items()
        ]
        assert found, (name, labels)
        return sum(found)

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {one.labels[label] for one in self.samples if one.name == name}

    def series(self, but: Iterable[str] = ()) -> dict[tuple[str, Labels], float]:
        """Every series but those whose names begin so."""
        return {
            (one.name, tuple(sorted(one.labels.items()))): one.value
            for one in self.samples
            if not one.name.startswith(tuple(but))
        }


def scrape(recorder: runlog.Recorder | None = None) -> Scrape:
    """What a recorder's own collector says, once all runs are counted."""
    registry = CollectorRegistry()
    registry.register(collector(recorder))
    counted = recorder if recorder is not None else runlog
    assert counted.rollup_totals(wait=60).waiting == 0
    return Scrape(generate_latest(registry).decode())


def fetch(url: str, **headers: str) -> str:
    """The text at an address."""
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def rules() -> list[dict[str, Any]]:
    """The rules of docs/grafana."""
    text = (ROOT / "docs/grafana/rules.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def names_in(expr: str) -> set[str]:
    """The names of the series in an expression of PromQL."""
    return set(NAME.findall(NOT_NAMES.sub(" ", expr)))
