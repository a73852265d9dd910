"""What a user sees whose machine lacks something that the build needs, and the ways to
find the libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import native
import pytest
from conftest import RunPython

import runlog

ROOT = Path(__file__).resolve().parent.parent

LINES = {
    "libpq": "install libpq-dev (Debian, Ubuntu), libpq-devel (Fedora), "
    "libpq-dev (Alpine) or libpq (macOS)",
    "sqlite3": "install libsqlite3-dev (Debian, Ubuntu), sqlite-devel (Fedora), "
    "sqlite-dev (Alpine) or sqlite (macOS)",
    "libcurl": "install libcurl4-openssl-dev (Debian, Ubuntu), libcurl-devel (Fedora), "
    "curl-dev (Alpine) or curl (macOS)",
}
OLD = {
    "libpq": ("13.4", "14"),
    "sqlite3": ("3.36.0", "3.37"),
    "libcurl": ("7.65.3", "7.66"),
}
NO_COMPILER = (
    "runlog: a C compiler was not found: install gcc and libc6-dev (Debian, Ubuntu), gcc "
    "(Fedora), build-base (Alpine) or the command line tools: xcode-select --install "
    "(macOS)"
)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def build(tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "setup.py", "-q", "build_clib"]
    command += ["--build-clib", str(tmp_path), "--build-temp", str(tmp_path)]
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    return subprocess.run(
        command, cwd=ROOT, env={**plain, **env}, capture_output=True, text=True
    )


@pytest.fixture
def failing_cc(tmp_path: Path) -> str:
    """A compiler that finds no headers."""
    return script(tmp_path / "failing-cc", "exit 1")


@pytest.mark.parametrize("name", LINES)
def test_a_missing_library_ends_the_build_with_one_line(
    name: str, tmp_path: Path, failing_cc: str
) -> None:
    pkg_config = script(
        tmp_path / "pkg-config",
        f'case "$*" in *{name}) exit 1 ;; esac\nexec {shutil.which("pkg-config")} "$@"',
    )
    done = build(tmp_path, PKG_CONFIG=pkg_config, CC=failing_cc)
    assert done.returncode == 1
    assert done.stderr == f"runlog: {name} was not found: {LINES[name]}\n"


@pytest.mark.parametrize("name", OLD)
def test_a_library_that_is_too_old_ends_the_build(
    name: str, tmp_path: Path, failing_cc: str
) -> None:
    version, oldest = OLD[name]
    real = shutil.which("pkg-config")
    pkg_config = script(
        tmp_path / "pkg-config",
        f'[ "$*" != "--modversion {name}" ] || exec echo {version}\nexec {real} "$@"',
    )
    done = build(tmp_path, PKG_CONFIG=pkg_config, CC=failing_cc)
    assert done.returncode == 1
    assert done.stderr == (
        f"runlog: {name} is older than {oldest}, which runlog needs: {LINES[name]}, "
        "of a newer release\n"
    )


@pytest.mark.parametrize(
    ("pkg_config", "lacking"),
    [("pkg-config", []), ("nowhere", []), ("false", list(LINES))],
)
def test_without_a_compiler_only_what_is_known_to_be_missing_is_said(
    pkg_config: str, lacking: list[str], tmp_path: Path
) -> None:
    """Without pkg-config, only a compiler can look for the libraries."""
    done = build(tmp_path, CC="nowhere/cc", PKG_CONFIG=pkg_config)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        NO_COMPILER,
        *(f"runlog: {name} was not found: {LINES[name]}" for name in lacking),
    ]


def test_pythons_headers_are_among_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    with pytest.raises(SystemExit) as raised:
        native.find_libraries()
    minor = sys.version_info.minor
    assert str(raised.value) == (
        "runlog: Python.h, of this Python's headers, was not found: install "
        f"python3.{minor}-dev (Debian, Ubuntu), python3.{minor}-devel (Fedora), "
        f"python3-dev (Alpine) or python@3.{minor} (macOS)"
    )


def test_a_tree_that_can_not_be_written_is_built_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert native.build_base() == Path("build", native.variant())
    shutil.rmtree("build")
    Path("build").touch()
    folder = native.build_base()
    assert folder.is_dir() and tmp_path not in folder.parents


def test_each_missing_library_has_its_own_message(
    tmp_path: Path, failing_cc: str
) -> None:
    done = build(tmp_path, PKG_CONFIG="false", CC=failing_cc)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"runlog: {name} was not found: {line}" for name, line in LINES.items()
    ]


def test_pip_shows_the_message_about_a_missing_library(
    tmp_path: Path, failing_cc: str
) -> None:
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "-w", str(tmp_path), str(ROOT)],
        env={**plain, "PKG_CONFIG": "false", "CC": failing_cc},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert f"runlog: libpq was not found: {LINES['libpq']}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_config_commands_replace_pkg_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The headers are where only pg_config and curl-config say."""
    libpq, curl = tmp_path / "a libpq", tmp_path / "curl"
    (curl / "curl").mkdir(parents=True)
    libpq.mkdir()
    (libpq / "libpq-fe.h").write_text("#define LIBPQ_HAS_PIPELINING 1\n")
    (curl / "curl" / "curl.h").write_text("#define LIBCURL_VERSION_NUM 0x074200\n")
    text = f'case $1 in --includedir) echo "{libpq}" ;; --libdir) echo /pq/lib ;; esac'
    script(tmp_path / "pg_config", text)
    script(tmp_path / "curl-config", f"echo -I{curl}")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PKG_CONFIG", "false")
    monkeypatch.delenv("LD_PRELOAD", raising=False)

    found = native.find_libraries()
    (curl / "curl" / "curl.h").write_text("#define LIBCURL_VERSION_NUM 0x074103\n")
    with pytest.raises(SystemExit, match="libcurl is older than"):
        native.find_libraries()

    assert found.include_dirs == [str(libpq), str(curl)]
    assert found.library_dirs == ["/pq/lib"]
    assert found.libraries == ["pq", "sqlite3", "curl"]


