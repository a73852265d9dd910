"""A LangGraph program that writes a digest of a folder of text and source files.

The graph reads every file, splits it into documented passages (docstrings, comments,
paragraphs), scores their sentences, and picks those that together say most about the
folder. It uses no model and no network.

    scan ──► digest_file, one branch a file ──► weigh ──► refine ──► report
             ┌─────────────────────────────┐              ▲    │
             │ read ► split ► score ► pick │              └────┘ until the topics are
             └─────────────────────────────┘                     covered or space is out

The type of a node's argument names the part of the state that the node reads. This keeps
the nodes independent, and a recorder stores that part as the inputs of the node.
"""

import argparse
import ast
import fcntl
import math
import operator
import os
import re
import sys
import textwrap
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy, Send

NAME = "repository-digest"

LANGUAGES = {
    ".c": "C",
    ".h": "C",
    ".md": "text",
    ".py": "Python",
    ".pyi": "Python",
    ".rst": "text",
    ".sh": "shell",
    ".sql": "SQL",
    ".toml": "TOML",
    ".txt": "text",
    ".yml": "YAML",
}
SKIPPED_FOLDERS = {"build", "dist", "node_modules", "venv", "__pycache__"}
MAX_FILE_BYTES = 1_000_000
PASSAGES_A_FILE = 5
TOPICS = 60
SENTENCES_A_ROUND = 4


class TransientReadError(Exception):
    """Another program was writing the file; a moment later it may be whole."""


class UnreadableFileError(ValueError):
    """The file is not UTF-8, and the digest is strict."""


# ---- State. Values that depend on the input are never keys: words and file names go into
# ---- lists, so that every record has the same shape.


class FileRef(TypedDict):
    """A file that was found: its path relative to the folder, and its size."""

    path: str
    bytes: int


class Passage(TypedDict):
    """One sentence, its place, and the function, class or heading that it describes."""

    path: str
    line: int
    name: str
    text: str


class Candidate(Passage):
    """A passage and its score for its file or for the folder."""

    score: float


class FileDigest(TypedDict):
    """The result of the subgraph for one file."""

    path: str
    bytes: int
    lines: int
    terms: list[tuple[str, int]]
    passages: list[Candidate]


class Section(TypedDict):
    """A folder of the report, with its size and its distinctive terms."""

    name: str
    files: int
    lines: int
    bytes: int
    terms: list[str]


class Request(TypedDict):
    """The input of the graph."""

    folder: str
    strict: bool
    max_sentences: int
    target: float


class Digest(TypedDict):
    """The output of the graph."""

    text: str
    files: int
    bytes: int
    rounds: int
    coverage: float


class State(Request, Digest):
    """The state of the graph; many steps append to `digests` and `chosen`."""

    found: list[FileRef]
    digests: Annotated[list[FileDigest], operator.add]
    topics: list[tuple[str, float]]
    sections: list[Section]
    shortlist: list[Candidate]
    chosen: Annotated[list[int], operator.add]
    exhausted: bool


class FileRequest(TypedDict):
    """The input of the subgraph, sent once for each file."""

    folder: str
    path: str
    strict: bool


class FileText(TypedDict):
    """A file's content: the output of `read` and the input of `split`."""

    path: str
    text: str


class FilePassages(TypedDict):
    """A file's passages: the output of `split` and the input of `score`."""

    path: str
    passages: list[Passage]


class FileScores(FilePassages):
    """The input of `pick`."""

    bytes: int
    lines: int
    scores: list[float]
    terms: list[tuple[str, int]]


class FileResult(TypedDict):
    """The output of the subgraph: one element for the parent's `digests`."""

    digests: Annotated[list[FileDigest], operator.add]


class FileState(FileRequest, FileText, FileScores, FileResult):
    """The state of the subgraph."""


# ---- Text: from a file's content to passages, from a sentence to its terms.

SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z`\"'(\[])")
C_COMMENT = re.compile(
    r"^/\*(?P<block>.*?)\*/|(?P<run>(?:^//[^\n]*\n?)+)", re.MULTILINE | re.DOTALL
)
C_NAME = re.compile(r"#\s*define\s+(\w+)|(?:struct|enum|union)\s+(\w+)\s*\{|(\w+)\s*\(")
COMMENT_RUN = re.compile(r"(?:^[ \t]*(?:--|#(?!!)).*\n?)+", re.MULTILINE)
MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|\*\*|`|</?[a-z][^<>]*>")
# CPython 3.11 counts the depth of the tree being made for all threads together.
AST_LOCK = threading.Lock()
FENCE = re.compile(r"^```.*?^```[^\n]*$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"[A-Za-z][A-Za-z_]{2,}")
PLURAL = re.compile(r"(?<=\w\w)(?:ies|(?:(?<=x)|(?<=[us]s)|(?<=[cs]h))es|(?<![sui])s)$")
# Shorter words are no terms anyway.
STOP_WORDS = frozenset(
    WORD.findall(
        """
        about above after again all also always and another any are because been before
        being below between both but came can cannot could did does done down each
        either else even ever every few first for from further gets give given gives
        goes had has have having her here him his how instead into its itself just kept
        last least less let like made make makes many may might more most much must
        never new nor not nothing now off often once one only onto other others our out
        over own per put rather same see set shall she should since some still such take
        taken takes than that the their them then there these they thing this those
        through thus too true two under until upon use used user uses using very was way
        well were what when where whether which while who whose why will with within
        without would yet you your
        """
    )
)


def terms_of(text: str) -> list[str]:
    """The words that carry meaning, in lower case, with plurals folded."""
    found = []
    for word in WORD.findall(text):
        term = word.lower().strip("_")
        singular = PLURAL.sub(lambda ending: "y" if ending[0] == "ies" else "", term)
        if len(singular) > 2 and not {term, singular} & STOP_WORDS:
            found.append(singular)
    return found


def sentences_of(text: str) -> Iterator[str]:
    """The complete sentences of a paragraph, each on one line."""
    plain = " ".join(MARKUP.sub(r"\1", text).split())
    for sentence in SENTENCE_END.split(plain):
        letters = sum(map(str.isalpha, sentence))
        if (
            25 <= len(sentence) <= 180
            and letters > 0.65 * len(sentence)
            and sentence[-1] in ".!?:"
            and not re.search(
                r"copyright|spdx-license|fmt: o|noqa", sentence, re.IGNORECASE
            )
        ):
            yield sentence


def python_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, qualified name, first paragraph) of each docstring, if the text parses."""
    try:
        with AST_LOCK:
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    todo: list[tuple[ast.AST, str]] = [(tree, "")]
    while todo:
        node, name = todo.pop(0)
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            doc = ast.get_docstring(node)
            if doc:
                yield getattr(node, "lineno", 1), name, doc.split("\n\n", 1)[0]
            for child in node.body:
                inner = getattr(child, "name", "")
                if inner:
                    todo.append((child, f"{name}.{inner}" if name else inner))


def c_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, name of what follows, text) of each comment that starts a line."""
    for match in C_COMMENT.finditer(text):
        body = match["block"] or match["run"] or ""
        body = re.sub(r"^[ \t]*(?://|\*)?[ \t]?", "", body, flags=re.MULTILINE).strip(
            "*\n "
        )
        after = text[match.end() : match.end() + 400]
        alone = re.match(r"\n(\n|#\s*(include|if|pragma)|$)", after)
        declared = "" if alone else re.split(r"(?<=[;{])", after, maxsplit=1)[0]
        named = C_NAME.search(declared)
        name = next(filter(None, named.groups()), "") if named else ""
        line = text.count("\n", 0, match.start()) + 1
        yield line, name, body.split("\n\n", 1)[0]


