"""Print the requirements of one of runlog's extras, a line each.

usage: requirements.py [--without-dependencies] EXTRA

pip can only install an extra together with the package; scripts/bootstrap.sh installs the
dependencies alone. The option selects the packages whose own dependencies are not
installed.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def parts(extras: dict[str, list[str]], name: str) -> list[str]:
    """The name of an extra, and of those that it includes as langgraph-runlog[other]."""
    found = [name]
    for line in extras[name]:
        if match := re.fullmatch(r"langgraph-runlog\[([\w,-]+)\]", line):
            for other in match[1].split(","):
                found += parts(extras, other)
    return list(dict.fromkeys(found))


def requirements(lists: dict[str, list[str]], names: list[str]) -> list[str]:
    """The requirements in the lists of these names, without references to extras."""
    found = [line for name in names for line in lists.get(name, [])]
    return [
        line for line in dict.fromkeys(found) if not line.startswith("langgraph-runlog[")
    ]


if __name__ == "__main__":
    pyproject = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    extras = pyproject["project"]["optional-dependencies"]
    names = parts(extras, sys.argv[-1])
    if sys.argv[1] == "--without-dependencies":
        extras = pyproject["tool"]["runlog"]["without-dependencies"]
    print(*(f"{line}\n" for line in requirements(extras, names)), sep="", end="")
