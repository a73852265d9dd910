"""What to do where runlog can't be imported. Loaded only then."""

from __future__ import annotations

import sys

LIBRARIES = ("libpq", "libcurl", "libsqlite3")
PACKAGES = (
    "libpq5 libcurl4 libsqlite3-0 (Debian, Ubuntu), libpq libcurl sqlite-libs (Fedora, "
    "Alpine), or libpq curl sqlite (Homebrew)"
)
REINSTALL = (
    "`pip uninstall runlog`, then `pip install --force-reinstall --no-deps` with the "
    "source tree or wheel of langgraph-runlog"
)


def on_extension(error: ImportError) -> str:
    """The message for an extension that can't be loaded because of `error`."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        python = "{}.{}".format(*sys.version_info)
        advice = (
            f"runlog's C extension for Python {python} is absent; `pip install .` in the "
            f"source tree builds it{_on_the_other()}"
        )
    elif any(library in text for library in LIBRARIES) and "symbol" not in text:
        advice = f"runlog's C extension lacks a library; install {PACKAGES}"
    else:
        advice = (
            "runlog's C extension doesn't fit this system; `pip install .` in the source "
            "tree builds it again"
        )
    return f"{advice}: {text}"


def on_package(file: str | None) -> str:
    """The message where the imported package `runlog`, in `file`, is not this one."""
    where = f"({file}) is" if file is not None else "is missing or"
    return (
        f"runlog/__init__.py {where} not that of langgraph-runlog. The distribution "
        f"`runlog` on PyPI is another project, with the same import name: {REINSTALL}"
    )


def on_langgraph(error: ImportError) -> str:
    """The message for `runlog.hooks` without a LangGraph that it knows."""
    name = (error.name or "").partition(".")[0]
    absent = isinstance(error, ModuleNotFoundError) and error.name == name
    state = "is not installed" if absent else "is too old or incomplete"
    return (
        f"runlog.hooks records LangGraph 0.4 or later, which {state}: "
        '`pip install "langgraph-runlog[langgraph]"`, or `pip install ".[langgraph]"` '
        f"in the source tree: {error}"
    )


def _on_the_other() -> str:
    """An explanation if another project's distribution `runlog` is installed, or ""."""
    from importlib import metadata

    try:
        other = metadata.version("runlog")
    except metadata.PackageNotFoundError:
        return ""
    return (
        f". The distribution `runlog` {other} is installed too; that of PyPI is another "
        f"project, with the same import name: {REINSTALL}"
    )