def comment_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, "", text) of each run of `#` or `--` comment lines."""
    for match in COMMENT_RUN.finditer(text):
        body = re.sub(r"^[ \t]*(?:--|#)+[ \t]?", "", match[0], flags=re.MULTILINE)
        yield text.count("\n", 0, match.start()) + 1, "", body


def prose_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, heading, text) of each paragraph and list item; no code, no tables."""
    text = FENCE.sub(lambda fenced: "\n" * fenced[0].count("\n"), text)
    heading, start, block = "", 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        item = re.match(r"\s*(?:[-*+]|\d+\.)\s+", line)
        outside = not line.strip() or line.startswith(("#", "|", "    ", "<"))
        if (item or outside) and block:
            yield start, heading, " ".join(block)
            block = []
        if line.startswith("#"):
            heading = MARKUP.sub(r"\1", line.lstrip("# ").rstrip())
        elif not outside:
            start = start if block else number
            block.append(line[item.end() :] if item else line)


def passages_of(path: str, text: str) -> list[Passage]:
    """Every sentence of a file that documents it."""
    match LANGUAGES.get(Path(path).suffix):
        case "Python":
            blocks = python_blocks(text)
        case "C":
            blocks = c_blocks(text)
        case "text":
            blocks = prose_blocks(text)
        case _:
            blocks = comment_blocks(text)
    return [
        Passage(path=path, line=line, name=name, text=sentence)
        for line, name, block in blocks
        for sentence in sentences_of(block)
    ]


# ---- The subgraph: one file.


def read(state: FileRequest) -> dict[str, Any]:
    """Read a file that nobody is writing.

    The lock reveals a writer that locks the file. A change of size or time during the
    read reveals any other.
    """
    with Path(state["folder"], state["path"]).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TransientReadError(f"{state['path']}: locked by its writer") from None
        before = os.fstat(file.fileno())
        data = file.read()
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise TransientReadError(f"{state['path']}: changed while it was read")
    try:
        text = data.decode("utf-8", "strict" if state["strict"] else "replace")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"{state['path']}: not UTF-8, byte 0x{data[error.start]:02x} at {error.start}"
        ) from error
    return {"text": text, "bytes": len(data), "lines": len(text.splitlines())}


def split(state: FileText) -> dict[str, Any]:
    """Split a file's text into the passages that document it."""
    return {"passages": passages_of(state["path"], state["text"])}


def score(state: FilePassages) -> dict[str, Any]:
    """Score each passage by TF-ISF: terms frequent in the file, but in few passages."""
    bags = [terms_of(passage["text"]) for passage in state["passages"]]
    frequency = Counter(term for bag in bags for term in bag)
    spread = Counter(term for bag in bags for term in set(bag))
    scores = []
    for place, bag in enumerate(bags):
        weight = sum(
            (1 + math.log(frequency[term])) * math.log(1 + len(bags) / spread[term])
            for term in set(bag)
        )
        lead = 1.5 if place == 0 else 1.0
        scores.append(round(lead * weight / math.sqrt(len(bag) + 4), 4))
    return {"scores": scores, "terms": frequency.most_common(40)}


def pick(state: FileScores) -> FileResult:
    """Keep the best passages, each discounted by terms of the passages before it."""
    rest = list(zip(state["passages"], state["scores"], strict=True))
    bags = {id(passage): set(terms_of(passage["text"])) for passage, _ in rest}
    said: set[str] = set()
    picked: list[Candidate] = []

    def worth(scored: tuple[Passage, float]) -> float:
        bag = bags[id(scored[0])]
        return scored[1] * len(bag - said) / max(1, len(bag))

    while rest and len(picked) < PASSAGES_A_FILE:
        best = max(rest, key=worth)
        if worth(best) <= 0:
            break
        rest.remove(best)
        said |= bags[id(best[0])]
        picked.append(Candidate(**best[0], score=best[1]))
    digest = FileDigest(
        path=state["path"],
        bytes=state["bytes"],
        lines=state["lines"],
        terms=state["terms"],
        passages=picked,
    )
    return {"digests": [digest]}


