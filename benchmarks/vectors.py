"""The scan of vectors: `rl_vectors_search` against a bare AVX2 loop, CPU time a search.

One C program (bare_scan.c) has the same vectors in a store and in one block of memory and
searches both in turns. The memory of the store is judged by the numbers in it alone.
"""

from pathlib import Path
from typing import Any

import bare
from common import Claim, compare, report, set_up, significant

TURNS = 41
SECONDS = 8.0
ROWS = 100_000
FLOAT_BYTES = 4
LIMIT = 1.3
MEMORY_LIMIT = 1.1
SEARCHES = {384: 10, 1536: 4}
"""Of a turn: 70 ms each side."""


def available_bytes() -> int:
    """The memory that programs can still get; all of it where nothing says how much."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
    except OSError:
        return 1 << 62
    return int(fields["MemAvailable"].split()[0]) * 1024


def rows_of(dim: int) -> int:
    """As many rows as both sides have memory for, half of it left alone."""
    return min(ROWS, available_bytes() // 4 // (dim * FLOAT_BYTES))


def main() -> None:
    set_up()
    program = bare.build("bare_scan", bare.build_core(), "-lm")
    claims: list[Claim] = []
    raw: dict[str, Any] = {}
    notes: dict[str, Any] = {"unit": "microseconds of CPU a search, top 10"}
    for dim, searches in SEARCHES.items():
        rows = rows_of(dim)
        name = f"{rows:,} x {dim:,}"
        done = bare.run(program, dim, rows, TURNS, searches, SECONDS)
        ours, peer, restricted = (list(side) for side in zip(*done["turns"], strict=True))
        own_bytes = rows * dim * FLOAT_BYTES
        claims.append(
            compare(f"search {name} / bare {done['bare']}", ours, peer, LIMIT, "us")
        )
        memory = [done["bytes"] / 1e6], [own_bytes / 1e6]
        claims.append(
            compare(f"memory of {name} / its numbers", *memory, MEMORY_LIMIT, "MB")
        )
        raw[name] = {"runlog": ours, "bare": peer, "1/100 of the rows": restricted}
        notes[name] = {
            "kernel": done["kernel"],
            "gb_a_second": significant(own_bytes / min(ours) / 1000),
            "one_group_of_100_us": significant(min(restricted)),
            "resident_mb": significant(done["resident"] / 1e6),
        }
    report("vectors", claims, raw, seed=1, notes=notes)


if __name__ == "__main__":
    main()
