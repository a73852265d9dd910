"""Builds and runs the C tests: each tests/c/test_*.c is a program, and a test here.

They link the static library of the core, and have no Python headers. With
RUNLOG_SANITIZE set they and the library are instrumented, and leaks are failures. Lines
of a program's head comment say what else it needs:

    LINK: -Wl,--wrap=poll    more flags for the linker
    NEEDS: postgres          the DSN of an empty database, in TEST_DSN
    NEEDS: http              scripted_server.py's servers, in TEST_HTTP and others
    NEEDS: milvus            the endpoint of Milvus Lite, in TEST_MILVUS
    PARTS: 4                 to be run four times side by side, a part of its loops each

The loops of programs with parts make every call fail in turn, and take minutes. With a
sanitizer every ninth of their rounds is run, else one of 27 that is none of those, unless
TEST_C_ROUNDS is "all".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import native
import pytest
from fixtures_milvus import MilvusServer
from fixtures_postgres import PostgresServer
from scripted_server import scripted_servers
from side_by_side import alone

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tests" / "c"
PROGRAMS = sorted(path.stem for path in SOURCES.glob("test_*.c"))

# Taken now: the tests do not get to see RUNLOG_*. The preloaded run-time is for Python.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {
    "RUNLOG_WERROR": "1",
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1"
    ":verify_asan_link_order=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}
SANITIZERS = os.environ.get("RUNLOG_SANITIZE", "")
FOLDER = ROOT / "build" / "c" / (SANITIZERS.replace(",", "-") or "plain")
ALL_ROUNDS = os.environ.get("TEST_C_ROUNDS") == "all"
STRIDE = 1 if ALL_ROUNDS else 9 if SANITIZERS else 27
"""Of so many rounds of a loop one is run, in programs with parts."""
SHIFT = 4 if SANITIZERS and not ALL_ROUNDS else 0
"""Which of them, but for the first part: that is 1, as it runs what is no loop, too."""
ASAN_FORK = ROOT / "build" / "asan" / "fork.so"
"""The Makefile makes it of asan_fork.c, which says what it is for."""


def headings(name: str, key: str) -> list[str]:
    """The words behind a key in the head comment of a program."""
    source = (SOURCES / f"{name}.c").read_text(encoding="utf-8")
    head = source[: source.index("*/")]
    lines = re.findall(rf"^ \* {key}: (.+)$", head, re.MULTILINE)
    return [word for line in lines for word in line.split()]


def parts_of_programs() -> list[Any]:
    """The names of the programs, each with its parts, those with many first."""
    found = []
    for name in PROGRAMS:
        count = int((headings(name, "PARTS") or ["1"])[0])
        stride = 1 if count == 1 else STRIDE
        for part in range(1, count + 1):
            name_of_part = name if count == 1 else f"{name}-{part}-of-{count}"
            shift = SHIFT if part > 1 else 0
            rounds = f"{(part - 1) * stride + shift + 1}/{count * stride}"
            case = pytest.param(name, rounds, id=name_of_part)
            found.append((-count, case))
    return [case for _, case in sorted(found, key=lambda pair: pair[0])]


def run(
    command: list[str], cwd: Path, timeout: float, env: dict[str, str] | None = None
) -> None:
    """Run a command; fail with all it printed unless it exits with 0."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=ENVIRONMENT | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    if done.returncode != 0:
        pytest.fail(f"exit {done.returncode}: {' '.join(command)}\n{done.stdout}", False)


def digest(files: Iterable[Path], *more: str) -> str:
    """What changes when one of the files does, or the words."""
    found = hashlib.sha256("\0".join(more).encode())
    for path in sorted(files):
        found.update(f"\0{path}\0".encode() + path.read_bytes())
    return found.hexdigest()


