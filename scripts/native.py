"""How C is compiled: the flags, and what must be there: the compiler, Python's headers
and three libraries.

setup.py and the C tests use this module, so that both build the same way. Environment:

RUNLOG_WERROR=1        warnings are errors
RUNLOG_SANITIZE=a,b    instrument with these sanitizers, for example address,undefined
RUNLOG_DEBUG=1         no optimisation, debug information, assertions on
PKG_CONFIG, CC         the commands to use instead of pkg-config and Python's compiler
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
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


def build_base() -> Path:
    """The folder of the build: below build/, or elsewhere if the tree is read-only."""
    folder = Path("build", variant())
    try:
        folder.mkdir(parents=True, exist_ok=True)  # egg_info needs it
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        made = Path(tempfile.mkdtemp(prefix="runlog-build-"))
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        return made


@dataclass(frozen=True)
class Requirement:
    """Something that the build needs, and the packages that contain it."""

    name: str
    debian: str
    fedora: str
    alpine: str
    homebrew: str

    @property
    def packages(self) -> str:
        """What to install."""
        return (
            f"install {self.debian} (Debian, Ubuntu), {self.fedora} (Fedora), "
            f"{self.alpine} (Alpine) or {self.homebrew} (macOS)"
        )

    @property
    def missing(self) -> str:
        """The message for the user when it was not found."""
        return f"runlog: {self.name} was not found: {self.packages}"


@dataclass(frozen=True)
class Library(Requirement):
    """A library, the oldest version that will do, and how a header tells that."""

    link_name: str
    header: str
    oldest: str
    is_new: str

    @property
    def too_old(self) -> str:
        """The message for the user when the version will not do."""
        return (
            f"runlog: {self.name} is older than {self.oldest}, which runlog needs: "
            f"{self.packages}, of a newer release"
        )


COMPILER = Requirement(
    name="a C compiler",
    debian="gcc and libc6-dev",
    fedora="gcc",
    alpine="build-base",
    homebrew="the command line tools: xcode-select --install",
)
HEADERS = Requirement(
    name="Python.h, of this Python's headers,",
    debian=f"python3.{sys.version_info.minor}-dev",
    fedora=f"python3.{sys.version_info.minor}-devel",
    alpine="python3-dev",
    homebrew=f"python@3.{sys.version_info.minor}",
)
LIBRARIES = [
    Library(
        name="libpq",
        debian="libpq-dev",
        fedora="libpq-devel",
        alpine="libpq-dev",
        homebrew="libpq",
        link_name="pq",
        header="libpq-fe.h",
        oldest="14",
        is_new="defined(LIBPQ_HAS_PIPELINING)",
    ),
    Library(
        name="sqlite3",
        debian="libsqlite3-dev",
        fedora="sqlite-devel",
        alpine="sqlite-dev",
        homebrew="sqlite",
        link_name="sqlite3",
        header="sqlite3.h",
        oldest="3.37",
        is_new="SQLITE_VERSION_NUMBER >= 3037000",
    ),
    Library(
        name="libcurl",
        debian="libcurl4-openssl-dev",
        fedora="libcurl-devel",
        alpine="curl-dev",
        homebrew="curl",
        link_name="curl",
        header="curl/curl.h",
        oldest="7.66",
        is_new="LIBCURL_VERSION_NUM >= 0x074200",
    ),
]


def find_libraries() -> Flags:
    """Find the libraries, or end the build with a line for each thing that it lacks."""
    flags = Flags()
    lacking = []
    has_compiler = shutil.which(_compiler()[0]) is not None
    if not has_compiler:
        lacking.append(COMPILER.missing)
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        lacking.append(HEADERS.missing)
    if has_compiler or shutil.which(_pkg_config()) is not None:  # else nobody knows
        lacking += [line for library in LIBRARIES if (line := _find(library, flags))]
    if lacking:
        raise SystemExit("\n".join(lacking))
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


def _compiler() -> list[str]:
    """The command that setuptools compiles with."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def _pkg_config() -> str:
    return os.environ.get("PKG_CONFIG", "pkg-config")


def _find(library: Library, flags: Flags) -> str:
    """Add the flags of a library; else what to tell the user."""
    if text := _output(_pkg_config(), "--cflags", "--libs", library.name):
        flags.add(text)
        version = _output(_pkg_config(), "--modversion", library.name)
        return library.too_old if _is_older(version, library.oldest) else ""
    found = Flags()
    if library.link_name == "pq":
        found.include_dirs += _output("pg_config", "--includedir").splitlines()
        found.library_dirs += _output("pg_config", "--libdir").splitlines()
    elif library.link_name == "curl":
        found.add(_output("curl-config", "--cflags"))
    # pg_config and curl-config may be installed without the headers.
    text = f"#include <{library.header}>\n"
    if not _compiles(text, found.include_dirs):
        return library.missing
    if not _compiles(
        f"{text}#if !({library.is_new})\n#error\n#endif\n", found.include_dirs
    ):
        return library.too_old
    flags.include_dirs += found.include_dirs
    flags.library_dirs += found.library_dirs
    flags.libraries.append(library.link_name)
    return ""


def _is_older(version: str, than: str) -> bool:
    """Whether a version of numbers is older. False for one of another form."""
    try:
        numbers = [[int(part) for part in text.split(".")] for text in (version, than)]
    except ValueError:
        return False
    return numbers[0] < numbers[1]


def _output(*command: str) -> str:
    """The output of a command; empty when it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _compiles(source: str, include_dirs: list[str]) -> bool:
    """Whether the preprocessor accepts a source text, and so finds its headers."""
    command = _compiler()
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