def build_file_graph() -> CompiledStateGraph[FileState, None, FileRequest, FileResult]:
    """The subgraph that digests one file."""
    graph = StateGraph(FileState, input_schema=FileRequest, output_schema=FileResult)
    graph.add_node(
        "read",
        read,
        retry_policy=RetryPolicy(
            initial_interval=0.05,
            max_attempts=4,
            jitter=False,
            retry_on=TransientReadError,
        ),
    )
    graph.add_node("split", split)
    graph.add_node("score", score)
    graph.add_node("pick", pick)
    graph.add_edge(START, "read")
    graph.add_edge("read", "split")
    graph.add_edge("split", "score")
    graph.add_edge("score", "pick")
    graph.add_edge("pick", END)
    return graph.compile(name="digest_file")


# ---- The graph: the folder.


class Found(TypedDict):
    """The input of `fan_out`, which sends one branch for each file."""

    folder: str
    strict: bool
    found: list[FileRef]


class Digests(TypedDict):
    """The input of `weigh`."""

    digests: list[FileDigest]
    max_sentences: int


class Draft(TypedDict):
    """The input of `refine`: topics to cover, and sentences that may cover them."""

    topics: list[tuple[str, float]]
    shortlist: list[Candidate]
    chosen: list[int]
    rounds: int
    max_sentences: int


class Progress(TypedDict):
    """The input of `enough`."""

    coverage: float
    target: float
    chosen: list[int]
    max_sentences: int
    exhausted: bool


class Outline(TypedDict):
    """The input of `report`."""

    folder: str
    topics: list[tuple[str, float]]
    sections: list[Section]
    shortlist: list[Candidate]
    chosen: list[int]
    coverage: float


def section_of(path: str) -> str:
    """The folder that reports a file: two levels, "." for the top one."""
    return "/".join(Path(path).parts[:-1][:2]) or "."


def heaviest(weights: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    """The terms that weigh most, in a fixed order."""
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:count]


def scan(state: Request) -> dict[str, Any]:
    """List the files to read, in a fixed order, without links and huge files."""
    top = Path(state["folder"])
    if not top.is_dir():
        raise NotADirectoryError(f"{top} is not a folder")
    found = []
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED_FOLDERS
            and not name.startswith(".")
            and not name.endswith(".egg-info")
        )
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in LANGUAGES and path.is_file() and not path.is_symlink():
                size = path.stat().st_size
                if 0 < size <= MAX_FILE_BYTES:
                    found.append(FileRef(path=str(path.relative_to(top)), bytes=size))
    return {"found": found}


def fan_out(state: Found) -> list[Send] | Literal["weigh"]:
    """Send each file to a branch of `digest_file`; without files, go to `weigh`."""
    sends = [
        Send(
            "digest_file",
            FileRequest(
                folder=state["folder"], path=file["path"], strict=state["strict"]
            ),
        )
        for file in state["found"]
    ]
    return sends or "weigh"


