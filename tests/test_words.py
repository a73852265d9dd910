"""Search by words: what is found, and what is said about it, on both stores."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures_search import Place, search
from fixtures_store import Store
from helpers import minimal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runlog
from runlog import ConfigError, ValidationError


def names(hits: list[Any]) -> list[str]:
    """The run_ids of hits, in the order of their names."""
    return sorted(hit["run_id"] for hit in hits)


def find(recorder: runlog.Recorder, text: str, **how: Any) -> list[str]:
    """The names of the runs that have the words, once all are indexed."""
    return names(search(recorder, text, limit=100, **how))


CALL = {
    "kind": "llm",
    "messages": [{"type": "human", "content": "the promptword"}],
    "outputs": [{"type": "ai", "content": "the answerword"}],
}
LOG: dict[str, Any] = {
    "node": "nodeword",
    "inputs": {"text": "innerinput"},
    "outputs": {"text": "inneroutput"},
    "error_text": "innererror",
    "error_traceback": "File innertraceback.py",
    "calls": [CALL, {"kind": "tool", "name": "toolname", "args": {"q": "argumentword"}}],
}
WHOLE: dict[str, Any] = {
    "inputs": {"question": ["an inputword"]},
    "outputs": {"answer": "an outputword"},
    "error_type": "ErrorTypeWord",
    "error_text": "errorword 'price'",
    "error_traceback": "File tracebackword.py, line 3",
    "node_logs": [LOG],
}
PLACES = {
    "inputword": (None, "inputs"),
    "outputword": (None, "outputs"),
    "errortypeword": (None, "error"),
    "errorword": (None, "error"),
    "price": (None, "error"),
    "tracebackword": (None, "traceback"),
    "nodeword": ("nodeword", "node"),
    "innerinput": ("nodeword", "inputs"),
    "inneroutput": ("nodeword", "outputs"),
    "innererror": ("nodeword", "error"),
    "innertraceback": ("nodeword", "traceback"),
    "promptword": ("nodeword", "prompt"),
    "answerword": ("nodeword", "answer"),
    "argumentword": ("nodeword", "arguments"),
    "toolname": ("nodeword", "call"),
}


def test_every_kind_of_text_is_found(recorder: runlog.Recorder) -> None:
    recorder.log_run(minimal("other", inputs={"text": "nothing of it"}))
    recorder.log_run(minimal("whole", status="failed", **WHOLE))
    for word, (node, field) in PLACES.items():
        (hit,) = search(recorder, word.upper())
        assert hit["run_id"] == "whole", word
        (piece,) = hit["snippets"]
        assert (piece["node"], piece["field"]) == (node, field), word
        assert piece["text"][piece["start"] : piece["end"]].lower() == word


def test_regression_calls_of_a_program_may_be_anything(
    recorder: runlog.Recorder,
) -> None:
    """Its node logs are its own. One such run made each search fail that found it."""
    for place, calls in enumerate((5, "needle", {"x": "needle"}, ["needle", 5, None])):
        log = {"node": "needles" if calls == 5 else "n", "calls": calls}
        recorder.log_run(minimal(f"r{place}", node_logs=[log]))
    found = recorder.search_runs("needle*", by="words")
    assert sorted(hit["run_id"] for hit in found) == ["r0", "r1", "r2", "r3"]
    fields = [hit["snippets"][0]["field"] for hit in found]
    assert sorted(fields) == ["call", "call", "call", "node"]


def test_a_search_waits_for_what_was_just_logged(recorder: runlog.Recorder) -> None:
    """For a second; by then it is in the index, unless the machine is very busy."""
    for number in range(3):
        recorder.log_run(minimal(f"r{number}", inputs={"text": f"number{number}"}))
        begun = time.monotonic()
        hits = recorder.search_runs(f"number{number}", by="words")
        assert names(hits) == [f"r{number}"] or time.monotonic() - begun >= 1


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("私は東京都に住んでいます", "東京"),
        ("我的价格是多少", "价格"),
        ("가격은 얼마입니까", "가격"),
        ("ราคาเท่าไหร่", "ราคา"),
        ("السعر مرتفع جدا", "السعر"),
        ("המחיר גבוה", "המחיר"),
        ("हिन्दी में कीमत", "हिन्दी"),
        ("un café crème", "café"),
        ("un cafe\u0301 noir", "cafe\u0301"),
        ("well done 🎉🎉", "🎉"),
        ("the cost is 5€", "€"),
        ("naïve Überraschung", "naïve überraschung"),
        ("ПРИВЕТ мир", "привет"),
    ],
)
def test_words_of_all_scripts(recorder: runlog.Recorder, stored: str, asked: str) -> None:
    recorder.log_run(minimal("other", inputs={"text": "x y z"}))
    recorder.log_run(minimal("r", inputs={"text": stored}))
    (hit,) = search(recorder, asked)
    assert hit["run_id"] == "r"
    assert hit["snippets"], hit


def test_what_is_asked_for(recorder: runlog.Recorder) -> None:
    """All words; phrases in their order; beginnings."""
    recorder.log_run(minimal("one", inputs={"a": "the quick brown fox", "b": 'say "hi"'}))
    recorder.log_run(minimal("two", inputs={"a": "the brown and quick dog-house 12.50"}))
    for text, wanted in {
        "quick brown": ["one", "two"],
        "quick fox": ["one"],
        "QUICK Fox": ["one"],
        '"quick brown"': ["one"],
        '"brown quick"': [],
        "qui*": ["one", "two"],
        "qui": [],
        '"quick bro"*': ["one"],
        "quick and": ["two"],
        "AND": ["two"],
        "quick OR cat": [],
        "NOT quick": [],
        "dog-house": ["two"],
        "12.50": ["two"],
        "12": ["two"],
        '"hi': ["one"],
        "fox -": ["one"],
        "body:fox": [],
        "fo* qu*": ["one"],
    }.items():
        assert find(recorder, text) == wanted, text


@pytest.mark.parametrize("text", ["", "  ", '""', "*", "- . ;", "\u3000。、", "\ufe0f"])
def test_a_text_without_words_is_an_error(recorder: runlog.Recorder, text: str) -> None:
    recorder.log_run(minimal())
    with pytest.raises(ValidationError, match="no words"):
        recorder.search_runs(text, by="words")


def test_wrong_arguments(recorder: runlog.Recorder) -> None:
    wrong: list[dict[str, Any]] = [{"by": "sound"}, {"limit": 0}, {"since": "soon"}]
    for arguments in wrong:
        with pytest.raises(ValidationError):
            recorder.search_runs("word", **{"by": "words", **arguments})
    with pytest.raises(ValidationError, match="more than 64 words"):
        recorder.search_runs("a " * 65, by="words")
    with pytest.raises(TypeError):
        recorder.search_runs("word", by="words", nonsense=1)  # type: ignore[call-overload]


def test_filters_and_order(recorder: runlog.Recorder) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(6):
        recorder.log_run(
            minimal(
                f"r{number}",
                f"w{number // 3}",
                status="failed" if number % 2 else "completed",
                created_at=begin + timedelta(days=number),
                outputs={"text": "tea"},
            )
        )
    hits = search(recorder, "tea")
    assert [hit["run_id"] for hit in hits] == ["r5", "r4", "r3", "r2", "r1", "r0"]
    rows = {run["run_id"]: run for run in recorder.list_runs().runs}
    for hit in hits:
        assert hit.pop("snippets")
        assert hit == rows[hit["run_id"]]
    assert find(recorder, "tea", wpk_id="w0") == ["r0", "r1", "r2"]
    assert find(recorder, "tea", status="failed") == ["r1", "r3", "r5"]
    assert find(recorder, "tea", since=begin + timedelta(days=4)) == ["r4", "r5"]
    assert find(recorder, "tea", wpk_id="w1", status="failed") == ["r3", "r5"]
    assert find(recorder, "tea", wpk_id="' OR 1=1 --") == []
    assert len(recorder.search_runs("tea", by="words", limit=2)) == 2


def test_filters_that_few_of_many_runs_match(tmp_path: Path) -> None:
    """On SQLite a search then goes over the runs that match the filters."""
    count, begin = 3200, datetime(2026, 1, 1, tzinfo=UTC)
    rare = {5: "w1", 6: "w1", 900: "w1", 901: "w1", 1100: "w0", 3000: "w1"}
    path = str(tmp_path / "runs.db")
    with runlog.Recorder(sqlite_path=path, durability="journal") as recorder:
        for number in range(count):
            recorder.log_run(
                minimal(
                    f"r{number}",
                    rare.get(number, "w0"),
                    status="failed" if number in {6, 900, 1100} else "completed",
                    created_at=begin + timedelta(minutes=number),
                    outputs={"text": "coffee" if number == 901 else "tea"},
                )
            )
        search(recorder, "tea")
        late = begin + timedelta(minutes=count - 1)

        def found(**how: Any) -> list[str]:
            hits = recorder.search_runs("tea", by="words", **how)
            return [hit["run_id"] for hit in hits]

        assert found(wpk_id="w1") == ["r3000", "r900", "r6", "r5"]
        assert found(wpk_id="w1", limit=2) == ["r3000", "r900"]
        assert found(wpk_id="w2") == []
        assert found(status="failed") == ["r1100", "r900", "r6"]
        assert found(status="interrupted") == []
        assert found(wpk_id="w1", status="failed") == ["r900", "r6"]
        assert found(wpk_id="w1", since=begin + timedelta(minutes=6)) == [
            "r3000",
            "r900",
            "r6",
        ]
        assert found(status="failed", since=begin + timedelta(minutes=7)) == [
            "r1100",
            "r900",
        ]
        assert found(since=late) == ["r3199"]
        assert found(wpk_id="w1", status="failed", since=late) == []
        assert len(found(status="completed", limit=1000)) == 1000
        assert recorder.delete_runs(run_id="r900") == 1
        assert found(wpk_id="w1", limit=3) == ["r3000", "r6", "r5"]


def test_a_run_that_is_logged_again(recorder: runlog.Recorder) -> None:
    recorder.log_run(minimal(inputs={"text": "early"}, outputs={"text": "first"}))
    assert find(recorder, "early first") == ["r1"]
    recorder.log_run(minimal(outputs={"text": "second"}))
    assert find(recorder, "first") == []
    assert find(recorder, "early second") == ["r1"]


def test_deleted_runs_leave_the_index(recorder: runlog.Recorder, store: Store) -> None:
    for number in range(5):
        recorder.log_run(minimal(f"r{number}", inputs={"text": f"tea number{number}"}))
    assert find(recorder, "tea") == ["r0", "r1", "r2", "r3", "r4"]
    recorder.delete_runs(run_id="r4")
    recorder.delete_runs(run_id="r1")
    assert find(recorder, "tea") == ["r0", "r2", "r3"]
    recorder.log_run(minimal("new", inputs={"text": "coffee"}))  # perhaps as r4's row
    assert find(recorder, "number4") == []
    assert find(recorder, "coffee") == ["new"]
    if store.kind == "sqlite":
        words = "SELECT count(*) FROM run_words_text WHERE run_words_text MATCH ?"
        assert store.query(words, "number4 OR number1") == [(0,)]
        assert store.query("SELECT count(*) FROM run_words_changed") == [(0,)]
    else:
        assert store.query("SELECT count(*) FROM run_words") == [(4,)]


def test_a_large_value_is_found(recorder: runlog.Recorder) -> None:
    text = "filler " * 30_000 + "needle" + " filler" * 30_000
    recorder.log_run(minimal(inputs={"text": text, "small": "grain"}))
    (hit,) = search(recorder, "needle grain")
    assert [piece["field"] for piece in hit["snippets"]] == ["inputs", "inputs"]
    assert all(len(piece["text"]) <= 200 for piece in hit["snippets"])


def test_a_snippet_for_each_word(recorder: runlog.Recorder) -> None:
    recorder.log_run(minimal(inputs={"text": "start " + "x" * 5000 + " finish"}))
    (hit,) = search(recorder, "start finish")
    shown = [p["text"][p["start"] : p["end"]] for p in hit["snippets"]]
    assert shown == ["start", "finish"]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_regression_a_snippet_in_another_spelling(recorder: runlog.Recorder) -> None:
    """The index knows letters without their accents, and one small sigma."""
    stored = "un e\u0301te\u0301 \u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3 cafe\u0301s"
    recorder.log_run(minimal(inputs={"text": stored}))
    for text, place in (
        ("\u00e9t\u00e9", stored[3:8]),
        ("ete", stored[3:8]),
        ("\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", stored[9:16]),
        ("cafes", stored[17:]),
    ):
        ((piece,),) = [hit["snippets"] for hit in search(recorder, text)]
        assert piece["text"][piece["start"] : piece["end"]] == place
    assert find(recorder, "cafe") == []


HOSTILE = st.text(
    st.one_of(st.sampled_from("\"'*()^:{}-+&|!<>\\ ,;%\t\n"), st.characters()),
    max_size=30,
)


@settings(
    max_examples=2 * settings().max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=HOSTILE)
def test_any_text_is_data(recorder: runlog.Recorder, text: str) -> None:
    """Either hits, or an error of the argument; never one of the database."""
    try:
        hits = recorder.search_runs(text, by="words")
    except ValidationError:
        return
    assert isinstance(hits, list)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=HOSTILE)
def test_what_is_stored_is_found(recorder: runlog.Recorder, text: str) -> None:
    """By the words of itself, as a phrase."""
    recorder.log_run(minimal(inputs={"text": text}))
    try:
        found = find(recorder, '"' + text.replace('"', " ") + '"')
    except ValidationError:
        return
    assert found == ["r1"]


def test_without_an_index(store: Store) -> None:
    """With RUNLOG_WORDS=0 nothing is indexed, and nothing is made."""
    with runlog.Recorder(**store.options, words=False) as recorder:
        recorder.log_run(minimal(inputs={"text": "tea"}))
        recorder.log_run(minimal(inputs={"text": "coffee"}))
        recorder.delete_runs(run_id="r1")
        recorder.log_run(minimal(inputs={"text": "milk"}))
        if store.kind == "sqlite":
            with pytest.raises(ConfigError, match="RUNLOG_WORDS"):
                recorder.search_runs("milk", by="words")
            tables = (
                "SELECT count(*) FROM sqlite_master WHERE name LIKE 'run_words_text%'"
            )
            assert store.query(tables) == [(0,)]
            assert store.query("SELECT count(*) FROM run_words_changed") == [(0,)]
        else:
            hits = recorder.search_runs("milk", by="words")
            assert (hits, hits.complete, hits.waiting) == ([], False, 1)
    with runlog.Recorder(**store.options) as recorder:
        assert find(recorder, "milk") == ["r1"]
    with runlog.Recorder(**store.options, words=False) as recorder:
        recorder.log_run(minimal("r2", inputs={"text": "milk"}))
        hits = recorder.search_runs("milk", by="words")
        assert (names(hits), hits.waiting) == (["r1"], 1)
        recorder.log_run(minimal("r1", inputs={"text": "water"}))
    with runlog.Recorder(**store.options) as recorder:
        assert find(recorder, "milk") == ["r2"]
        assert find(recorder, "water") == ["r1"]


@pytest.mark.parametrize("given", [True, 1, "1", "true", "Yes", "ON"])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_switch_that_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, by: str
) -> None:
    options = {"words": given} if by == "option" else {}
    monkeypatch.setenv("RUNLOG_WORDS", str(given) if by == "environment" else "0")
    with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db"), **options) as recorder:
        recorder.log_run(minimal(inputs={"text": "tea"}))
        assert find(recorder, "tea") == ["r1"]


@pytest.mark.parametrize("given", [False, 0, "0", "false", "No", "OFF"])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_switch_that_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, by: str
) -> None:
    options = {"words": given} if by == "option" else {}
    monkeypatch.setenv("RUNLOG_WORDS", str(given) if by == "environment" else "1")
    with runlog.Recorder(sqlite_path=str(tmp_path / "runs.db"), **options) as recorder:
        recorder.log_run(minimal(inputs={"text": "tea"}))
        with pytest.raises(ConfigError, match="RUNLOG_WORDS"):
            recorder.search_runs("tea", by="words")


@pytest.mark.parametrize("value", ["2", "", "y", " 1", "truee", 2, -1, 1.5, [1]])
def test_a_wrong_option(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"words \(RUNLOG_WORDS\)"):
        runlog.Recorder(sqlite_path=str(tmp_path / "runs.db"), words=value)


def test_trigrams(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    with runlog.Recorder(sqlite_path=path, words="trigram") as recorder:
        recorder.log_run(minimal(inputs={"text": "The Fingerprint of 東京都 (x-ray)"}))
        for text in ("gerpri", "GERP", '"t of 東"', "x-ray", "(x-"):
            (hit,) = search(recorder, text)
            assert hit["snippets"], text
        assert find(recorder, '"print The"') == []
        with pytest.raises(ValidationError, match="fewer than 3"):
            recorder.search_runs("ge", by="words")
    with runlog.Recorder(sqlite_path=path) as recorder:  # the index stays what it is
        recorder.log_run(minimal("r2", inputs={"text": "fingerprints"}))
        assert find(recorder, "gerpri") == ["r1", "r2"]


def test_the_default_is_meaning_with_a_key(here: Place) -> None:
    with here.open() as recorder:
        recorder.log_run(minimal(outputs={"text": "bake an apple pie"}))
        assert recorder.flush(60)
        (hit,) = recorder.search_runs("a dessert")
        assert "score" in hit
        assert "snippets" not in hit
        (hit,) = search(recorder, "apple")
        assert "snippets" in hit
        assert "score" not in hit
    with runlog.Recorder(sqlite_path=here.options["sqlite_path"]) as recorder:
        (hit,) = recorder.search_runs("apple")
        assert "snippets" in hit


def test_asyncio(recorder: runlog.Recorder) -> None:
    async def ask() -> list[Any]:
        return await recorder.asearch_runs("tea", by="words")

    recorder.log_run(minimal(inputs={"text": "tea"}))
    assert find(recorder, "tea") == ["r1"]
    assert names(asyncio.run(ask())) == ["r1"]
