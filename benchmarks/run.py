"""Run the benchmarks one after another, and print one table of figures and limits.

All of them, without names, take a quarter of an hour, and write docs/performance.md. With
names they have their own sizes, and only print; `peers` and `beside_phoenix` write their
parts of the page.

Each script's JSON goes to build/bench/<name>.json. The exit status is 1 if a script
failed, and with --strict also if a figure missed its limit.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import published
from common import BUILD

HERE = Path(__file__).resolve().parent
SHORT: dict[str, Sequence[str]] = {
    "encode": (),
    "import_time": (),
    "sqlite": (),
    "postgres": (),
    "journal": (),
    "handler": (),
    "calls": (),
    "length": (),
    "load": ("--rate", "100", "300", "1000", "3000", "--seconds", "5", "--poisson"),
    "flat": ("10000", "50000", "200000", "lean"),
    "lists": ("100000", "20000"),
    "page": (),
    "export": (),
    "words": ("50000", "10000"),
    "rollup": ("50000", "10000"),
    "metrics": ("200000",),
    "insights": (),
    "deletes": ("--runs", "300000", "--rounds", "3"),
    "vectors": (),
    "meaning": (),
}
"""What runs when all do, and the arguments that it then has."""
ON_REQUEST = ("loss", "peers", "beside_phoenix")
"""make loss (it measures no speed), make bench-peers and make bench-page (they have
environments of their own)"""
SECONDS = 1800.0
"""Time for a script that is named."""
KEPT_SECONDS = 86_400.0
"""For so long --resume takes what was measured."""
MINUTES = 15.0
SHARE = 0.3
"""The part of these minutes that one script may take."""
LEAST_SECONDS = 20.0
"""A script does not begin with less."""
STOP_SECONDS = 15
SKIPPED = "skipped: "
"""So the reason begins why a script has not measured, which is no failure."""
Found = dict[str, dict[str, Any] | str]
WIDTHS = (58, 11, 11, 8, 8, 9, 6)


def run_script(
    name: str, arguments: Sequence[str], seconds: float
) -> dict[str, Any] | str:
    """The document that a script printed, or its error."""
    script = [sys.executable, str(HERE / f"{name}.py"), *arguments]
    started = time.monotonic()
    with subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            out, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                child.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
            return f"not done after {seconds:.0f} s"
    if child.returncode != 0:
        return err.strip() or f"status {child.returncode}"
    if err.strip():
        print(err.strip(), file=sys.stderr)
    document: dict[str, Any] = json.loads(out)
    document["arguments"] = list(arguments)
    document["seconds"] = round(time.monotonic() - started)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (BUILD / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return document


def run_named(names: Sequence[str]) -> Found:
    """What each of these scripts has come to."""
    return {name: announced(name, (), SECONDS) for name in names}


def run_all(minutes: float, known: Mapping[str, dict[str, Any]]) -> Found:
    """What all scripts have come to within so many minutes, or before, if it is known."""
    found: Found = {}
    end = time.monotonic() + minutes * 60
    for name, arguments in SHORT.items():
        if name in known:
            found[name] = known[name]
            continue
        left = min(end - time.monotonic(), SHARE * minutes * 60)
        if left < LEAST_SECONDS:
            found[name] = f"{SKIPPED}the {minutes:g} minutes were over"
        else:
            found[name] = announced(name, arguments, left)
    return found


def kept() -> dict[str, dict[str, Any]]:
    """What an earlier run of all scripts has measured within a day."""
    found = {}
    for name, arguments in SHORT.items():
        path = BUILD / f"{name}.json"
        if path.exists() and time.time() - path.stat().st_mtime < KEPT_SECONDS:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.get("arguments") == list(arguments):
                found[name] = document
    return found


def announced(
    name: str, arguments: Sequence[str], seconds: float
) -> dict[str, Any] | str:
    """Say which script runs, and run it."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    return run_script(name, arguments, seconds)


def table_row(cells: tuple[str, ...]) -> str:
    padded = [f"{cells[0]:<{WIDTHS[0]}}"]
    padded += [f"{c:>{w}}" for c, w in zip(cells[1:], WIDTHS[1:], strict=True)]
    return "".join(padded).rstrip()


def claim_row(claim: dict[str, Any]) -> str:
    unit = claim["unit"]
    difference = "difference" in claim["statistic"]
    suffix = f" {unit}" if difference else ""
    limit, verdict = "", ""
    if claim["limit"] is not None:
        limit = f"{'<=' if claim['at_most'] else '>='} {claim['limit']:.3g}{suffix}"
        verdict = "pass" if claim["holds"] else "MISS"
    return table_row(
        (
            claim["name"],
            f"{claim['ours']:,g} {unit}",
            f"{claim['peer']:,g} {unit}",
            f"{claim['figure']:.2f}",
            f"{claim['best']:.2f}",
            limit,
            verdict,
        )
    )


def print_tables(documents: Mapping[str, dict[str, Any]]) -> list[str]:
    """Print all claims; return the names of those that miss their limit."""
    claims = [claim for one in documents.values() for claim in one["claims"]]
    if claims:
        fullest = max(documents.values(), key=lambda one: len(one["versions"]))
        print(published.place(fullest))
        print(table_row(("claim", "runlog", "peer", "figure", "[best]", "limit", "")))
    for claim in claims:
        print(claim_row(claim))
    return [claim["name"] for claim in claims if not claim["holds"]]


def publish(found: Found, load: Sequence[float]) -> None:
    """Write what was measured into the documents."""
    day = datetime.now(UTC).date().isoformat()
    if set(found) == set(SHORT):
        published.draw(found)
        body = published.measured(found, day)
        published.rewrite(published.PAGE, "measured", body)
    if isinstance(one := found.get("peers"), dict):
        published.draw({"peers": one})
        table = published.peers(one, day, load)
        published.rewrite(published.PAGE, "peers", table)
        published.rewrite(published.README, "peers", published.readme(one))
        print(table)
    if isinstance(one := found.get("beside_phoenix"), dict):
        table = published.beside(one, day, load)
        published.rewrite(published.PAGE, "phoenix", table)


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = (*SHORT, *ON_REQUEST)
    parser.add_argument("only", nargs="*", metavar="name", help=", ".join(known))
    parser.add_argument("--strict", action="store_true", help="fail on a missed limit")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="that all may take together"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with what the last run left out"
    )
    options = parser.parse_args()
    unknown = set(options.only) - set(known)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    options = options_of()
    BUILD.mkdir(parents=True, exist_ok=True)
    load, started = os.getloadavg(), time.monotonic()
    if options.only:
        found = run_named(options.only)
    else:
        found = run_all(options.minutes, kept() if options.resume else {})
    spent = time.monotonic() - started

    missed = print_tables({k: v for k, v in found.items() if isinstance(v, dict)})
    skipped = {k: v for k, v in found.items() if str(v).startswith(SKIPPED)}
    failed = {k: v for k, v in found.items() if isinstance(v, str) and k not in skipped}
    for name, why in skipped.items():
        print(f"{name}: {why}")
    for name, why in failed.items():
        print(f"{name}: FAILED, {why}")
    print(
        f"{len(missed)} missed, {len(failed)} failed, {len(skipped)} skipped, "
        f"{spent:.0f} s; raw rounds in build/bench"
    )
    publish(found, load)
    return 1 if failed or (options.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
