"""What log_run refuses: the error names the field and what it got; nothing is kept."""

import collections
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fixtures_store import Store
from helpers import minimal, stored

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


ID_MAX = 1024  # bytes of UTF-8


def text_of(length: int, alphabet: str) -> str:
    """A text of so many bytes that no index can compress."""
    chance = random.Random(length)
    size = len(alphabet[0].encode())
    text = "".join(chance.choices(alphabet, k=length // size))
    return text + "x" * (length - len(text.encode()))


ALPHABETS = {
    "ascii": "".join(map(chr, range(33, 127))),
    "latin": "".join(map(chr, range(0xC0, 0x180))),
    "chinese": "".join(map(chr, range(0x4E00, 0x9000))),
    "emoji": "".join(map(chr, range(0x1F300, 0x1F600))),
}


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_longest_ids_are_kept(recorder: Any, store: Store, alphabet: str) -> None:
    """In every index at once, with parts and a status beside them."""
    text = text_of(ID_MAX, ALPHABETS[alphabet])
    names = {"wpk_id": text, "run_id": text[::-1], "thread_id": text}
    run = {**names, "status": text, "error_type": text, "inputs": {"x": "large " * 9000}}
    assert recorder.log_run(run) == names["run_id"]
    got = stored(recorder, names["run_id"])
    assert {name: got[name] for name in run} == run
    for name in ("wpk_id", "thread_id", "status"):
        assert len(recorder.list_runs(**{name: text}).runs) == 1
    store.query(
        "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at) "
        "SELECT id, wpk_id, 'pending', 0 FROM workflow_runs"
    )
    assert recorder.delete_runs(wpk_id=text) == 1
    assert recorder.stats()["rejected"] == 0


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("field", ["wpk_id", "run_id", "thread_id"])
@pytest.mark.parametrize("length", [ID_MAX + 1, 3000, 100_000])
def test_a_longer_id_is_refused_with_the_limit(
    tmp_path: Path, field: str, alphabet: str, length: int
) -> None:
    """On both databases: the fields are read before."""
    value = text_of(length, ALPHABETS[alphabet])
    with runlog.Recorder(sqlite_path=tmp_path / "runs.db") as recorder:
        with pytest.raises(ValidationError) as caught:
            recorder.log_run({**minimal(), field: value})
        message = str(caught.value)
        assert message.startswith(f"{field} must be at most {ID_MAX} bytes")
        assert f"str of {len(value)} characters" in message and value[:9] not in message
        assert recorder.stats()["runs"] == 0


@pytest.mark.parametrize("value", [10**1500, list(range(1000)), b"x" * 2000])
def test_a_longer_thread_id_of_another_type(recorder: Any, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"thread_id .* {type(value).__name__} "):
        recorder.log_run(minimal(thread_id=value))


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_handler_cuts_what_is_longer(recorder: Any, alphabet: str) -> None:
    """Nothing raises in a graph, and the run is kept."""
    from handler_graphs import chain, with_id

    from runlog.hooks import RunLogHandler

    text = text_of(5000, ALPHABETS[alphabet])
    config = with_id(RunLogHandler(recorder=recorder, wpk_id=text))
    config["configurable"] = {"thread_id": text}
    chain("long", step=lambda _: {"n": 2}).invoke({"n": 1, "seen": []}, config)
    run = stored(recorder, str(config["run_id"]))
    for name in ("wpk_id", "thread_id"):
        assert len(run[name].encode()) <= ID_MAX
        head, _, rest = run[name].partition("<cut: ")
        assert text.startswith(head) and text.endswith(rest.partition(">")[2])
    assert recorder.stats()["rejected"] == 0
