"""Code shared by the benchmark scripts: environment, CPU time, claims, and their JSON.

A script prints one JSON document on stdout: the machine, the versions, the seed, every
round as measured ("raw"), and a list of claims. A claim is a figure with its limit, and
whether the figure meets it. A ratio is "ours" divided by "peer".
"""

import ctypes
import ctypes.util
import gc
import json
import os
import platform
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, Literal, NoReturn, TypedDict

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
LOAD = os.getloadavg()
"""The load average before the script has done anything."""
SETTINGS = ("POSTGRES_DSN", "RUNLOG_", "OPENAI_", "MILVUS_")


class Claim(TypedDict):
    """One line of the table. The figures of all rounds are between `low` and `high`."""

    name: str
    ours: float
    peer: float
    unit: str
    figure: float
    low: float
    high: float
    best: float
    limit: float | None
    at_most: bool
    holds: bool
    statistic: str


def significant(value: float, digits: int = 4) -> float:
    """The value rounded to so many digits, to keep noise out of the raw rounds."""
    return float(f"{value:.{digits}g}")


def cpu_seconds() -> float:
    """User and system time of this process, of all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def compare(
    name: str,
    ours: Sequence[float],
    peer: Sequence[float],
    limit: float | None,
    unit: str,
    *,
    relation: Literal["ratio", "difference"] = "ratio",
    higher_is_better: bool = False,
) -> Claim:
    """Make a claim from rounds of both sides, judged by the median of the rounds.

    Both sides of a round were measured one after the other, so a machine that is slow for
    some seconds slows both. What has no limit is not judged.
    """
    pick = max if higher_is_better else min

    def relate(a: float, b: float) -> float:
        return a - b if relation == "difference" else a / b

    figures = [relate(a, b) for a, b in zip(ours, peer, strict=True)]
    figure = median(figures)
    distance = 0.0 if limit is None else figure - limit
    return Claim(
        name=name,
        ours=significant(median(ours)),
        peer=significant(median(peer)),
        unit=unit,
        figure=significant(figure),
        low=significant(min(figures)),
        high=significant(max(figures)),
        best=significant(relate(pick(ours), pick(peer))),
        limit=limit,
        at_most=not higher_is_better,
        holds=distance >= 0 if higher_is_better else distance <= 0,
        statistic=f"median of the {relation}s of {len(ours)} rounds",
    )


def per_row(rounds: Sequence[dict[str, Any]], key: str) -> list[float]:
    """The cost of a row in each round, from the cost of all its rows."""
    return [significant(measured[key] / measured["rows"]) for measured in rounds]


def alternate(
    names: Sequence[str],
    measure: Callable[[str, int], float],
    rounds: int,
    seconds: float,
) -> dict[str, list[float]]:
    """Call measure(name, round) for each side, in reverse order in every other round.

    Stop early when the time is up, but not before three rounds.
    """
    measured: dict[str, list[float]] = {name: [] for name in names}
    deadline = time.monotonic() + seconds
    for number in range(rounds):
        if number >= 3 and time.monotonic() > deadline:
            break
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()
            measured[name].append(significant(measure(name, number), 6))
    return measured


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    for line in text.splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def machine() -> dict[str, Any]:
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "load_at_start": [round(x, 2) for x in LOAD],
    }


def _library(name: str, function: str, result: Any) -> Any:
    """The result of a library's version function; None without the library."""
    path = ctypes.util.find_library(name)
    if path is None:
        return None
    call = getattr(ctypes.CDLL(path), function)
    call.restype = result
    return call()


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, Any]:
    sqlite = _library("sqlite3", "sqlite3_libversion", ctypes.c_char_p)
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "runlog": _package("runlog"),
        "sqlite": sqlite.decode() if sqlite else None,
        "libpq": _library("pq", "PQlibVersion", ctypes.c_int),
        "orjson": _package("orjson"),
        "psycopg": _package("psycopg"),
    }


def report(
    benchmark: str,
    claims: list[Claim],
    raw: dict[str, Any],
    *,
    seed: int | None = None,
    notes: dict[str, Any] | None = None,
    more_versions: dict[str, Any] | None = None,
) -> None:
    """Print the document of one script."""
    document = {
        "benchmark": benchmark,
        "machine": machine(),
        "versions": {**versions(), **(more_versions or {})},
        "seed": seed,
        "claims": claims,
        "notes": notes or {},
        "raw": raw,
    }
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
    print()


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A temporary folder under build/bench, and so on the disk of the checkout."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=BUILD))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def need_room(needed: float) -> None:
    """End the script where the disk of the checkout has fewer bytes than it fills."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(BUILD).free < needed:
        raise SystemExit(f"skipped: {needed / 1e9:.1f} GB are needed on this disk")


def set_up() -> None:
    """Measure runlog's defaults, and let SIGTERM end a script as an exception would.

    A DSN in the environment would send the benchmark's rows to the user's database. The
    index of words is filled by a thread of the same process; words.py measures it alone.
    """
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            del os.environ[name]
    os.environ["RUNLOG_WORDS"] = "0"

    def leave(signum: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, leave)
