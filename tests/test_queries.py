"""Reading runs back: pages of a workflow, one run, filters, and deleting."""

import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from fixtures_store import Store
from helpers import minimal

import runlog
from runlog import ValidationError

T0 = datetime(2024, 5, 1, 12, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return T0 + timedelta(seconds=seconds)


def log(recorder: Any, count: int, wpk_id: str = "w", **fields: Any) -> list[str]:
    """Log runs a second apart; return their ids, newest first."""
    ids = [f"{wpk_id}-{number:03}" for number in range(count)]
    for number, run_id in enumerate(ids):
        recorder.log_run(minimal(run_id, wpk_id, created_at=at(number), **fields))
    return ids[::-1]


def ids_of(page: Any) -> list[str]:
    return [run["run_id"] for run in page.runs]


def test_get_runs_by_wpk_id(recorder: Any) -> None:
    recorder.log_run(minimal("old", created_at=at(1), duration_ms=5, status="failed"))
    recorder.log_run(minimal("new", created_at=at(3)))
    recorder.log_run(minimal("mid", created_at=at(2), duration_ms=0))
    recorder.log_run(minimal("other", "x", created_at=at(4)))
    rows = recorder.get_runs_by_wpk_id("w")
    assert rows == [
        ("new", "completed", None, at(3)),
        ("mid", "completed", 0, at(2)),
        ("old", "failed", 5, at(1)),
    ]
    assert {type(row) for row in rows} == {tuple}
    assert all(row[3].utcoffset() == timedelta(0) for row in rows)


def test_get_runs_by_wpk_id_empty(recorder: Any) -> None:
    assert recorder.get_runs_by_wpk_id("nobody") == []
    recorder.log_run(minimal())
    assert recorder.get_runs_by_wpk_id("nobody") == []
    assert recorder.get_runs_by_wpk_id("w", offset=1) == []


def test_get_runs_by_wpk_id_pagination(recorder: Any) -> None:
    ids = log(recorder, 25)
    log(recorder, 3, "other")

    def page(*args: Any, **kwargs: Any) -> Any:
        return [row[0] for row in recorder.get_runs_by_wpk_id("w", *args, **kwargs)]

    assert page() == ids[:20]
    assert page(10) == ids[:10]
    assert page(10, 10) == ids[10:20]
    assert page(limit=10, offset=20) == ids[20:]
    assert page(limit=10, offset=25) == []
    assert page(limit=10_000) == ids
    assert page(limit=1, offset=2**40) == []


def test_runs_of_equal_times_have_a_stable_order(recorder: Any) -> None:
    for number in range(10):
        recorder.log_run(minimal(f"r{number}", created_at=T0))
    whole = [row[0] for row in recorder.get_runs_by_wpk_id("w")]
    assert sorted(whole) == [f"r{number}" for number in range(10)]
    pages = [recorder.get_runs_by_wpk_id("w", 3, skip)[0][0] for skip in range(10)]
    assert pages == whole
    assert ids_of(recorder.list_runs()) == whole


@pytest.mark.parametrize("limit", [0, 10_001, -1, True, "5", 1.5, None, 2**70], ids=repr)
def test_a_limit_outside_1_to_10000_raises(recorder: Any, limit: Any) -> None:
    recorder.log_run(minimal())
    with pytest.raises(ValidationError, match="limit"):
        recorder.get_runs_by_wpk_id("w", limit)
    with pytest.raises(ValidationError, match="limit"):
        recorder.list_runs(limit=limit)


@pytest.mark.parametrize("offset", [-1, True, "5", 1.5, None, -(2**70)], ids=repr)
def test_a_negative_offset_raises(recorder: Any, offset: Any) -> None:
    with pytest.raises(ValidationError, match="offset"):
        recorder.get_runs_by_wpk_id("w", 1, offset)


@pytest.mark.parametrize("wrong", [5, None, b"w", True], ids=repr)
def test_an_id_that_is_not_text_raises(recorder: Any, wrong: Any) -> None:
    with pytest.raises(ValidationError, match="wpk_id"):
        recorder.get_runs_by_wpk_id(wrong)
    with pytest.raises(ValidationError, match="run_id"):
        recorder.get_run(wrong)


def test_get_run_of_an_unknown_id_is_none(recorder: Any) -> None:
    assert recorder.get_run("r1") is None
    recorder.log_run(minimal())
    assert recorder.get_run("r2") is None
    assert recorder.get_run("r1", "other") is None
    assert recorder.get_run("' OR '1'='1", "w") is None


def test_get_run_without_a_workflow_returns_the_newest(recorder: Any) -> None:
    recorder.log_run(minimal("r1", "a", created_at=at(2)))
    recorder.log_run(minimal("r1", "b", created_at=at(3)))
    recorder.log_run(minimal("r1", "c", created_at=at(1)))
    assert recorder.get_run("r1")["wpk_id"] == "b"
    assert recorder.get_run("r1", "c")["wpk_id"] == "c"


def test_get_run_has_every_column(recorder: Any) -> None:
    recorder.log_run(minimal(started_at=at(0), created_at=at(1), inputs={"a": [1]}))
    got = recorder.get_run("r1")
    summary = "id wpk_id run_id status duration_ms thread_id error_type error_text"
    summary += " started_at created_at updated_at"
    assert set(got) == {
        *summary.split(),
        "inputs",
        "outputs",
        "node_logs",
        "metadata",
        "error_traceback",
        "owner",
    }
    assert uuid.UUID(got["id"]).version == 7
    assert str(uuid.UUID(got["id"])) == got["id"]
    for name in ("started_at", "created_at", "updated_at"):
        assert type(got[name]) is datetime
        assert got[name].utcoffset() == timedelta(0)

    (listed,) = recorder.list_runs().runs
    assert listed == {name: got[name] for name in summary.split()} | {"totals": None}


@pytest.fixture
def several(recorder: Any) -> Any:
    rows = [
        ("r0", "a", "completed", "t1"),
        ("r1", "a", "failed", "t1"),
        ("r2", "a", "completed", "t2"),
        ("r3", "b", "completed", "t1"),
        ("r4", "b", "running", None),
        ("r5", "c", "failed", "t2"),
    ]
    for number, (run_id, wpk_id, status, thread_id) in enumerate(rows):
        run = minimal(run_id, wpk_id, thread_id=thread_id, created_at=at(number))
        recorder.log_run(run | {"status": status})
    return recorder


FILTERS = [
    ({}, "r5 r4 r3 r2 r1 r0"),
    ({"wpk_id": "a"}, "r2 r1 r0"),
    ({"status": "completed"}, "r3 r2 r0"),
    ({"thread_id": "t1"}, "r3 r1 r0"),
    ({"since": at(2)}, "r5 r4 r3 r2"),
    ({"until": at(2)}, "r1 r0"),
    ({"since": at(1), "until": at(4)}, "r3 r2 r1"),
    ({"since": at(4), "until": at(1)}, ""),
    ({"wpk_id": "a", "status": "completed"}, "r2 r0"),
    ({"wpk_id": "a", "thread_id": "t1", "since": at(1)}, "r1"),
    ({"status": "failed", "thread_id": "t2", "until": at(6)}, "r5"),
    (
        {
            "wpk_id": "a",
            "status": "failed",
            "thread_id": "t1",
            "since": T0,
            "until": at(9),
        },
        "r1",
    ),
    ({"wpk_id": "nobody"}, ""),
    (
        {"wpk_id": None, "status": None, "thread_id": None, "after": None, "limit": 2},
        "r5 r4",
    ),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS, ids=repr)
def test_list_runs_filters(several: Any, filters: Any, expected: Any) -> None:
    assert ids_of(several.list_runs(**filters)) == expected.split()


@pytest.mark.parametrize(("filters", "expected"), FILTERS, ids=repr)
def test_list_runs_pages_every_filter(several: Any, filters: Any, expected: Any) -> None:
    filters = {
        name: value for name, value in filters.items() if name not in ("limit", "after")
    }
    whole = ids_of(several.list_runs(**filters))
    page, seen = several.list_runs(**filters, limit=1), []
    seen += ids_of(page)
    while page.next is not None:
        page = several.list_runs(**filters, limit=1, after=page.next)
        seen += ids_of(page)
    assert seen == whole


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-7)), None], ids=repr)
def test_since_and_until_accept_any_time_zone(several: Any, zone: Any) -> None:
    since, until = at(1).astimezone(zone), at(4).astimezone(zone)
    if zone is None:
        since, until = since.replace(tzinfo=None), until.replace(tzinfo=None)
    assert ids_of(several.list_runs(since=since, until=until)) == ["r3", "r2", "r1"]


