"""Print the requirements of one of runlog's extras, a line each.

pip can only install an extra together with the package; the bootstrap wants the
dependencies first, and alone.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(extras: dict[str, list[str]], name: str) -> list[str]:
    """The requirements of an extra, with runlog[other] replaced by those of the other."""
    found: list[str] = []
    for line in extras[name]:
        if match := re.fullmatch(r"runlog\[([\w,-]+)\]", line):
            for other in match[1].split(","):
                found += requirements(extras, other)
        else:
            found.append(line)
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print("\n".join(requirements(project["optional-dependencies"], sys.argv[1])))
