"""Several handlers see a run: each database has it once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fixtures_store import Store
from handler_graphs import chain, each_call, node, two_nodes
from psycopg.conninfo import conninfo_to_dict

import runlog
from runlog import Recorder, hooks
from runlog.hooks import RunLogHandler


@pytest.fixture(autouse=True)
def nothing_stays_installed() -> Iterator[None]:
    yield
    hooks.uninstall()


def names(source: Any) -> list[str]:
    assert source.flush(60)
    return [run["wpk_id"] for run in source.list_runs().runs][::-1]


def spellings(store: Store) -> list[dict[str, Any]]:
    """Other ways to name the store's database."""
    if store.kind == "sqlite":
        path = Path(store.options["sqlite_path"])
        link, folder = path.parent / "link.db", path.parent / "folder"
        link.symlink_to(path)
        folder.symlink_to(path.parent)
        ways = [link, folder / path.name, f"{path.parent}/./{path.name}"]
        return [{"sqlite_path": way} for way in (*ways, os.path.relpath(path))]
    settings = conninfo_to_dict(store.options["postgres_dsn"])
    words = " ".join(f"{name}='{value}'" for name, value in reversed(settings.items()))
    query = "&".join(
        f"{name}={quote(str(value), '')}" for name, value in settings.items()
    )
    return [
        {**store.options, "postgres_dsn": dsn}
        for dsn in (words, f"postgresql:///?{query}", f"{words} connect_timeout=9")
    ]


@each_call
def test_install_and_a_recorder_of_its_own(store: Store, call: Any) -> None:
    runlog.configure(**store.options)
    hooks.install()
    with Recorder(**store.options) as own:
        for number in range(2):  # the first makes the file
            handler = RunLogHandler("own", recorder=own)
            call(two_nodes(), {"n": number}, {"callbacks": [handler]})
        assert names(own) == ["own"] * 2
        call(two_nodes("other"), {"n": 0})
        assert names(own) == ["own"] * 2 + ["other"]
        assert runlog.stats()["handler_ignored"] == own.stats()["handler_ignored"] == 0


def test_a_database_is_known_by_any_name(store: Store) -> None:
    with Recorder(**store.options) as first:
        two_nodes("first").invoke(
            {"n": 0}, {"callbacks": [RunLogHandler(recorder=first)]}
        )
        for options in spellings(store):
            with Recorder(**options) as second:
                handlers: list[Any] = [
                    RunLogHandler("a", recorder=first),
                    RunLogHandler("b", recorder=second),
                ]
                two_nodes().invoke({"n": 0}, {"callbacks": handlers})
                assert names(first)[1:] == ["a"], options
                first.delete_runs(wpk_id="a")


def test_two_names_of_a_file_that_does_not_exist_yet(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with (
        Recorder(sqlite_path=str(tmp_path / "link" / "new.db")) as first,
        Recorder(sqlite_path=str(tmp_path / "folder" / "new.db")) as second,
    ):
        handlers: list[Any] = [
            RunLogHandler("a", recorder=first),
            RunLogHandler("b", recorder=second),
        ]
        two_nodes().invoke({"n": 0}, {"callbacks": handlers})
        assert names(second) == ["a"]


def test_different_databases_have_it_each(store: Store, tmp_path: Path) -> None:
    runlog.configure(**store.options)
    hooks.install()
    with (
        Recorder(sqlite_path=str(tmp_path / "a.db")) as a,
        Recorder(sqlite_path=str(tmp_path / "b.db")) as b,
        hooks.recording("block", recorder=a),
    ):
        handler = RunLogHandler("own", recorder=b)
        two_nodes().invoke({"n": 0}, {"callbacks": [handler]})
        assert (names(a), names(b), names(runlog)) == (["block"], ["own"], ["g"])


@each_call
def test_a_handler_of_the_subgraph(store: Store, tmp_path: Path, call: Any) -> None:
    """With the graph's own database, and with another one."""
    with (
        Recorder(**store.options) as first,
        Recorder(**store.options) as second,
        Recorder(sqlite_path=str(tmp_path / "other.db")) as third,
    ):
        inner = chain("inner", deep=node("deep"))
        for recorder, kept in ((second, []), (third, ["inner"])):
            own: Any = {"callbacks": [RunLogHandler("inner", recorder=recorder)]}

            def calls(state: Any, given: Any = own) -> Any:
                return {"n": inner.invoke({"n": state["n"]}, given)["n"]}

            for graph in (
                chain("outer", sub=inner.with_config(own), last=node("last")),
                chain("outer", calls=calls, last=node("last")),
            ):
                handler = RunLogHandler("outer", recorder=first)
                call(graph, {"n": 0}, {"callbacks": [handler]})
            assert names(first) == ["outer"] * 2
            assert names(third) == kept * 2
            for run in first.list_runs().runs:
                whole: Any = first.get_run(run["run_id"])
                assert "deep" in [log["node"] for log in whole["node_logs"]]
            first.delete_runs(wpk_id="outer")


def test_the_default_recorder_is_replaced(store: Store, tmp_path: Path) -> None:
    """install() follows configure(), so that what is the same database may change."""
    runlog.configure(sqlite_path=str(tmp_path / "first.db"))
    hooks.install()
    with Recorder(**store.options) as own:
        config: Any = {"callbacks": [RunLogHandler("own", recorder=own)]}
        two_nodes().invoke({"n": 0}, config)
        assert (names(own), names(runlog)) == (["own"], ["g"])
        runlog.configure(**store.options)
        hooks.install()
        two_nodes().invoke({"n": 0}, config)
        assert names(own) == ["own"] * 2
