"""Run the benchmarks one after another, and print one table of figures and limits.

Each script's JSON goes to build/bench/<name>.json. The exit status is 1 if a script
failed, and with --strict also if a figure missed its limit.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import BUILD

HERE = Path(__file__).resolve().parent
TIMEOUTS = {
    "encode": 90,
    "sqlite": 100,
    "postgres": 160,
    "journal": 200,
    "deletes": 400,
    "vectors": 200,
    "meaning": 400,
    "words": 300,
    "import_time": 60,
    "handler": 400,
    "calls": 200,
    "length": 200,
    "export": 200,
    "page": 300,
    "lists": 500,
    "rollup": 600,
    "insights": 200,
    "metrics": 900,
    "loss": 500,
    "peers": 500,
}
# make loss (it measures no speed) and make bench-peers (it has its own environment)
ON_REQUEST = {"loss", "peers"}
STOP_SECONDS = 15
WIDTHS = (58, 11, 11, 8, 8, 9, 6)


def run_script(name: str) -> dict[str, Any] | str:
    """The document that a script printed, or its error."""
    script = [sys.executable, str(HERE / f"{name}.py")]
    with subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            out, err = child.communicate(timeout=TIMEOUTS[name])
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                child.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
            return f"not done after {TIMEOUTS[name]} s"
    if child.returncode != 0:
        return f"status {child.returncode}\n{err.strip()}"
    if err.strip():
        print(err.strip(), file=sys.stderr)
    document: dict[str, Any] = json.loads(out)
    (BUILD / f"{name}.json").write_text(out, encoding="utf-8")
    return document


def table_row(cells: tuple[str, ...]) -> str:
    padded = [f"{cells[0]:<{WIDTHS[0]}}"]
    padded += [f"{c:>{w}}" for c, w in zip(cells[1:], WIDTHS[1:], strict=True)]
    return "".join(padded).rstrip()


def claim_row(claim: dict[str, Any]) -> str:
    unit = claim["unit"]
    difference = "difference" in claim["statistic"]
    suffix = f" {unit}" if difference else ""
    return table_row(
        (
            claim["name"],
            f"{claim['ours']:,g} {unit}",
            f"{claim['peer']:,g} {unit}",
            f"{claim['figure']:.2f}",
            f"{claim['best']:.2f}",
            f"{'<=' if claim['at_most'] else '>='} {claim['limit']:.3g}{suffix}",
            "pass" if claim["holds"] else "MISS",
        )
    )


def environment(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = {k: v for k, v in document["versions"].items() if v is not None}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}\n{listed}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", metavar="name", help=", ".join(TIMEOUTS))
    parser.add_argument("--strict", action="store_true", help="fail on a missed limit")
    options = parser.parse_args()
    unknown = set(options.only) - set(TIMEOUTS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = options.only or [name for name in TIMEOUTS if name not in ON_REQUEST]
    BUILD.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    documents: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        result = run_script(name)
        if isinstance(result, str):
            failures[name] = result
        else:
            documents[name] = result

    if documents:
        fullest = max(documents.values(), key=lambda d: len(d["versions"]))
        print(environment(fullest))
        print(table_row(("claim", "runlog", "peer", "figure", "[best]", "limit", "")))
        for document in documents.values():
            for claim in document["claims"]:
                print(claim_row(claim))
    missed = [
        claim["name"]
        for document in documents.values()
        for claim in document["claims"]
        if not claim["holds"]
    ]
    for name, why in failures.items():
        print(f"{name}: FAILED, {why}")
    print(
        f"{len(missed)} missed, {len(failures)} failed, "
        f"{time.monotonic() - started:.0f} s; raw rounds in build/bench"
    )
    return 1 if failures or (options.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
