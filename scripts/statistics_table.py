"""Write tests/statistics_table.json: tails of distributions as scipy computes them.

python scripts/statistics_table.py     (needs scipy, which nothing else does)
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parent.parent / "tests" / "statistics_table.json"


def main() -> None:
    """Write the table."""
    stats: Any = __import__("scipy.stats").stats
    rng = random.Random(1)  # noqa: S311 - the same table each time
    fisher, t = [], []
    for _ in range(100):
        before, now = rng.choice([30, 900, 40_000]), rng.choice([1, 8, 60, 3_000])
        bad_before = min(before, int(before * rng.random() ** 3))
        bad = min(now, int(now * rng.random() ** 2) + 1)
        whole = before + now
        chance = stats.hypergeom.sf(bad - 1, whole, bad_before + bad, now)
        fisher.append([bad, now, bad_before, before, float(chance)])
        value, degrees = rng.uniform(-4, 12), rng.uniform(1, 60)
        t.append([value, degrees, float(stats.t.sf(value, degrees))])
    interval = stats.binomtest(3, 100).proportion_ci(method="wilson")
    table = {"fisher": fisher, "t": t, "wilson": [3, 100, interval.low, interval.high]}
    text = json.dumps(table).replace("], [", "],\n[").replace('], "', '],\n"')
    TABLE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
