"""list_runs and count_runs: totals, statuses, errors, nodes, and searches that stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fixtures_store import Store
from handler_graphs import begin_root, chain, node, uuid7
from helpers import minimal, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from many_runs import STATUSES, make_runs

import runlog
from runlog import Recorder, ValidationError
from runlog.hooks import RunLogHandler

T0 = datetime(2026, 1, 1, tzinfo=UTC)
STOPS_AT_LOGS = 1000
"""How many runs a page with a node looks through."""


def ids(page: Any) -> list[str]:
    return [row["run_id"] for row in page.runs]


def all_ids(recorder: Any, **filters: Any) -> list[str]:
    """Those of all pages; a page that is full is complete."""
    found: list[str] = []
    page = recorder.list_runs(**filters)
    while True:
        assert page.complete or len(page.runs) < filters.get("limit", 20)
        found += ids(page)
        if page.next is None:
            assert page.complete
            return found
        page = recorder.list_runs(**filters, after=page.next)


# Totals


@pytest.mark.parametrize(
    ("metadata", "totals"),
    [
        (None, None),
        ({"user": "u"}, None),
        ({"totals": 7, "tokens": {"total": 1}}, None),
        ({"totals": {"nodes": "many"}}, None),
        ({"totals": [{"nodes": 1}]}, None),
        ({"totals": {"nodes": 2}}, (2, 0, None, None)),
        (
            {"totals": {"nodes": 2, "retries": 1, "at": "é\n\u2028"}},
            (2, 1, "é\n\u2028", None),
        ),
        ({"totals": {"nodes": 0, "retries": "x", "at": 7}}, (0, 0, None, None)),
        ({"totals": {"nodes": 1, "at": "n" * 5000}}, (1, 0, "n" * 1024, None)),
        ({"totals": {"nodes": 1}, "tokens": {"total": 9}}, (1, 0, None, 9)),
        ({"totals": {"nodes": 1}, "tokens": "few"}, (1, 0, None, None)),
        ({"x": 'a "totals":{"nodes":3} b'}, None),
    ],
    ids=repr,
)
def test_totals_of_whatever_is_in_the_metadata(
    recorder: Any, metadata: Any, totals: Any
) -> None:
    recorder.log_run(minimal(metadata=metadata))
    (row,) = recorder.list_runs().runs
    names = ("nodes", "retries", "at", "tokens")
    wanted = None if totals is None else dict(zip(names, totals, strict=True))
    assert row["totals"] == wanted
    assert recorder.list_runs(status=["completed", "lost"]).runs == [row]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_metadata_of_others_that_are_no_json(store: Any, recorder: Any) -> None:
    for number, text in enumerate(('{"totals":{', '"totals":{}', b'{"totals":{\xff')):
        recorder.log_run(minimal(str(number)))
        store.query(
            "UPDATE workflow_runs SET metadata = ? WHERE run_id = ?", text, str(number)
        )
    assert [row["totals"] for row in recorder.list_runs().runs] == [None] * 3
    assert recorder.list_runs(tag="x", metadata={"a": 1}).runs == []


# Statuses


def test_several_statuses(recorder: Any) -> None:
    wanted = ["failed", "completed", "interrupted", "mine", "failed", "completed"]
    for number, status in enumerate(wanted):
        time = T0 + timedelta(seconds=number // 2)  # two each have the same time
        recorder.log_run(minimal(str(number), status=status, created_at=time))
    plain = recorder.list_runs().runs

    def check(*statuses: str) -> None:
        expected = [row for row in plain if row["status"] in statuses]
        for limit in (1, 2, 20):
            found = all_ids(recorder, status=list(statuses), limit=limit)
            assert found == [row["run_id"] for row in expected], statuses
        assert recorder.list_runs(status=set(statuses)).runs == expected

    check("failed")
    check("failed", "completed")
    check("completed", "mine", "none")
    check("interrupted", "failed", "completed", "mine")
    check("lost", "running")


def test_open_runs_among_others(recorder: Any) -> None:
    """Their owner is alive, so they are running, not lost."""
    handler = RunLogHandler("w", recorder=recorder, checkpoint_interval=0.05)
    root = begin_root(handler, n=1)
    until(lambda: ids(recorder.list_runs(status="running")) == [str(root)])
    recorder.log_run(minimal("failed", status="failed"))
    assert ids(recorder.list_runs(status=("failed", "running"))) == ["failed", str(root)]
    assert ids(recorder.list_runs(status=("failed", "lost"))) == ["failed"]
    assert recorder.count_runs().by_status == {"failed": 1, "running": 1}
    handler.on_chain_end({}, run_id=root)


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"status": 3}, "status must be text or a list of texts, not int 3"),
        ({"status": ["failed", 3]}, "status must be text or a list of texts, not int 3"),
        ({"status": []}, "status must name at least one status, or be None for any"),
        ({"status": [str(n) for n in range(17)]}, "at most 16 different statuses"),
        ({"error": ""}, "error must be non-empty text, or None for any"),
        ({"node": 5}, "node must be text"),
        ({"node": "a\0"}, "node must be text without NUL"),
        ({"thread_id": 1.5}, "thread_id must be text, an int or a uuid.UUID, not float"),
    ],
    ids=repr,
)
def test_wrong_filters(recorder: Any, filters: Any, says: str) -> None:
    for ask in (recorder.list_runs, recorder.count_runs):
        with pytest.raises(ValidationError, match=says):
            ask(**filters)


def test_wrong_run_ids(recorder: Any) -> None:
    """The message names every type that is accepted."""
    for ask in (recorder.get_run, lambda run_id: recorder.list_runs(run_id=run_id)):
        with pytest.raises(
            ValidationError, match=r"must be text or a uuid.UUID, not int"
        ):
            ask(5)


def test_wrong_spans(recorder: Any) -> None:
    for spans in (0, 201, "5", 1.5, True):
        with pytest.raises(ValidationError, match="spans must be a whole number from 1"):
            recorder.count_runs(spans=spans)


# Errors and nodes


def test_runs_with_a_text_in_their_error(recorder: Any) -> None:
    errors = [
        ("KeyError", "'price'"),
        ("ValueError", "100% of _all_ {it} \\ [b]"),
        ("Timeout", None),
        (None, "no TYPE"),
        (None, None),
        ("ÄError", "größe"),
    ]
    for number, (kind, text) in enumerate(errors):
        recorder.log_run(minimal(str(number), error_type=kind, error_text=text))

    def found(text: str) -> list[str]:
        return ids(recorder.list_runs(error=text))[::-1]

    assert found("keyERROR: 'PRICE") == ["0"]
    assert found("error") == ["0", "1", "5"]
    assert found("100% of _") == ["1"]
    assert found("_all_ {it} \\ [B]") == ["1"]
    assert found("%") == ["1"]
    assert found("10_%") == []
    assert found("timeout") == ["2"]
    assert found("no type") == ["3"]
    assert found(":") == ["0", "1", "5"]
    assert found("größe") == ["5"]
    assert ids(recorder.list_runs(error="error", status="failed")) == []


NAMES = [
    "draft",
    'quote " and \\',
    "new\nline\t\x01",
    "größe 漢字 🎈",
    "%_",
    "$value",
    "a/b",
]


def test_runs_with_a_node(recorder: Any) -> None:
    for number, name in enumerate(NAMES):
        logs = [{"node": "other", "outputs": {"node": "inner"}}, {"node": name, "n": 1}]
        recorder.log_run(minimal(str(number), node_logs=logs))
    recorder.log_run(minimal("text", node_logs=["draft", {"name": "draft"}, 7]))
    recorder.log_run(minimal("dict", node_logs={"node": "draft"}))
    for number, name in enumerate(NAMES):
        assert ids(recorder.list_runs(node=name)) == [str(number)], name
    assert len(ids(recorder.list_runs(node="other"))) == len(NAMES)
    for name in ("draf", "inner", "DRAFT", "node", "text"):
        assert ids(recorder.list_runs(node=name)) == [], name


@pytest.mark.parametrize("name", NAMES)
def test_open_runs_with_a_node(recorder: Any, name: str) -> None:
    handler = RunLogHandler("w", recorder=recorder, checkpoint_interval=0.05)
    root = begin_root(handler, n=1)
    step = uuid7()
    handler.on_chain_start(
        None,  # type: ignore[arg-type]
        {"node": "inputs"},
        run_id=step,
        parent_run_id=root,
        tags=[],
        metadata={"langgraph_checkpoint_ns": "x:1", "checkpoint_ns": "x:1"}
        | {"langgraph_step": 1, "langgraph_node": name},
        name=name,
    )
    until(lambda: ids(recorder.list_runs(node=name)) == [str(root)])
    (row,) = recorder.list_runs(node=name).runs
    assert row["totals"] == {"nodes": 1, "retries": 0, "at": name, "tokens": None}
    assert ids(recorder.list_runs(node="inputs")) == []
    handler.on_chain_end({}, run_id=step)
    handler.on_chain_end({}, run_id=root)
    assert recorder.flush()
    (row,) = recorder.list_runs(node=name).runs
    assert (row["totals"]["at"], row["status"]) == (None, "completed")


# Searches that stop


@pytest.fixture
def long(store: Any) -> Any:
    """A history of 12,000 runs."""
    make_runs(store, 12_000)
    with Recorder(**store.options) as recorder:
        yield recorder


def test_a_search_stops_and_goes_on(long: Recorder) -> None:
    """Pages say where they stopped, and together they have all."""
    first = long.list_runs(node="rare0")
    assert (first.runs, first.complete) == ([], False)
    assert first.next is not None
    assert first.next.startswith("2026-01-01T03:03:20.000000Z~")  # of run 11,000
    assert all_ids(long, node="rare0") == [f"r{n}" for n in range(999, -1, -1)]
    for wanted in ({"tag": "none"}, {"metadata": {"none": 1}}):
        page = long.list_runs(**wanted)
        assert (page.runs, page.complete) == ([], False)
        assert page.next is not None
        assert page.next.startswith("2026-01-01T02:38:20.000000Z~")  # of run 9,500
        assert all_ids(long, **wanted) == []
        assert not long.list_runs(**wanted, node="rare0").complete
    runs, cursor = first  # a page is a pair, too
    assert (runs, cursor) == (first.runs, first.next)


def test_a_search_looks_at_what_other_filters_leave(long: Recorder) -> None:
    """All 1,200 failed runs are looked through at once, for an error."""
    for filters in ({}, {"status": "failed"}, {"status": ["failed", "lost"]}):
        page = long.list_runs(error="price 16", limit=100, **filters)
        assert page.complete
        assert page.next is None
        assert ids(page) == [
            f"r{n}"
            for n in range(12_000 - 1, -1, -1)
            if STATUSES[n % 20] == "failed" and f"{n}".startswith("16")
        ]
    page = long.list_runs(node="rare0", status="interrupted")
    assert page.complete
    assert ids(page)[0] == "r998"
    assert long.list_runs(node="rare0", wpk_id="w3").complete is False
    assert long.list_runs(node="rare0", thread_id="t3").complete is True
    until_two = T0 + timedelta(seconds=2000)
    assert long.list_runs(node="rare0", until=until_two).complete is False
    assert long.list_runs(node="rare0", until=T0 + timedelta(seconds=999)).complete


def test_a_full_page_is_complete(long: Recorder) -> None:
    page = long.list_runs(node="a", limit=STOPS_AT_LOGS - 1)
    assert (page.complete, len(page.runs)) == (True, STOPS_AT_LOGS - 1)
    page = long.list_runs(node="a", limit=STOPS_AT_LOGS)
    assert (page.complete, len(page.runs)) == (False, STOPS_AT_LOGS)
    assert all_ids(long, node="a", limit=700) == [f"r{n}" for n in range(11_999, -1, -1)]


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "wpk_id": st.sampled_from(["w3", "w7", "none"]),
        "status": st.sampled_from(
            [
                "failed",
                "completed",
                ["failed", "cancelled"],
                ["completed", "failed", "lost"],
            ]
        ),
        "thread_id": st.sampled_from(["t7", "t17"]),
        "error": st.sampled_from(["PRICE 1", "keyerror"]),
        "node": st.sampled_from(["a", "rare3"]),
        "since": st.sampled_from([T0 + timedelta(seconds=900)]),
        "until": st.sampled_from([T0 + timedelta(seconds=n) for n in (1500, 9000)]),
    },
)


def expected_of(filters: Any) -> list[int]:
    """The numbers of the runs that filters select, newest first."""
    status = filters.get("status", STATUSES)
    status = [status] if isinstance(status, str) else status

    def fits(n: int) -> bool:
        state = STATUSES[n % 20]
        error = f"keyerror: price {n}" if state == "failed" else ""
        time = T0 + timedelta(seconds=n)
        return (
            state in status
            and filters.get("wpk_id", f"w{n % 10}") == f"w{n % 10}"
            and filters.get("thread_id", f"t{n % 100}") == f"t{n % 100}"
            and ("error" not in filters or filters["error"].lower() in error)
            and filters.get("node", "a") in ("a", f"rare{n // 1000}")
            and filters.get("since", T0) <= time
            and (time < filters["until"] if "until" in filters else True)
        )

    return [n for n in range(11_999, -1, -1) if fits(n)]


@pytest.mark.long_with("postgres")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS, st.sampled_from([7, 300, 10_000]))
def test_every_mix_of_filters(long: Recorder, filters: Any, limit: int) -> None:
    numbers = expected_of(filters)
    found: list[str] = []
    page = long.list_runs(**filters, limit=limit)
    while len(found) < 1000 and page.next is not None:
        found += ids(page)
        page = long.list_runs(**filters, limit=limit, after=page.next)
    found += ids(page)
    assert found == [f"r{n}" for n in numbers[: len(found)]]
    assert page.next is not None or len(found) == len(numbers)
    check_counts(long, filters, numbers)


def check_counts(recorder: Recorder, filters: Any, numbers: list[int]) -> None:
    """What count_runs says is what the rows are."""
    counts = recorder.count_runs(**filters, spans=7)
    assert counts.runs == sum(counts.by_status.values())
    if not counts.complete:
        assert counts.runs <= len(numbers)
        assert counts.since is not None
        since = (counts.since - T0).total_seconds()
        numbers = [n for n in numbers if n >= since]
    assert counts.runs == len(numbers)
    states = [STATUSES[n % 20] for n in numbers]
    assert counts.by_status == {state: states.count(state) for state in set(states)}
    if not numbers and counts.since is None:
        assert counts.spans == []
        return
    assert counts.since is not None
    assert counts.until is not None
    assert len(counts.spans) == 7
    length = counts.until - counts.since
    edges = [counts.since + length * n / 7 for n in range(8)]
    for span, (low, high) in zip(counts.spans, pairwise(edges), strict=True):
        inside = [n for n in numbers if low <= T0 + timedelta(seconds=n) < high]
        assert abs(sum(span.values()) - len(inside)) <= 1  # an edge is a microsecond off


ODD_TIMES = {
    "sqlite": ["'long ago'", "''"],
    "postgres": ["NULL", "'infinity'", "'-infinity'", "'4000-01-01 BC'", "'20000-01-01'"],
}


def add_theirs(store: Any, row: str, run_id: str, time: str) -> None:
    """A run of another program's: the id of its row, and its time as SQL."""
    store.query(
        "INSERT INTO workflow_runs (id, wpk_id, run_id, status, created_at, updated_at) "
        f"VALUES ('{row}', 'w', '{run_id}', 'failed', {time}, '2026-01-01')"
    )


