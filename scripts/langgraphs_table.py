"""Print what the handler's tests gave on each version of LangGraph.

usage: langgraphs_table.py FOLDER VERSION ...

FOLDER has an environment for each version, with pytest's results in results.xml.
"""

import re
import sys
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path
from xml.etree import ElementTree as ET


def installed(where: Path) -> str:
    """The versions of LangGraph and langchain-core in an environment."""
    paths = [str(path) for path in where.glob("lib/python*/site-packages")]
    found = {one.name: one.version for one in distributions(path=paths)}
    return f"{found.get('langgraph')} | {found.get('langchain-core')}"


def results(path: Path) -> tuple[str, Counter[str]]:
    """The counts of passed and failed tests, and of skipped ones for each reason."""
    suites = ET.parse(path).getroot()  # noqa: S314 - pytest has just written it
    counts: Counter[str] = Counter()
    for suite in suites.iter("testsuite"):
        counts.update(
            {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors")}
        )
    skipped = Counter(
        re.sub(r"^LangGraph [\d.]+; ", "", one.get("message", ""))
        for one in suites.iter("skipped")
    )
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - skipped.total()
    return f"{passed} | {failed}", skipped


def main(folder: Path, versions: list[str]) -> None:
    """Print a table, and below it what each version does not deliver."""
    lacks = []
    print("| langgraph | langchain-core | passed | failed | not delivered |")
    print("|---|---|---|---|---|")
    for version in versions:
        counts, skipped = results(folder / version / "results.xml")
        print(f"| {installed(folder / version)} | {counts} | {skipped.total()} |")
        lacks += [f"{version}: {n} tests: {why}" for why, n in sorted(skipped.items())]
    print(*lacks, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