def test_pkg_config_flags_are_understood() -> None:
    flags = native.Flags()
    flags.add("-I/a -I'/b c' -DX=1 -L/d -lpq -pthread -lm")
    assert flags.include_dirs == ["/a", "/b c"]
    assert flags.library_dirs == ["/d"]
    assert flags.libraries == ["pq", "m"]
    assert flags.other == ["-pthread"]


HOOKS = "import runlog.hooks"
REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise {error}
sys.meta_path.insert(0, Refuse())
"""


def refused(run_python: RunPython, name: str, error: str, code: str) -> str:
    """The last line of an import where that of a module in it raises an error."""
    done = run_python(REFUSE.format(name=name, error=error) + code)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["langchain_core", "langgraph"])
def test_hooks_without_langgraph_name_the_extra(run_python: RunPython, name: str) -> None:
    error = f"ModuleNotFoundError('No module named {name}', name={name!r})"
    line = refused(run_python, name, error, HOOKS)
    assert line.startswith("ModuleNotFoundError: runlog.hooks records LangGraph 0.4")
    assert "is not installed" in line
    assert 'pip install "langgraph-runlog[langgraph]"' in line


def test_hooks_on_an_unknown_langgraph_say_so(run_python: RunPython) -> None:
    error = "ImportError('cannot import name x', name='langgraph.pregel')"
    line = refused(run_python, "langgraph.pregel", error, HOOKS)
    assert line.startswith("ImportError: runlog.hooks records LangGraph 0.4 or later")
    assert "too old or incomplete" in line


@pytest.mark.parametrize(
    "text",
    [
        "libpq.so.5: cannot open shared object file: No such file or directory",
        "Error loading shared library libcurl.so.4: No such file or directory",
        "dlopen(x.so, 0x0002): Library not loaded: /opt/lib/libsqlite3.0.dylib",
    ],
)
def test_a_library_that_is_missing_at_run_time_is_named(
    run_python: RunPython, text: str
) -> None:
    line = refused(
        run_python, "runlog._runlog", f"ImportError({text!r})", "import runlog"
    )
    for package in ("libpq5", "libcurl4", "libsqlite3-0", "sqlite-libs", "Homebrew"):
        assert package in line
    assert text in line
    assert "pip install" not in line


@pytest.mark.parametrize(
    "error",
    [
        "ModuleNotFoundError('No module named runlog._runlog')",
        "ImportError('/lib/libc.so.6: version `GLIBC_2.99` not found')",
        "ImportError('undefined symbol: PQpipelineStatus, in libpq.so.5')",
    ],
)
def test_an_extension_that_is_absent_or_foreign_is_built(
    run_python: RunPython, error: str
) -> None:
    line = refused(run_python, "runlog._runlog", error, "import runlog")
    assert "`pip install .` in the source tree" in line
    assert "libpq5" not in line


def test_another_package_of_the_name_is_told(
    run_python: RunPython, tmp_path: Path
) -> None:
    """Its files lie over ours: with its __init__.py, or, once it is gone, with none."""
    ours = Path(runlog.__file__).parent
    theirs = tmp_path / "site" / "runlog"
    shutil.copytree(ours, theirs)
    code = f"import sys; sys.path.insert(0, {str(theirs.parent)!r}); {HOOKS}"
    (theirs / "__init__.py").write_text("__version__ = '0.1.1'\n")
    last = run_python(code).stderr.splitlines()[-1]
    assert last.startswith("ImportError: runlog/__init__.py")
    assert "pip uninstall runlog" in last


def test_the_metadata_is_true() -> None:
    about: Any = metadata.metadata("langgraph-runlog")
    assert about["Version"] == runlog.__version__
    assert "](docs/" not in str(about.get_payload())
    assert "`docs/langgraph.md`" in str(about.get_payload())
    classifiers = about.get_all("Classifier")
    assert classifiers is not None
    assert "Programming Language :: Python :: 3.11" in classifiers
    assert not [one for one in classifiers if "MacOS" in one]
    wanted = about.get_all("Requires-Dist")
    assert wanted is not None
    assert [one for one in wanted if "langgraph>=" in one and "<" not in one]
