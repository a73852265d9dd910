"""What a user sees whose machine lacks a library, and the ways to find them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import native
import pytest

ROOT = Path(__file__).resolve().parent.parent

LINES = {
    "libpq": "install libpq-dev (Debian, Ubuntu), libpq-devel (Fedora) "
    "or libpq (Homebrew)",
    "sqlite3": "install libsqlite3-dev (Debian, Ubuntu), sqlite-devel (Fedora) "
    "or sqlite (Homebrew)",
    "libcurl": "install libcurl4-openssl-dev (Debian, Ubuntu), libcurl-devel (Fedora) "
    "or curl (Homebrew)",
}


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
    (libpq / "libpq-fe.h").touch()
    (curl / "curl" / "curl.h").touch()
    text = f'case $1 in --includedir) echo "{libpq}" ;; --libdir) echo /pq/lib ;; esac'
    script(tmp_path / "pg_config", text)
    script(tmp_path / "curl-config", f"echo -I{curl}")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PKG_CONFIG", "false")
    monkeypatch.delenv("LD_PRELOAD", raising=False)

    found = native.find_libraries()

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