def all_pages(recorder: Any, limit: int) -> Iterator[Any]:
    page = recorder.list_runs(limit=limit)
    yield page.runs
    for _ in range(20):
        if page.next is None:
            return
        page = recorder.list_runs(limit=limit, after=page.next)
        yield page.runs
    pytest.fail("there are more pages than runs")


def test_counts_without_runs(recorder: Any) -> None:
    assert recorder.count_runs(spans=5) == (0, {}, None, None, [], True)
    recorder.log_run(minimal(created_at=T0))
    counts = recorder.count_runs(spans=3)
    assert (counts.runs, counts.since) == (1, T0)
    assert sum(len(span) for span in counts.spans) == 1
    assert recorder.count_runs(since=T0, until=T0 + timedelta(days=1), spans=2).spans == [
        {"completed": 1},
        {},
    ]
    assert recorder.count_runs(wpk_id="none").runs == 0


def test_regression_runs_without_a_time_hide_no_others(recorder: Any, store: Any) -> None:
    """As other programs write them; they are of no time, and so not counted."""
    for number in range(3):
        recorder.log_run(minimal(f"r{number}"))
    for number, time in enumerate(ODD_TIMES[store.kind]):
        add_theirs(store, str(uuid7()), f"theirs{number}", time)
    for filters in ({}, {"wpk_id": "w"}):
        assert recorder.count_runs(**filters).by_status == {"completed": 3}
    if store.kind == "sqlite":  # the newest of all, as texts are sorted
        add_theirs(store, str(uuid7()), "late", "'5 o''clock'")
        assert recorder.count_runs().by_status["completed"] == 3


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_regression_pages_go_on_behind_runs_without_a_time(
    recorder: Any, store: Any, limit: int
) -> None:
    """Each run that has a time is seen, whatever other programs write beside it."""
    for number in range(5):
        recorder.log_run(minimal(f"r{number}"))
    for number, time in enumerate(ODD_TIMES[store.kind]):
        add_theirs(store, str(uuid7()), f"theirs{number}", time)
    pages = list(all_pages(recorder, limit))
    names = [run["run_id"] for page in pages for run in page if run["run_id"][0] == "r"]
    assert names == ["r4", "r3", "r2", "r1", "r0"]


