"""Measure how often planted faults are found, and how often something is found where
none is planted. Write the tables of docs/insights.md.

    .venv/bin/python scripts/insights_report.py [HISTORIES]     (or make insights-report)

The page has a pair of marks; this script writes the tables between them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENT = REPOSITORY / "docs" / "insights.md"
MARKED = re.compile(r"(<!-- rates -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = "| {} | of histories | share | 95 % interval (Wilson) |\n|---|---|---|---|"


def main() -> None:
    """Measure, print, and write."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from insight_rates import CLEAN, FAULTS, measure  # noqa: PLC0415 - where they are

    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    lines = []
    for title, scenes, share in (
        ("nothing is planted: something was found", CLEAN, 1.0),
        ("planted, and found", FAULTS, 0.3),
    ):
        lines.append(HEAD.format(title))
        for scene in scenes:
            rate = measure(scene, max(1, int(number * share)))
            print(rate, flush=True)
            lines.append(rate.row())
        lines.append("")
    text = "\n".join(lines).strip()
    page = DOCUMENT.read_text(encoding="utf-8")
    page = MARKED.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)
    DOCUMENT.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
