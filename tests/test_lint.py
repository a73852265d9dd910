"""The rules of the C sources that no compiler checks. Each finding is "file:line: what".

A rule is a function from a path (below the top of the repository) and a text to its
findings. The texts that the rules see have comments, and where it matters strings and
preprocessor lines, blanked out with their line breaks kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
Rule = Callable[[str, str], Iterator[str]]

MAX_FUNCTION = 120
MAX_FILE = 900

TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)"""
    r"""|(?P<string>"(?:\\.|[^"\\\n])*")"""
    r"""|(?P<char>'(?:\\.|[^'\\\n])+')""",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]', re.MULTILINE)
BANNED = re.compile(r"\b(sprintf|vsprintf|strcpy|strcat|atoi|gmtime|strtok|alloca)\s*\(")
WAIT = re.compile(r"\b(pthread_cond_timedwait|pthread_mutex_timedlock)\s*\(")
ALLOCATION = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|free)\s*\(")
SQL = re.compile(r'"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP)\s')
MARK = re.compile(r"\b(TODO|FIXME|XXX)\b")

WING = re.compile(r"(?m)^\| `([\w/]+)` \|[^|]*\| ([\w/, ]+) \|$")


def read_wings(document: str) -> dict[str, set[str]]:
    """What the files of each folder of src may include, by the table in the document."""
    return {row[1]: set(row[2].split(", ")) for row in WING.finditer(document)}


MAY_INCLUDE = read_wings((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
"""A name stands for the folder and for those below it."""


def blank(match: re.Match[str]) -> str:
    """Spaces in place of a text, its line breaks kept."""
    return re.sub(r"[^\n]", " ", match[0])


def without_comments(text: str) -> str:
    """The text with its comments blanked out; strings stay."""
    return TOKEN.sub(lambda m: blank(m) if m["comment"] else m[0], text)


def code_only(text: str) -> str:
    """The text with its comments, strings and characters blanked out."""
    return TOKEN.sub(blank, text)


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def findings(pattern: re.Pattern[str], path: str, text: str, what: str) -> Iterator[str]:
    for match in pattern.finditer(text):
        yield f"{path}:{line_of(text, match.start(1))}: {what}: {match[1]}"


def folder_of(path: str) -> str | None:
    """The folder that a file below src/ is in, from there; None for any other file."""
    parts = path.split("/")
    return "/".join(parts[1:-1]) if parts[0] == "src" and len(parts) > 2 else None


def rule_python_h(path: str, text: str) -> Iterator[str]:
    """Python.h is for src/py."""
    if (folder_of(path) or "").startswith("py"):
        return
    for match in INCLUDE.finditer(without_comments(text)):
        if re.fullmatch(r"Python\.h|structmember\.h|cpython/.*|internal/.*", match[1]):
            yield f"{path}:{line_of(text, match.start(1))}: includes {match[1]}"


def rule_dependencies(path: str, text: str) -> Iterator[str]:
    """Dependencies point one way: py, meaning, record, store and net, core."""
    if (folder := folder_of(path)) is None:
        return
    if folder not in MAY_INCLUDE:
        yield f"{path}:1: {folder} is not one of the folders of src"
        return
    for match in INCLUDE.finditer(without_comments(text)):
        target = match[1].rpartition("/")[0]
        where = f"{path}:{line_of(text, match.start(1))}"
        may = {folder, *MAY_INCLUDE[folder]}
        known = any(f"{target}/".startswith(f"{name}/") for name in may)
        if target in MAY_INCLUDE and not known:
            yield f"{where}: {folder} may not know {target}"
        if ".." in match[1]:
            yield f"{where}: {match[1]} is not from src"


def rule_banned(path: str, text: str) -> Iterator[str]:
    """Functions that overflow, share state or can't report an error."""
    yield from findings(BANNED, path, code_only(text), "banned function")


def rule_wait(path: str, text: str) -> Iterator[str]:
    """macOS has no conditions on the monotonic clock, and a wait by another one spins."""
    if path.startswith("src/") and path != "src/core/lock.h":
        yield from findings(WAIT, path, code_only(text), "use core/lock.h, not")


def rule_allocation(path: str, text: str) -> Iterator[str]:
    """All memory comes through the allocator that tests can make fail."""
    if path.startswith("src/") and path != "src/core/alloc.c":
        yield from findings(ALLOCATION, path, code_only(text), "use core/alloc.h, not")


def rule_marks(path: str, text: str) -> Iterator[str]:
    """What is left to do is not written into the sources."""
    yield from findings(MARK, path, text, "unfinished")


def rule_sql(path: str, text: str) -> Iterator[str]:
    """SQL is in migrations/ and in *_sql.h only."""
    if path.startswith("src/") and not path.endswith("_sql.h"):
        yield from findings(SQL, path, without_comments(text), "SQL outside *_sql.h")


def rule_head(path: str, text: str) -> Iterator[str]:
    """A file says first what it is for."""
    if path.startswith("src/") and not text.startswith("/*"):
        yield f"{path}:1: does not start with a comment"


def rule_file_length(path: str, text: str) -> Iterator[str]:
    """A file is read in one sitting."""
    count = text.count("\n")
    if count > MAX_FILE:
        yield f"{path}:{count}: {count} lines, more than {MAX_FILE}"


def rule_function_length(path: str, text: str) -> Iterator[str]:
    """A function, from its head to its closing brace, fits a page or two."""
    code = DIRECTIVE.sub(blank, code_only(text))
    depth = head = body = 0
    for match in re.finditer(r"[{};]", code):
        sign, position = match[0], match.start()
        if sign == "{":
            if depth == 0:
                body = position
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth < 0:
                break
            start = head + len(code[head:body]) - len(code[head:body].lstrip())
            if depth == 0 and "(" in code[head:body] and "=" not in code[head:body]:
                first = line_of(code, start)
                count = line_of(code, position) - first + 1
                if count > MAX_FUNCTION:
                    yield f"{path}:{first}: a function of {count} lines"
        if depth == 0:
            head = position + 1
    if depth != 0:
        yield f"{path}:1: braces do not balance (does an #if split a block?)"


RULES: list[Rule] = [
    rule_python_h,
    rule_dependencies,
    rule_banned,
    rule_wait,
    rule_allocation,
    rule_marks,
    rule_sql,
    rule_head,
    rule_file_length,
    rule_function_length,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_sources_keep_rule(rule: Rule) -> None:
    files = [*(ROOT / "src").rglob("*.[ch]"), *(ROOT / "tests" / "c").rglob("*.[ch]")]
    assert any(path.parts[-2] == "core" for path in files)
    found = [
        finding
        for file in sorted(files)
        for finding in rule(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)


Graph = Mapping[str, set[str]]

PROTOTYPE = re.compile(r"(?m)^(?!typedef|static)\w[\w \*]*?\b(rl_\w+)\([^;{}]*\)[^;{}]*;")
DEFINITION = re.compile(r"(?m)^(?!typedef|static)\w[\w \*]*?\b(rl_\w+)\([^;{}]*\)\s*{")

# Modules of more than one .c file: their files share structs and functions of their own.
FAMILIES = (
    {"beside", "beside_state"},
    {"graph", "graph_state"},
    {"http", "http_answer", "transfer"},
    {"journal", "journal_state"},
    {"recorder", "recorder_state"},
    {"sqlite_file", "sqlite_file_state"},
)


def module_of(path: str) -> str:
    """The module that a file belongs to: a.c and a.h are one."""
    return str(PurePosixPath(path).with_suffix(""))


def parent_of(path: str) -> str:
    return str(PurePosixPath(path).parent)


def include_graph(sources: Mapping[str, str], node: Callable[[str], str]) -> Graph:
    """Which nodes include which; files are named from src, and node() gives a file's."""
    graph: dict[str, set[str]] = {node(path): set() for path in sources}
    for path, text in sources.items():
        targets = {match[1] for match in INCLUDE.finditer(without_comments(text))}
        graph[node(path)] |= {node(target) for target in targets & sources.keys()}
    return graph


def cycles(graph: Graph) -> set[frozenset[str]]:
    """The largest sets of two or more nodes that all lead to one another."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        reached[start] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - reached[start]
            reached[start] |= new
            ahead += new
    circles = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph}
    return {circle for circle in circles if len(circle) > 1}


def homeless(sources: Mapping[str, str]) -> Iterator[str]:
    """Functions that a header declares and another module than the header's defines."""
    homes = {
        name: module_of(path)
        for path, text in sources.items()
        if path.endswith(".c")
        for name in DEFINITION.findall(code_only(text))
    }
    for path, text in sources.items():
        for name in PROTOTYPE.findall(code_only(text)) if path.endswith(".h") else ():
            if (home := homes.get(name, module_of(path))) != module_of(path):
                yield f"{path}: declares {name}, which {home}.c defines"


def all_sources() -> dict[str, str]:
    src = ROOT / "src"
    return {
        path.relative_to(src).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(src.rglob("*.[ch]"))
    }


def named(circles: Iterable[frozenset[str]]) -> list[set[str]]:
    return [{PurePosixPath(module).name for module in circle} for circle in circles]


def test_no_modules_include_one_another() -> None:
    found = named(cycles(include_graph(all_sources(), module_of)))
    new = [c for c in found if not any(c <= known for known in FAMILIES)]
    assert not new, "\n".join(" and ".join(sorted(circle)) for circle in new)


def test_the_document_names_every_folder() -> None:
    assert {parent_of(path) for path in all_sources()} == MAY_INCLUDE.keys()


def test_no_folders_include_one_another() -> None:
    found = cycles(include_graph(all_sources(), parent_of))
    assert not found, "\n".join(" and ".join(sorted(circle)) for circle in found)


def test_functions_of_py_are_declared_at_home() -> None:
    """Else calls could go round in a circle that the includes do not show."""
    found = [line for line in homeless(all_sources()) if line.startswith("py/")]
    assert not found, "\n".join(found)


def test_cycles_are_found() -> None:
    sources = {
        "a/a.h": '#include "b/b.h"\n',
        "b/b.h": "/* */\n",
        "b/b.c": '#include "b/b.h"\n#include "c/d/c.h"\n',
        "c/d/c.h": "int c;\n",
        "c/d/c.c": '#include "a/a.h"\n#include "c/d/c.h"\n#include <math.h>\n',
        "e/e.c": '#include "a/a.h"\n/* #include "e/f.h" */\n',
        "e/f.h": '#include "e/e.h"\n',
    }
    assert cycles(include_graph(sources, module_of)) == {
        frozenset({"a/a", "b/b", "c/d/c"})
    }
    assert cycles(include_graph(sources, parent_of)) == {frozenset({"a", "b", "c/d"})}
    del sources["b/b.c"]
    assert not cycles(include_graph(sources, module_of))
    assert not cycles(include_graph(sources, parent_of))


def test_homeless_functions_are_found() -> None:
    sources = {
        "a.h": "int rl_a(int a,\n         int b);\nint rl_b(void);\n/* rl_c(); */\n",
        "a.c": "int rl_a(int a,\n         int b)\n{\n    return rl_b();\n}\n",
        "b.c": "int rl_b(void)\n{\n    return 1;\n}\n",
    }
    assert list(homeless(sources)) == ["a.h: declares rl_b, which b.c defines"]


def function(lines: int) -> str:
    """A function of so many lines."""
    return "/* f */\nint f(int a)\n{\n" + "    a++;\n" * (lines - 3) + "}\n"


@pytest.mark.parametrize(
    ("rule", "path", "text", "line"),
    [
        (rule_python_h, "src/core/a.c", "/* a */\n#include <Python.h>\n", 2),
        (rule_python_h, "tests/c/a.c", "/* a */\n# include <Python.h>\n", 2),
        (rule_dependencies, "src/core/a.c", '#include "store/store.h"\n', 1),
        (rule_dependencies, "src/store/a.h", '\n#include "record/commit/commit.h"\n', 2),
        (rule_dependencies, "src/record/a.c", '#include "py/module.h"\n', 1),
        (rule_dependencies, "src/net/a.c", '#include "../store/store.h"\n', 1),
        (rule_dependencies, "src/other/a.c", "/* a */\n", 1),
        (rule_banned, "src/py/a.c", "/* sprintf( */\nint a = sprintf(b, c);\n", 2),
        (rule_banned, "src/py/a.c", "t = gmtime (&now);\n", 1),
        (rule_wait, "src/net/a.c", "(void)pthread_cond_timedwait(&a, &b, &c);\n", 1),
        (rule_allocation, "src/store/a.c", "char *p = malloc(3);\n", 1),
        (rule_allocation, "src/py/a.c", "/* a */\n\nfree(p);\n", 3),
        (rule_marks, "src/core/a.c", "/* a\n * TODO: b */\n", 2),
        (rule_sql, "src/store/a.c", '/* a */\nrun("SELECT 1");\n', 2),
        (rule_sql, "src/record/a.h", 'run("a", " INSERT INTO b");\n', 1),
        (rule_head, "src/core/a.h", "#pragma once\n", 1),
        (rule_file_length, "src/core/a.c", "\n" * 901, 901),
        (rule_function_length, "src/py/a.c", function(121), 2),
        (rule_function_length, "src/a.c", function(9) + "int b;\n" + function(121), 13),
        (rule_function_length, "src/py/a.c", "int f(void)\n{\n#if A\n{\n#endif\n}\n", 1),
    ],
)  # fmt: skip
def test_rule_finds(rule: Rule, path: str, text: str, line: int) -> None:
    (finding,) = rule(path, text)
    assert finding.startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rule_python_h, "src/py/a.c", "#include <Python.h>\n"),
        (
            rule_dependencies,
            "src/record/a.c",
            '#include "core/buf.h"\n#include <a/b.h>\n',
        ),
        (rule_banned, "src/core/a.c", "rl_atoi(a); snprintf(b); gmtime_r(c);\n"),
        (rule_banned, "src/core/a.c", 'puts("sprintf(");\n'),
        (rule_wait, "src/core/lock.h", "return pthread_cond_timedwait(a, b, c);\n"),
        (rule_wait, "src/net/a.c", "rl_cond_timedwait(&a, &b, &c);\n"),
        (rule_allocation, "src/core/alloc.c", "free(p);\n"),
        (rule_allocation, "src/py/a.c", "PyMem_Malloc(3); rl_free(p); a->free(b);\n"),
        (rule_sql, "src/store/a_sql.h", '"SELECT 1"\n'),
        (rule_sql, "src/store/a.c", '/* "SELECT 1" */ "a SELECT 1", "SELECTED"\n'),
        (rule_head, "src/core/a.c", "/* a */\n"),
        (rule_function_length, "src/py/a.c", function(120)),
        (rule_function_length, "src/py/a.c", "int a[] = {\n" + "f(1),\n" * 200 + "};\n"),
        (rule_function_length, "src/py/a.c", "struct a {\n" + "int b;\n" * 200 + "};\n"),
    ],
)
def test_rule_passes(rule: Rule, path: str, text: str) -> None:
    assert list(rule(path, text)) == []