TIMES: dict[str, Any] = {
    f"{name}({field})": (name, field)
    for name, field in (
        ("list_runs", "since"),
        ("list_runs", "until"),
        ("count_runs", "since"),
        ("delete_runs", "before"),
        ("rollup", "since"),
        ("rollup", "until"),
    )
}


@pytest.mark.parametrize("value", ["x", "", 0, 1.5, True, b"2026", []], ids=repr)
@pytest.mark.parametrize(("name", "field"), TIMES.values(), ids=TIMES)
def test_what_is_no_time_is_refused_in_the_same_words(
    recorder: Any, name: str, field: str, value: Any
) -> None:
    words = f"{field} must be a datetime or ISO 8601 text, not "
    with pytest.raises(ValidationError, match=re.escape(words)):
        getattr(recorder, name)(**{field: value})


def test_keyset_pages_give_each_run_once_while_others_arrive(
    recorder: Any,
) -> None:
    for number in range(105):
        recorder.log_run(minimal(f"r{number:03}", created_at=at(number // 10)))
    whole = ids_of(recorder.list_runs(limit=1000))
    assert len(set(whole)) == 105

    seen, after, pages = [], None, 0
    while True:
        page = recorder.list_runs(limit=10, after=after)
        seen += ids_of(page)
        pages += 1
        recorder.log_run(minimal(f"late{pages}"))
        if page.next is None:
            break
        after = page.next
    assert seen == whole
    assert pages == 11


def test_a_page_that_ends_the_list_has_no_next(recorder: Any) -> None:
    assert recorder.list_runs() == ([], None)
    log(recorder, 3)
    assert recorder.list_runs(limit=4).next is None
    page = recorder.list_runs(limit=2)
    assert isinstance(page.next, str)
    assert len(recorder.list_runs(limit=2, after=page.next).runs) == 1


@pytest.mark.parametrize(
    "after", ["garbage", "", "AAAA", "' OR 1=1 --", "\ud800", "\0", 5, b"x"], ids=repr
)
def test_after_that_is_not_a_cursor_raises(recorder: Any, after: Any) -> None:
    log(recorder, 3)
    with pytest.raises(ValidationError, match="after"):
        recorder.list_runs(after=after)


def test_a_damaged_cursor_raises(recorder: Any) -> None:
    log(recorder, 3)
    cursor = recorder.list_runs(limit=1).next
    for damaged in (cursor[:-1], cursor + "A", cursor[::-1], " " + cursor):
        with pytest.raises(ValidationError, match="after"):
            recorder.list_runs(after=damaged)


@pytest.mark.parametrize(
    "filters",
    [
        {"wpk_id": 5},
        {"status": b"completed"},
        {"thread_id": ["t"]},
        {"since": "2024"},
        {"until": 5},
        {"since": True},
    ],
    ids=repr,
)
def test_an_invalid_filter_is_named(recorder: Any, filters: Any) -> None:
    with pytest.raises(ValidationError, match=next(iter(filters))):
        recorder.list_runs(**filters)


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({"wpk_id": "a"}, "r5 r4 r3"),
        ({"run_id": "r3"}, "r5 r4 r2 r1 r0"),
        ({"status": "completed"}, "r5 r4 r1"),
        ({"thread_id": "t1"}, "r5 r4 r2"),
        ({"before": at(2)}, "r5 r4 r3 r2"),
        ({"wpk_id": "a", "status": "failed"}, "r5 r4 r3 r2 r0"),
        ({"wpk_id": "a", "before": at(1), "thread_id": "t1"}, "r5 r4 r3 r2 r1"),
        ({"wpk_id": "a", "run_id": "r3"}, "r5 r4 r3 r2 r1 r0"),
        ({"wpk_id": "' OR 1=1 --"}, "r5 r4 r3 r2 r1 r0"),
    ],
    ids=repr,
)
def test_delete_runs(several: Any, store: Store, filters: Any, left: Any) -> None:
    gone = 6 - len(left.split())
    assert several.delete_runs(**filters) == gone
    assert ids_of(several.list_runs()) == left.split()
    assert store.query("SELECT count(*) FROM workflow_runs") == [(6 - gone,)]
    assert several.delete_runs(**filters) == 0


@pytest.mark.parametrize("filters", [{}, {"wpk_id": None, "before": None}], ids=repr)
def test_delete_runs_without_a_filter_raises(several: Any, filters: Any) -> None:
    with pytest.raises(ValidationError):
        several.delete_runs(**filters)
    assert len(several.list_runs().runs) == 6


def test_delete_runs_with_an_invalid_filter_raises(several: Any) -> None:
    for filters in ({"wpk_id": 5}, {"before": "2024"}, {"run_id": b"r1"}):
        with pytest.raises(ValidationError, match=next(iter(filters))):
            several.delete_runs(**filters)
    assert len(several.list_runs().runs) == 6


def test_a_deleted_run_can_be_logged_again(recorder: Any) -> None:
    recorder.log_run(minimal(outputs=1, thread_id="t"))
    recorder.delete_runs(run_id="r1")
    recorder.log_run(minimal())
    got = recorder.get_run("r1")
    assert (got["outputs"], got["thread_id"]) == (None, None)


def test_another_recorder_reads_the_same_runs(recorder: Any, store: Store) -> None:
    ids = log(recorder, 3)
    with runlog.Recorder(**store.options) as other:
        assert ids_of(other.list_runs()) == ids
        other.log_run(minimal("w-003", created_at=at(9)))
    assert ids_of(recorder.list_runs()) == ["w-003", *ids]


def test_whole_runs(recorder: Any) -> None:
    """Several runs at once, as get_run gives each."""
    for place in range(5):
        text = "x" * 10_000 * place
        logs = [{"node": "a", "inputs_delta": {"since": None, "set": {"b": text}}}]
        recorder.log_run(minimal(f"r{place}", inputs={"a": text}, node_logs=logs))
    rows = recorder.list_runs().runs
    ids = [row["id"] for row in rows]
    runs, taken = recorder._whole_runs([ids[3], ids[0], ids[1], str(uuid.uuid4())])
    assert runs == [recorder.get_run(rows[place]["run_id"]) for place in (0, 1, 3)]
    assert 80_000 < taken < 200_000
    assert recorder._whole_runs([]) == ([], 0)
    for wrong in (["x"], [None], ["x" * 36], ["\ud800"]):
        with pytest.raises(TypeError, match="ids must be those of runs"):
            recorder._whole_runs(wrong)
    with pytest.raises(TypeError):
        recorder._whole_runs(tuple(ids))


INTERRUPTED = """
import runlog
from runlog import _imports

recorder = runlog.Recorder()
recorder.list_runs(status="none")  # it has opened the store, and made no time


def interrupted(name):
    raise KeyboardInterrupt


_imports.load = interrupted
try:
    recorder.count_runs()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_regression_ctrl_c_while_runs_are_counted(
    store: Store, recorder: runlog.Recorder, run_python: Any
) -> None:
    """The extension imports datetime for the first time that it returns."""
    recorder.log_run(minimal())
    done = run_python(INTERRUPTED, env=store.env)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
