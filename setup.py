"""Builds the C core as one static library, and the extension on top of it.

The core (src/core, store, record, net and the companions) is compiled without Python's
headers; only src/py includes them. The package's metadata is in pyproject.toml. Each set
of flags (scripts/native.py) has its own folder of artefacts below build/.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

os.chdir(Path(__file__).resolve().parent)
sys.path.insert(0, "scripts")

import native  # noqa: E402

CORE = "runlog_core"
CORE_FOLDERS = ["core", "store", "record", "net", "meaning", "words", "rollup"]


def compile_in_parallel(compiler: Any) -> None:
    """Make a compiler object compile several sources at a time."""
    compile_some = compiler.compile

    def compile_all(sources: list[str], *args: Any, **kwargs: Any) -> list[str]:
        def compile_one(source: str) -> list[str]:
            objects: list[str] = compile_some([source], *args, **kwargs)
            return objects

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [name for names in pool.map(compile_one, sources) for name in names]

    compiler.compile = compile_all


class BuildCore(build_clib):  # type: ignore[misc]
    """Compiles the core."""

    def build_libraries(self, libraries: list[tuple[str, dict[str, Any]]]) -> None:
        """Add the flags, for which the libraries must be found first, and build."""
        found = native.find_libraries()
        for name, info in libraries:
            info["include_dirs"] = ["src", *found.include_dirs]
            info["cflags"] = native.compile_flags()
            # ar only adds to an archive: the object of a deleted source would stay in it.
            Path(self.build_clib, f"lib{name}.a").unlink(missing_ok=True)
        compile_in_parallel(self.compiler)
        super().build_libraries(libraries)


class BuildExtension(build_ext):  # type: ignore[misc]
    """Compiles src/py and links it with the core and the libraries."""

    include_dirs: list[str]

    def finalize_options(self) -> None:
        """Remove Python's folders from -I: build_extensions adds them with -isystem."""
        super().finalize_options()
        folders = [path for path in self.include_dirs if path not in python_includes()]
        self.include_dirs = folders

    def build_extensions(self) -> None:
        """Add the flags, for which the libraries must be found first, and build."""
        found = native.find_libraries()
        version = self.distribution.get_version()
        for extension in self.extensions:
            extension.include_dirs = ["src", *found.include_dirs]
            extension.library_dirs = found.library_dirs
            extension.libraries = [CORE, *found.libraries, "pthread", "m"]
            extension.define_macros = [
                ("RUNLOG_VERSION", f'"{version}"'),
                ("_GNU_SOURCE", None),  # Python.h defines it too late for other headers
            ]
            extension.extra_compile_args = native.compile_flags()
            for folder in python_includes():
                extension.extra_compile_args += ["-isystem", folder]
            extension.extra_link_args = found.other
        # extra_link_args come after the libraries, too late for --as-needed.
        self.compiler.linker_so = [*self.compiler.linker_so, *native.link_flags()]
        compile_in_parallel(self.compiler)
        # The version is not in a source file that is newer once it has been raised.
        stamp = Path(self.build_temp, "version")
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != version:
            self.force = True
        super().build_extensions()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(version, encoding="utf-8")


def python_includes() -> list[str]:
    """The folders of Python.h and pyconfig.h."""
    paths = sysconfig.get_paths()
    return sorted({paths["include"], paths["platinclude"]})


def readme() -> str:
    """README.md as the package's description, without the links into the source tree."""
    text = Path("README.md").read_text(encoding="utf-8")
    return re.sub(r"\[([^]]+)\]\((?![a-z]+:)[^)]+\)", r"`\1`", text)


build_base = native.build_base()

core_sources = native.sources(*CORE_FOLDERS)
core_headers = native.sources(*CORE_FOLDERS, suffix=".h")
core = {
    "sources": core_sources,
    "obj_deps": {"": [*core_headers, "setup.py", "scripts/native.py"]},
    "macros": [("_GNU_SOURCE", None)],
}
extension = Extension(
    "runlog._runlog",
    native.sources("py"),
    depends=[*core_sources, *core_headers, *native.sources("py", suffix=".h")],
)

setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    libraries=[(CORE, core)],
    ext_modules=[extension],
    cmdclass={"build_clib": BuildCore, "build_ext": BuildExtension},
    options={
        "build": {"build_base": str(build_base)},
        "egg_info": {"egg_base": str(build_base)},
    },
)
