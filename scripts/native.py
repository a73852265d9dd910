"""How C is compiled: the flags, and the three libraries.

setup.py and the C tests use this module, so that both build the same way. Environment:

RUNLOG_WERROR=1        warnings are errors
RUNLOG_SANITIZE=a,b    instrument with these sanitizers, for example address,undefined
RUNLOG_DEBUG=1         no optimisation, debug information, assertions on
PKG_CONFIG, CC         the commands to use instead of pkg-config and cc
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
    "-Wstrict-prototypes",
    "-Wvla",
]


@dataclass
class Flags:
    """Flags of the compiler and the linker for a library."""

    include_dirs: list[str] = field(default_factory=list)
    library_dirs: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add flags in the form in which pkg-config prints them."""
        for flag in shlex.split(text):
            kind, value = flag[:2], flag[2:]
            if kind == "-I":
                self.include_dirs.append(value)
            elif kind == "-L":
                self.library_dirs.append(value)
            elif kind == "-l":
                self.libraries.append(value)
            elif not flag.startswith(("-D", "-f", "-W")):
                self.other.append(flag)


@dataclass(frozen=True)
class Library:
    """A required library: its names, and the packages that contain it."""

    name: str
    link_name: str
    header: str
    debian: str
    fedora: str
    homebrew: str

    @property
    def missing(self) -> str:
        """The message for the user when it was not found."""
        return (
            f"runlog: {self.name} was not found: install {self.debian} "
            f"(Debian, Ubuntu), {self.fedora} (Fedora) or {self.homebrew} (Homebrew)"
        )


LIBRARIES = [
    Library(
        name="libpq",
        link_name="pq",
        header="libpq-fe.h",
        debian="libpq-dev",
        fedora="libpq-devel",
        homebrew="libpq",
    ),
    Library(
        name="sqlite3",
        link_name="sqlite3",
        header="sqlite3.h",
        debian="libsqlite3-dev",
        fedora="sqlite-devel",
        homebrew="sqlite",
    ),
    Library(
        name="libcurl",
        link_name="curl",
        header="curl/curl.h",
        debian="libcurl4-openssl-dev",
        fedora="libcurl-devel",
        homebrew="curl",
    ),
]


def find_libraries() -> Flags:
    """Find the libraries, or end the build with a line for each missing one."""
    flags = Flags()
    missing = [library.missing for library in LIBRARIES if not _find(library, flags)]
    if missing:
        raise SystemExit("\n".join(missing))
    return flags


def compile_flags() -> list[str]:
    """The flags of every C file, from the environment."""
    flags = ["-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", *WARNINGS]
    if os.environ.get("RUNLOG_WERROR") == "1":
        flags.append("-Werror")
    if sanitizers := os.environ.get("RUNLOG_SANITIZE"):
        # Python's flags include -fwrapv, which would hide signed overflow.
        flags += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-fno-wrapv"]
        flags += ["-g", "-O1", "-UNDEBUG"]
    if os.environ.get("RUNLOG_DEBUG") == "1":
        flags += ["-O0", "-g", "-UNDEBUG"]
    return flags


def link_flags() -> list[str]:
    """The flags of every link, to be placed before the libraries."""
    flags = ["-Wl,--as-needed"] if sys.platform.startswith("linux") else []
    if sanitizers := os.environ.get("RUNLOG_SANITIZE"):
        flags.append(f"-fsanitize={sanitizers}")
    return flags


def variant() -> str:
    """A name for the set of flags: each set has its own folder of objects."""
    parts = [os.environ.get("RUNLOG_SANITIZE", "").replace(",", "-")]
    parts += [
        name for name in ("WERROR", "DEBUG") if os.environ.get(f"RUNLOG_{name}") == "1"
    ]
    return "-".join(part.lower() for part in parts if part) or "release"


def _find(library: Library, flags: Flags) -> bool:
    """Add the flags of a library; False when neither way finds it."""
    pkg_config = os.environ.get("PKG_CONFIG", "pkg-config")
    if text := _output(pkg_config, "--cflags", "--libs", library.name):
        flags.add(text)
        return True
    found = Flags()
    if library.link_name == "pq":
        found.include_dirs += _output("pg_config", "--includedir").splitlines()
        found.library_dirs += _output("pg_config", "--libdir").splitlines()
    elif library.link_name == "curl":
        found.add(_output("curl-config", "--cflags"))
    # pg_config and curl-config may be installed without the headers.
    if not _compiles(f"#include <{library.header}>\n", found.include_dirs):
        return False
    flags.include_dirs += found.include_dirs
    flags.library_dirs += found.library_dirs
    flags.libraries.append(library.link_name)
    return True


def _output(*command: str) -> str:
    """The output of a command; empty when it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _compiles(source: str, include_dirs: list[str]) -> bool:
    """Whether the preprocessor accepts a source text, and so finds its headers."""
    command = shlex.split(os.environ.get("CC", "cc"))
    command += [f"-I{path}" for path in include_dirs]
    command += ["-E", "-x", "c", "-o", os.devnull, "-"]
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0


def sources(*folders: str, suffix: str = ".c") -> list[str]:
    """The sorted paths, from the top, of the files in and below some folders of src/."""
    found = [p for folder in folders for p in Path("src", folder).rglob(f"*{suffix}")]
    return sorted(str(path) for path in found)
