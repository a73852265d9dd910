"""The system's Prometheus: promtool, and servers of tests on free ports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import until


def find(name: str) -> str:
    """The path of a program of Debian's package prometheus."""
    path = shutil.which(name)
    assert path is not None, f"there is no {name}: scripts/bootstrap.sh installs it"
    return path


def promtool(*args: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool; nothing is checked."""
    return subprocess.run(
        [find("promtool"), *args],
        input=given,
        capture_output=True,
        text=True,
        timeout=600,
    )


class Prometheus:
    """A server that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _get(self, path: str, **params: Any) -> Any:
        query = urllib.parse.urlencode(params)
        with urllib.request.urlopen(f"{self._url}{path}?{query}", timeout=60) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str, **params: Any) -> list[Any]:
        """The series that an expression gives now, or at a time."""
        found: list[Any] = self._get("/api/v1/query", query=expr, **params)["result"]
        return found

    def value(self, expr: str) -> float | None:
        """The value of an expression that gives one series, or none."""
        found = self.query(expr)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def during(self, expr: str, start: float, end: float, step: float) -> list[Any]:
        """The series that an expression gives in a span of time."""
        params = {"start": start, "end": end, "step": step}
        found: list[Any] = self._get("/api/v1/query_range", query=expr, **params)[
            "result"
        ]
        return found

    def rules(self) -> list[Any]:
        """The rules, with their health."""
        groups = self._get("/api/v1/rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def exemplars(self, expr: str) -> list[Any]:
        """The exemplars of series."""
        found: list[Any] = self._get(
            "/api/v1/query_exemplars", query=expr, start=0, end=4_000_000_000
        )
        return found


@contextmanager
def prometheus(folder: Path, config: dict[str, Any]) -> Iterator[Prometheus]:
    """A server with a configuration, its data in a folder; it ends with the block."""
    path, log = folder / "prometheus.json", folder / "prometheus.log"
    path.write_text(json.dumps(config), encoding="utf-8")
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                find("prometheus"),
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--storage.tsdb.retention.time=10y",
                "--web.listen-address=127.0.0.1:0",
                "--enable-feature=exemplar-storage",
            ],
            stderr=file,
        )
    try:
        listening = re.compile(r"Listening on.*?address=(127\.0\.0\.1:\d+)")

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            text = log.read_text()
            return listening.search(text) is not None and "is ready to receive" in text

        until(ready)
        match = listening.search(log.read_text())
        assert match is not None
        yield Prometheus(f"http://{match[1]}")
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
