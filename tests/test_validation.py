"""What log_run refuses: the error names the field and what it got; nothing is kept."""

import collections
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fixtures_store import Store
from helpers import minimal

import runlog
from runlog import ValidationError

NOT_TEXT: list[tuple[Any, str]] = [
    (None, "None"),
    (5, "int"),
    (True, "bool"),
    (b"bytes", "bytes"),
    (["a"], "list"),
    ({}, "dict"),
    ("", "empty"),
    ("a\0b", "NUL"),
    ("a\ud800b", "surrogate"),
]
BAD_DURATIONS: list[tuple[Any, str]] = [
    (-1, "-1"),
    (2**31, str(2**31)),
    (10**30, "0000"),
    (-(2**63) - 1, "-9223"),
]
BAD_DURATIONS += [(1.0, "float"), (True, "bool"), ("5", "str"), ([], "list")]
BAD_TIMES: list[tuple[Any, str]] = [
    ("yesterday", "yesterday"),
    ("", "''"),
    (True, "bool"),
    (b"2024", "bytes"),
]
BAD_TIMES += [
    (float("nan"), "nan"),
    (float("inf"), "inf"),
    (1e300, "1e"),
    (10**30, "0000"),
]
BAD_TIMES += [({}, "dict"), (date(2024, 1, 1), "date")]
CASES: list[tuple[str, Any, str]] = [
    (field, value, got)
    for field in ("wpk_id", "run_id", "status")
    for value, got in NOT_TEXT
]
CASES += [("duration_ms", value, got) for value, got in BAD_DURATIONS]
CASES += [
    (f, value, got) for f in ("created_at", "started_at") for value, got in BAD_TIMES
]


@pytest.mark.parametrize(("field", "value", "got"), CASES, ids=repr)
def test_an_invalid_field_is_named_with_its_value(
    tmp_path: Path, field: Any, value: Any, got: Any
) -> None:
    with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db")) as recorder:
        with pytest.raises(ValidationError) as caught:
            recorder.log_run(minimal(**{field: value}))
        assert field in str(caught.value)
        assert got.casefold() in str(caught.value).casefold()
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, runlog.RunlogError)
        assert recorder.list_runs().runs == []
        assert recorder.stats()["runs"] == 0


@pytest.mark.parametrize(
    "run", [[], "run", None, 5, [("wpk_id", "w")], {"wpk_id"}], ids=repr
)
def test_a_run_that_is_no_mapping_is_a_type_error(recorder: Any, run: Any) -> None:
    with pytest.raises(TypeError, match=type(run).__name__):
        recorder.log_run(run)
    assert recorder.list_runs().runs == []


def test_a_rejected_run_does_not_change_the_stored_one(
    recorder: Any, store: Store
) -> None:
    recorder.log_run(minimal(outputs={"kept": True}))
    before = recorder.get_run("r1")
    for field, value, _ in CASES:
        if field not in ("wpk_id", "run_id"):
            with pytest.raises(ValidationError):
                recorder.log_run(minimal(outputs={"kept": False}) | {field: value})
    assert recorder.get_run("r1") == before
    assert store.query("SELECT count(*) FROM workflow_runs") == [(1,)]


def test_a_long_value_is_not_repeated_in_the_message(recorder: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        recorder.log_run(minimal(started_at="x" * 100_000))
    assert len(str(caught.value)) < 1000


class Broken(collections.UserDict[str, Any]):
    """A mapping that can't be read."""

    def __getitem__(self, key: str) -> Any:
        raise ArithmeticError(key)


def test_an_exception_of_a_run_while_it_is_read_is_raised(
    recorder: Any,
) -> None:
    with pytest.raises(ArithmeticError):
        recorder.log_run(Broken(minimal()))
    assert recorder.list_runs().runs == []


def test_prepare_raises_the_same_errors(recorder: Any) -> None:
    with pytest.raises(ValidationError, match="run_id"):
        recorder.prepare({"wpk_id": "w", "status": "completed"})
    with pytest.raises(TypeError):
        recorder.prepare([])


def test_a_prepared_run_is_encoded_at_once_and_committed_once(
    recorder: Any,
) -> None:
    inputs = {"a": 1}
    prepared = recorder.prepare(minimal(inputs=inputs))
    assert (prepared.wpk_id, prepared.run_id) == ("w", "r1")
    inputs["a"] = 2
    assert recorder.list_runs().runs == []
    assert recorder.commit(prepared) == "r1"
    assert recorder.get_run("r1")["inputs"] == {"a": 1}
    with pytest.raises((ValueError, RuntimeError, runlog.RunlogError)):
        recorder.commit(prepared)
