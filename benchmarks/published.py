"""What the scripts have measured, as docs/performance.md and its plots show it.

The page has marked places, such as `<!-- measured -->`, up to the next `<!-- end -->`:
run.py replaces what is there. All else on it is written by hand. The README has a place
for its table of peers, too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import plots
from common import ROOT, Claim

PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
PLOTS = ROOT / "docs" / "plots"
Document = Mapping[str, Any]
HEAD = (
    "| measurement | runlog | compared with | figure | rounds | limit | met |",
    "|---|---:|---:|---:|---:|---:|---|",
)
TITLES = {
    "encode": "Encoding",
    "import_time": "Import",
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "journal": "The journal, while PostgreSQL is away",
    "handler": "Graphs",
    "calls": "Calls of models",
    "length": "Long runs, and many",
    "load": "Runs that come at a given rate",
    "flat": "Lists of a history of any length",
    "lists": "Lists and commands",
    "page": "The page in a browser",
    "export": "Export",
    "words": "The index of words",
    "rollup": "The roll-up",
    "metrics": "Metrics",
    "insights": "Insights",
    "deletes": "Deletion",
    "vectors": "Search by meaning",
    "meaning": "Embeddings",
}
SHOWN = {
    "first page": "the first page",
    "a small workflow, failed": "failed runs of a small workflow",
    "error, none": "no run has this error: looks through 2,500",
}
"""Of the queries of flat.py, those that the plot shows."""
KEPT_IN = {
    "runlog": "SQLite file or PostgreSQL",
    "forty lines with sqlite3": "SQLite file",
    "LangSmith": "LangSmith service",
    "Langfuse": "Langfuse service",
    "OpenInference, OpenTelemetry": "OpenTelemetry back end",
    "an empty inline handler": "nowhere",
}
PACKAGES = {
    "LangSmith": "langsmith",
    "Langfuse": "langfuse",
    "OpenInference": "openinference-instrumentation-langchain",
    "OpenTelemetry": "opentelemetry-sdk",
}


def amount(value: float) -> str:
    """Three digits, without a power of ten."""
    return f"{float(f'{value:.3g}'):,.10g}"


def row(claim: Claim) -> str:
    """A claim as a line of a table."""
    unit = claim["unit"]
    difference = claim["statistic"].startswith("median of the difference")
    compared = not difference or claim["peer"] != 0
    suffix = f" {unit}" if difference else ""
    spread = ""
    if claim["low"] != claim["high"]:
        spread = f"{amount(claim['low'])}-{amount(claim['high'])}"
    bound, met = "", ""
    if claim["limit"] is not None:
        bound = f"{'≤' if claim['at_most'] else '≥'} {amount(claim['limit'])}{suffix}"
        met = "yes" if claim["holds"] else "**no**"
    cells = (
        claim["name"],
        f"{amount(claim['ours'])} {unit}".strip(),
        f"{amount(claim['peer'])} {unit}".strip() if compared else "",
        f"{amount(claim['figure'])}{suffix}" if compared else "",
        spread,
        bound,
        met,
    )
    return f"| {' | '.join(cells)} |"


def place(document: Document) -> str:
    """The machine, how busy it was, and the versions."""
    machine = document["machine"]
    versions = {k: v for k, v in document["versions"].items() if v is not None}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {listed}"


def busy(loads: Sequence[float], cores: int) -> str:
    """How many programs wanted to run, for how many cores."""
    first, last = f"{min(loads):.1f}", f"{max(loads):.1f}"
    return f"{first if first == last else f'{first} to {last}'} on {cores} cores"


def table(document: Document) -> list[str]:
    """The claims of a script."""
    return [*HEAD, *map(row, document["claims"]), ""]


def section(title: str, found: Document) -> Iterator[str]:
    """The table of a script."""
    yield f"### {title}\n"
    yield from table(found)
    if arguments := found["arguments"]:
        yield f"With `{found['benchmark']}.py {' '.join(arguments)}`.\n"


def left_out(reasons: Mapping[str, str]) -> Iterator[str]:
    """Which scripts have measured nothing, and why."""
    if reasons:
        yield "### Not measured\n"
        for name, reason in reasons.items():
            why = reason.splitlines()[-1].removeprefix("skipped: ")
            yield f"- {TITLES[name]}: {why}"
        yield ""


def measured(found: Mapping[str, Document | str], day: str) -> str:
    """All tables of a run of `make bench`."""
    documents = [one for one in found.values() if not isinstance(one, str)]
    lines = []
    if documents:
        fullest = max(documents, key=lambda one: len(one["versions"]))
        machine = fullest["machine"]
        minutes = sum(one["seconds"] for one in documents) / 60
        loads = [one["machine"]["load_at_start"][0] for one in documents]
        lines.append(f"Measured on {day} by `make bench` in {minutes:.0f} minutes.")
        lines.append(
            f"The load average before each script: {busy(loads, machine['cores'])}."
        )
        lines.append(f"{place(fullest)}.\n")
    judged = [c for one in documents for c in one["claims"] if c["limit"] is not None]
    held = sum(claim["holds"] for claim in judged)
    lines.append(f"{held} of {len(judged)} figures keep their limit.\n")
    for name, one in found.items():
        if not isinstance(one, str):
            lines += section(TITLES[name], one)
            lines += [f"![{TITLES[name]}](plots/{name}.svg)\n"] if name in DRAWN else []
    lines += left_out({name: one for name, one in found.items() if isinstance(one, str)})
    return "\n".join(lines)


def draw_load(document: Document) -> str:
    """Latency over the rate."""
    done = [one["writers"] for one in document["raw"]["loads"]]
    series = {
        key: [(one["offered_a_second"], one["latency_ms"][key]) for one in done]
        for key in ("p50", "p99", "p99.9")
    }
    title = "log_run: latency, counted from when each run was due"
    return plots.lines(title, "runs a second that are due", "milliseconds", series)


def draw_flat(document: Document) -> str:
    """CPU of reads over the size of the history."""
    warm = document["raw"]["warm"]
    series = {
        shown: [(float(size), median(us)) for size, us in warm[name].items()]
        for name, shown in SHOWN.items()
    }
    title = "list_runs: a page of 20 runs, by the length of the history"
    return plots.lines(title, "runs in the SQLite file", "microseconds of CPU", series)


def draw_peers(document: Document) -> str:
    """The cost of a node with each recorder."""
    columns = list(document["notes"]["over_no_callback_us"].items())
    shown = [column for column in columns if column[0].endswith(", invoke")][:2]
    names = [name for name in columns[0][1] if name in KEPT_IN]
    labels = [called(name, document) for name in names]
    series = {title: [max(cost[n], 1.0) for n in names] for title, cost in shown}
    title = "What recording a node costs, over the same graph with no callback"
    return plots.bars(title, "microseconds of CPU", labels, series)


DRAWN = {"load": draw_load, "flat": draw_flat, "peers": draw_peers}


def draw(documents: Mapping[str, Document | str]) -> None:
    """Write the plots."""
    PLOTS.mkdir(exist_ok=True)
    for name, document in documents.items():
        if not isinstance(document, str) and name in DRAWN:
            path = PLOTS / f"{name}.svg"
            path.write_text(DRAWN[name](document), encoding="utf-8")


def called(name: str, document: Document) -> str:
    """A recorder with the versions of its packages."""
    versions = document["versions"]
    parts = [(part, versions.get(PACKAGES.get(part))) for part in name.split(", ")]
    return ", ".join(f"{part} {version}" if version else part for part, version in parts)


def peer_rows(document: Document, titles: Sequence[str]) -> Iterator[list[str]]:
    """A line for each recorder, and one for the graph itself."""
    costs, graph = (document["notes"][k] for k in ("over_no_callback_us", "graph_us"))
    for name in KEPT_IN:
        cells = [f"{costs[title][name]:,.0f}" for title in titles]
        yield [called(name, document), *cells]
    yield ["the graph itself", *(f"{graph[title]:,.0f}" for title in titles)]


def when(document: Document, target: str, day: str, load: Sequence[float]) -> str:
    """By what, when and where a section was measured."""
    cores = document["machine"]["cores"]
    before = f"the load average before it was {busy(load[:1], cores)}"
    return f"Measured on {day} by `{target}`; {before}. {place(document)}.\n"


def beside(document: Document, day: str, load: Sequence[float]) -> str:
    """The section of `make bench-page`."""
    return "\n".join([when(document, "make bench-page", day, load), *table(document)])


def peers(document: Document, day: str, load: Sequence[float]) -> str:
    """The section of `make bench-peers`."""
    titles = list(document["notes"]["over_no_callback_us"])
    lines = [
        when(document, "make bench-peers", day, load),
        f"| | {' | '.join(titles)} |",
        f"|---|{'---:|' * len(titles)}",
    ]
    lines += (f"| {' | '.join(cells)} |" for cells in peer_rows(document, titles))
    lines.append("\n![The cost of a node](plots/peers.svg)\n")
    return "\n".join(lines)


def readme(document: Document) -> str:
    """The table of the README: two graphs, and where each recorder keeps runs."""
    titles = list(document["notes"]["over_no_callback_us"])[:4]
    lines = [f"| recorder | {' | '.join(titles)} | stores runs in |"]
    lines.append(f"|---|{'---:|' * len(titles)}---|")
    for cells, kept in zip(
        peer_rows(document, titles), [*KEPT_IN.values(), ""], strict=True
    ):
        lines.append(f"| {' | '.join(cells)} | {kept} |")
    return "\n".join([*lines, ""])


def replaced(text: str, name: str, body: str) -> str:
    """The text with another body in the place of that name."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    new, places = marked.subn(lambda match: f"{match[1]}{body}{match[2]}", text)
    if places != 1:
        raise ValueError(f"the text has {places} places for {name}")
    return new


def rewrite(path: Path, name: str, body: str) -> None:
    """Replace the place of that name in a file."""
    text = path.read_text(encoding="utf-8")
    path.write_text(replaced(text, name, body), encoding="utf-8")
