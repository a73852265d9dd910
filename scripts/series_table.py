"""Write tests/series_table.json: series by the generators of ruptures.

python scripts/series_table.py     (needs ruptures, which nothing else does)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parent.parent / "tests" / "series_table.json"
BEFORE, AFTER = 42, 4
"""Points before and after a change."""
LONG = 2 * (BEFORE + AFTER)
EACH = 20


def cut(series: Any, end: int) -> list[float]:
    """The points before `end`, around their first level."""
    points = series.ravel()[end - BEFORE - AFTER : end]
    middle = points[:BEFORE].mean()
    return [round(float(one - middle), 2) for one in points]


def steps(ruptures: Any, *, up: bool) -> Iterator[list[float]]:
    """A level that changes once, by three to six deviations of the noise."""
    for seed in count():
        series, places = ruptures.pw_constant(
            LONG, n_bkps=1, noise_std=1, delta=(3, 6), seed=seed
        )
        change = places[0]
        if BEFORE <= change <= LONG - AFTER:
            points = cut(series, change + AFTER)
            if (points[-1] > 0) == up:
                yield points


def steady(ruptures: Any) -> Iterator[list[float]]:
    """The same up to the change."""
    for seed in count():
        series, places = ruptures.pw_constant(LONG, n_bkps=1, noise_std=1, seed=seed)
        if places[0] >= BEFORE + AFTER:
            yield cut(series, places[0])


def correlation(ruptures: Any) -> Iterator[list[float]]:
    """One of two variables whose correlation changes, and nothing else."""
    for seed in count():
        series, _ = ruptures.pw_normal(LONG, n_bkps=1, seed=seed)
        yield cut(series[:, 0], BEFORE + AFTER)


def waves(ruptures: Any) -> Iterator[list[float]]:
    """A sum of two waves."""
    for seed in count():
        series, places = ruptures.pw_wavy(LONG, n_bkps=1, noise_std=0.5, seed=seed)
        if places[0] >= BEFORE + AFTER:
            yield cut(series, places[0])


def main() -> None:
    """Write the table."""
    ruptures: Any = __import__("ruptures")
    sorts = {
        "up": steps(ruptures, up=True),
        "down": steps(ruptures, up=False),
        "steady": steady(ruptures),
        "correlation": correlation(ruptures),
        "waves": waves(ruptures),
    }
    table = {name: list(islice(series, EACH)) for name, series in sorts.items()}
    text = json.dumps(table).replace("], [", "],\n[").replace(']], "', ']],\n"')
    TABLE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
