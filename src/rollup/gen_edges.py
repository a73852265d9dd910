"""Prints edges_table.h: the bounds of runlog/rollup.py as C."""

from __future__ import annotations

from runlog.rollup import EDGES


def main() -> None:
    """Print the header."""
    rows = [EDGES[at : at + 6] for at in range(0, len(EDGES), 6)]
    print("/* The bounds of a histogram's buckets: gen_edges.py prints this. */")
    print("#ifndef RL_EDGES_TABLE_H\n#define RL_EDGES_TABLE_H\n\n#include <stdint.h>\n")
    print(f"#define RL_EDGES {len(EDGES)}\n")
    print("static const uint64_t rl_edges[RL_EDGES] = {")
    for row in rows:
        print("    " + " ".join(f"UINT64_C({bound})," for bound in row))
    print("};\n\n#endif")


if __name__ == "__main__":
    main()