def make(target: Path, key: str, build: Callable[[], None]) -> Path:
    """Have a file built, unless that was done for the same key.

    Of the workers that ask for it at once, one builds it and the others wait.
    """
    note = target.with_name(f"{target.name}.key")
    with alone(f"{FOLDER.name}-{target.name}"):
        if not target.exists() or not note.exists() or note.read_text() != key:
            note.unlink(missing_ok=True)
            build()
            note.write_text(key)
    return target


@pytest.fixture(scope="session")
def core_library() -> Path:
    """The static library, brought up to date."""
    sources = [*(ROOT / "src").rglob("*.[ch]"), ROOT / "setup.py"]
    sources.append(ROOT / "scripts" / "native.py")

    def build() -> None:
        # Its objects are those of the installation, if that was made with the same flags.
        command = [sys.executable, "setup.py", "-q", "build_clib"]
        run([*command, "--build-clib", str(FOLDER)], ROOT, 600)

    return make(FOLDER / "librunlog_core.a", digest(sources, SANITIZERS), build)


def build(name: str, library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compile and link a program with the flags of the library."""
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    found = native.find_libraries()
    source = SOURCES / f"{name}.c"
    command = [os.environ.get("CC", "cc"), *native.compile_flags(), "-D_GNU_SOURCE"]
    command.append("-O1")  # what is to be quick is in the library
    command += [f"-I{ROOT / 'src'}", *(f"-I{path}" for path in found.include_dirs)]
    command += ["-o", str(FOLDER / name), str(source), *headings(name, "LINK")]
    command += [*native.link_flags(), str(library)]
    command += [f"-L{path}" for path in found.library_dirs]
    command += [f"-l{lib}" for lib in [*found.libraries, "pthread", "m"]]
    sources = [source, *SOURCES.glob("*.h"), *(ROOT / "src").rglob("*.h"), library]
    key = digest(sources, *command)
    return make(FOLDER / name, key, lambda: run(command, ROOT, 120))


def test_there_are_programs() -> None:
    assert PROGRAMS


@pytest.mark.parametrize(("name", "part"), parts_of_programs())
def test_c(
    *,
    name: str,
    part: str,
    core_library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    program = build(name, core_library, monkeypatch)
    env = {"LD_PRELOAD": str(ASAN_FORK)} if "address" in SANITIZERS else {}
    env["CHECK_PART"] = part
    needs = headings(name, "NEEDS")
    with contextlib.ExitStack() as stack:
        if "postgres" in needs:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            env["TEST_DSN"] = server.dsn(stack.enter_context(server.borrow_database()))
        if "http" in needs:
            env |= stack.enter_context(scripted_servers(tmp_path))
        if "milvus" in needs:
            milvus: MilvusServer = request.getfixturevalue("milvus_lite")
            env["TEST_MILVUS"] = milvus.endpoint
        run([str(program)], tmp_path, 900, env)


LOOPS = """
#include "check.h"
static void test_two_loops(void)
{
    for (int loop = 0; loop < 2; loop++) {
        bool hit = true;
        for (long round = 0; hit; round++) {
            if (check_mine(round)) {
                hit = round < 37;
                printf(hit ? "%d %ld\\n" : "", loop, round);
            }
        }
    }
}
static const struct check_test tests[] = {CHECK_LOOP(test_two_loops)};
CHECK_MAIN(tests)
"""


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_parts_of_a_loop_cover_every_case(count: int, tmp_path: Path) -> None:
    """Also where a part comes to the end of a loop sooner than the others."""
    (tmp_path / "loops.c").write_text(LOOPS)
    program = tmp_path / "loops"
    run(["cc", f"-I{SOURCES}", "-o", str(program), "loops.c"], tmp_path, 60)
    rounds: list[str] = []
    for part in range(1, count + 1):
        env = {"CHECK_PART": f"{part}/{count}"}
        lines = subprocess.check_output([program], env=env, text=True).splitlines()
        rounds += lines[:-1]  # the last one counts the tests
    wanted = [f"{loop} {number}" for loop in range(2) for number in range(37)]
    assert sorted(rounds) == sorted(wanted)