def weigh(state: Digests) -> dict[str, Any]:
    """Find what the folder is about (TF-IDF over its files), and shortlist sentences.

    A term that is in every file says little, and so does one that is in a single file:
    (1 + log tf) * log(1 + N / df), summed over the files, is small for both.
    """
    digests = state["digests"]
    files_with = Counter(term for digest in digests for term, _ in digest["terms"])
    rarity = {term: math.log(1 + len(digests) / df) for term, df in files_with.items()}
    weights: defaultdict[str, float] = defaultdict(float)
    by_section: defaultdict[str, defaultdict[str, float]]
    by_section = defaultdict(lambda: defaultdict(float))
    sections: dict[str, Section] = {}
    for digest in digests:
        name = section_of(digest["path"])
        section = sections.setdefault(
            name, Section(name=name, files=0, lines=0, bytes=0, terms=[])
        )
        section["files"] += 1
        section["lines"] += digest["lines"]
        section["bytes"] += digest["bytes"]
        for term, count in digest["terms"]:
            salience = (1 + math.log(count)) * rarity[term]
            weights[term] += salience
            by_section[name][term] += salience
    for name, section in sections.items():
        section["terms"] = [term for term, _ in heaviest(by_section[name], 6)]

    topics = heaviest(weights, TOPICS)
    total = sum(weight for _, weight in topics) or 1.0
    share = {term: weight / total for term, weight in topics}
    shortlist: dict[str, list[Candidate]] = {name: [] for name in sections}
    for digest in digests:
        for passage in digest["passages"]:
            bag = set(terms_of(passage["text"]))
            about = sum(share.get(term, 0.0) for term in bag) / math.sqrt(len(bag) + 4)
            candidate = passage.copy()
            candidate["score"] = round(about, 5)
            shortlist[section_of(digest["path"])].append(candidate)
    a_section = max(3, 5 * state["max_sentences"] // max(1, len(sections)))
    return {
        "files": len(digests),
        "bytes": sum(digest["bytes"] for digest in digests),
        "topics": [(term, round(weight, 5)) for term, weight in share.items()],
        "sections": [sections[name] for name in sorted(sections)],
        "shortlist": [
            candidate
            for name in sorted(sections)
            for candidate in sorted(
                shortlist[name],
                key=lambda one: (-one["score"], one["path"], one["line"]),
            )[:a_section]
        ],
        "rounds": 0,
    }


def refine(state: Draft) -> dict[str, Any]:
    """Add the few sentences that cover most of the topics not yet covered.

    Greedy choice by what is new: coverage has diminishing returns (it is submodular), for
    which greedy choice, by gain for the space taken, comes close to the best (Lin and
    Bilmes, NAACL 2010). A sentence that introduces a file counts double. One of a section
    with chosen sentences counts less, so that all sections are represented.
    """
    weight = dict(state["topics"])
    bags = [weight.keys() & set(terms_of(one["text"])) for one in state["shortlist"]]
    chosen = list(state["chosen"])
    covered = {term for index in chosen for term in bags[index]}
    said = Counter(section_of(state["shortlist"][index]["path"]) for index in chosen)
    room = min(SENTENCES_A_ROUND, state["max_sentences"] - len(chosen))
    added: list[int] = []

    def gain(index: int) -> float:
        one = state["shortlist"][index]
        new = sum(weight[term] for term in sorted(bags[index] - covered))
        lead = 2 if not one["name"] or one["line"] <= 5 else 1
        space = math.ceil(len(one["text"]) / 80)
        return lead * new / space / (1 + said[section_of(one["path"])])

    while len(added) < room:
        rest = [index for index in range(len(bags)) if index not in chosen]
        best = max(rest, key=gain, default=None)
        if best is None or gain(best) <= 0:
            break
        added.append(best)
        chosen.append(best)
        covered |= bags[best]
        said[section_of(state["shortlist"][best]["path"])] += 1
    return {
        "chosen": added,
        "rounds": state["rounds"] + 1,
        "coverage": round(sum(weight[term] for term in sorted(covered)), 4),
        "exhausted": len(added) < room,
    }


def enough(state: Progress) -> Literal["refine", "report"]:
    """Refine until the topics are covered, or no space or sentence is left."""
    done = (
        state["coverage"] >= state["target"]
        or len(state["chosen"]) >= state["max_sentences"]
        or state["exhausted"]
    )
    return "report" if done else "refine"


def count_of(number: int, noun: str) -> str:
    """A number with its noun, in the plural if needed: 1 file, 2 files."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def report(state: Outline) -> dict[str, Any]:
    """Format the digest: at most 80 columns, a section for each folder."""
    sections = state["sections"]
    files = sum(section["files"] for section in sections)
    lines = sum(section["lines"] for section in sections)
    size = sum(section["bytes"] for section in sections)
    about = ", ".join(term for term, _ in state["topics"][:12])
    name = Path(state["folder"]).resolve().name
    out = [f"{name}: {count_of(files, 'file')}, {lines:,} lines, {size / 1024:,.0f} KB"]
    if about:
        out += textwrap.wrap(f"About: {about}.", 80, subsequent_indent="       ")
    for section in sections:
        extent = f"{count_of(section['files'], 'file')}, {section['lines']:,} lines"
        heading = f"{section['name']}  ({extent}):  {', '.join(section['terms'])}"
        out += ["", textwrap.shorten(heading, 80, placeholder="").rstrip(",")]
        mine = [
            state["shortlist"][index]
            for index in state["chosen"]
            if section_of(state["shortlist"][index]["path"]) == section["name"]
        ]
        for one in sorted(mine, key=lambda one: (one["path"], one["line"])):
            place = f"[{Path(one['path']).name}:{one['line']}]"
            text = f"{one['name']}: {one['text']}" if one["name"] else one["text"]
            out += textwrap.wrap(
                f"- {text} {place}", 80, initial_indent="  ", subsequent_indent="    "
            )
    sentences = count_of(len(state["chosen"]), "sentence")
    out += ["", f"{sentences}, {state['coverage']:.0%} of what the folder is about"]
    return {"text": "\n".join(out)}


def build_graph() -> CompiledStateGraph[State, None, Request, Digest]:
    """The graph that digests a folder."""
    graph = StateGraph(State, input_schema=Request, output_schema=Digest)
    graph.add_node("scan", scan)
    graph.add_node("digest_file", build_file_graph())
    graph.add_node("weigh", weigh)
    graph.add_node("refine", refine)
    graph.add_node("report", report)
    graph.add_edge(START, "scan")
    graph.add_conditional_edges("scan", fan_out, ["digest_file", "weigh"])
    graph.add_edge("digest_file", "weigh")
    graph.add_edge("weigh", "refine")
    graph.add_conditional_edges("refine", enough)
    graph.add_edge("report", END)
    return graph.compile(name=NAME)


def request(
    folder: str | os.PathLike[str],
    *,
    strict: bool = False,
    max_sentences: int = 24,
    target: float = 0.85,
) -> Request:
    """The input for a folder.

    Args:
        folder: the folder to read.
        strict: fail on a file that is not UTF-8, instead of replacing invalid bytes.
        max_sentences: how many sentences the digest may have.
        target: the share of the folder's topics that is enough, 0 to 1.
    """
    return Request(
        folder=os.fspath(folder),
        strict=strict,
        max_sentences=max_sentences,
        target=target,
    )


def settings(
    callbacks: Sequence[BaseCallbackHandler] = (), run_id: uuid.UUID | None = None
) -> RunnableConfig:
    """The config of a run: its callbacks and its id."""
    config = RunnableConfig(callbacks=list(callbacks))
    if run_id is not None:
        config["run_id"] = run_id
    return config


def digest(
    folder: str | os.PathLike[str],
    *,
    callbacks: Sequence[BaseCallbackHandler] = (),
    run_id: uuid.UUID | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Digest a folder; `options` are those of `request`."""
    result = build_graph().invoke(request(folder, **options), settings(callbacks, run_id))
    return dict(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Print a digest of a folder.")
    parser.add_argument(
        "folder",
        nargs="?",
        default=Path(__file__).resolve().parent.parent,
        help="the folder to read (this repository)",
    )
    parser.add_argument("--sentences", type=int, default=24, metavar="N")
    parser.add_argument("--strict", action="store_true", help="fail on a file not UTF-8")
    parser.add_argument("--record", action="store_true", help="record the run")
    given = parser.parse_args(arguments)
    callbacks: list[BaseCallbackHandler] = []
    if given.record:
        from runlog.hooks import RunLogHandler  # noqa: PLC0415

        callbacks.append(RunLogHandler())
    try:
        result = digest(
            given.folder,
            callbacks=callbacks,
            strict=given.strict,
            max_sentences=given.sentences,
        )
    except (OSError, UnreadableFileError, TransientReadError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    print(result["text"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