def test_regression_pages_go_on_behind_ids_of_another_form(tmp_path: Path) -> None:
    """As those of a SQLite file that was made by hand: UUIDs without dashes, say."""
    store = Store("sqlite", {"sqlite_path": str(tmp_path / "runs.db")}, {})
    with runlog.Recorder(**store.options) as recorder:
        recorder.list_runs()
        for number in range(5):
            time = f"'2026-01-01T00:00:00.00000{number}Z'"
            add_theirs(store, uuid7().hex[number:], f"r{number}", time)
        pages = list(all_pages(recorder, 1))
    names = [run["run_id"] for page in pages for run in page]
    assert names == ["r4", "r3", "r2", "r1", "r0"]


async def test_counts_for_asyncio(recorder: Any, monkeypatch: Any, store: Any) -> None:
    recorder.log_run(minimal())
    assert await recorder.acount_runs(status="completed") == recorder.count_runs()
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    assert runlog.count_runs().runs == (await runlog.acount_runs()).runs == 1


# Plans: what each statement reads


def test_totals_come_without_the_metadata(store: Any, recorder: Any) -> None:
    """A list ships no more than the totals of runs with long metadata."""
    recorder.log_run(minimal(metadata={"totals": {"nodes": 1}, "long": "x" * 900_000}))
    (row,) = recorder.list_runs().runs
    assert len(json.dumps(row, default=str)) < 1000


def test_a_graph_keeps_its_totals(recorder: Any) -> None:
    """A run of a real graph; all other graphs of the tests are compared in graphs.py."""
    handler = RunLogHandler("w", recorder=recorder)
    chain("g", a=node("a"), b=node("b")).invoke({"n": 0}, {"callbacks": [handler]})
    assert recorder.flush()
    (row,) = recorder.list_runs().runs
    assert row["totals"] == {"nodes": 2, "retries": 0, "at": None, "tokens": None}
