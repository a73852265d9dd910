"""Search in 200 real texts: its precision, and the same ranking on each path."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_search import PATHS, eventually, make_place, names, same_ranking
from helpers import minimal
from search_corpus import QUESTIONS, SUBJECTS, TEXTS, precision

if TYPE_CHECKING:
    import runlog

TOP = 5
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
OUTPUTS = {f"r{number:03}": text for number, (_, text) in enumerate(TEXTS)}
ASKED = [(subject, text) for subject, texts in QUESTIONS.items() for text in texts]


def log_corpus(recorder: runlog.Recorder) -> None:
    """The corpus as runs: a workflow for each subject, an hour between two runs."""
    for number, (subject, text) in enumerate(TEXTS):
        fields: dict[str, Any] = {
            "outputs": {"text": text},
            "created_at": BEGIN + timedelta(hours=number),
            "status": "failed" if number % 4 == 0 else "completed",
        }
        recorder.log_run(minimal(f"r{number:03}", subject, **fields))
    assert recorder.flush(120)


@pytest.fixture(scope="module")
def recorders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, runlog.Recorder]]:
    """A recorder with the corpus for each path. Milvus gets SQLite's vectors."""
    made: dict[str, runlog.Recorder] = {}
    first = ""
    with ExitStack() as stack:
        for path in PATHS:
            folder = tmp_path_factory.mktemp(path)
            place = stack.enter_context(make_place(path, folder, request))
            if "milvus_endpoint" in place.options:
                shutil.copy(first, place.options["sqlite_path"])
            else:
                with place.open() as recorder:
                    log_corpus(recorder)
            first = first or place.options["sqlite_path"]
            made[path] = stack.enter_context(place.open())
            assert (
                made[path].list_runs().runs
            )  # opens the database, so that flush has work to wait for
            assert made[path].flush(120)
        for recorder in made.values():
            eventually(
                lambda: recorder.search_runs("anything", limit=1000),  # noqa: B023
                lambda hits: len(hits) == len(TEXTS),
            )
        yield made


@pytest.fixture(params=PATHS)
def recorder(
    request: pytest.FixtureRequest, recorders: dict[str, runlog.Recorder]
) -> runlog.Recorder:
    """The recorder of a path."""
    return recorders[request.param]


@pytest.mark.long_with("sqlite")
def test_precision_at_5(recorder: runlog.Recorder) -> None:
    """0.95 with this model; a guess would be right at 0.1."""
    found = {}
    for subject, question in ASKED:
        hits = recorder.search_runs(question, limit=TOP)
        assert len(hits) == TOP
        texts = [OUTPUTS[name] for name in names(hits)]
        found[question] = precision(subject, texts)
    assert mean(found.values()) >= 0.9, found
    assert min(found.values()) >= 0.4, found


@pytest.mark.parametrize("path", PATHS[1:])
def test_the_same_ranking(path: str, recorders: dict[str, runlog.Recorder]) -> None:
    for _, question in ASKED[::3]:
        expected = recorders["sqlite"].search_runs(question, limit=30)
        found = recorders[path].search_runs(question, limit=30)
        assert same_ranking(expected, found), (expected, found)
        assert names(recorders[path].search_runs(question, limit=1)) == names(found)[:1]


@pytest.mark.parametrize(
    "filters",
    [
        {"wpk_id": "training"},
        {"wpk_id": "training", "limit": 1000},
        {"wpk_id": "no such workflow"},
        {"status": "failed", "limit": 60},
        {"status": "running"},
        {"since": BEGIN + timedelta(hours=150), "limit": 60},
        {
            "since": BEGIN + timedelta(hours=199),
            "wpk_id": "recipes",
            "status": "completed",
        },
        {"since": BEGIN + timedelta(days=999)},
    ],
    ids=str,
)
def test_filters(recorder: runlog.Recorder, filters: dict[str, Any]) -> None:
    """The filtered hits are those of an unfiltered ranking."""
    limit = filters.get("limit", 10)

    def fits(hit: Any) -> bool:
        return bool(
            hit["wpk_id"] == filters.get("wpk_id", hit["wpk_id"])
            and hit["status"] == filters.get("status", hit["status"])
            and hit["created_at"] >= filters.get("since", hit["created_at"])
        )

    question = "numbers that explode while a model is trained"
    whole = recorder.search_runs(question, limit=1000)
    assert len(whole) == len(TEXTS)
    found = recorder.search_runs(question, **filters)
    assert same_ranking([hit for hit in whole if fits(hit)][:limit], found)


def test_similar_runs_are_of_the_same_subject(recorder: runlog.Recorder) -> None:
    subjects = list(SUBJECTS)
    for number in (45, 105, 190):
        hits = recorder.find_similar(f"r{number:03}", limit=TOP)
        assert f"r{number:03}" not in names(hits)
        assert len(hits) == TOP
        right = [hit["wpk_id"] for hit in hits].count(subjects[number // 20])
        assert right >= 3
        within = recorder.find_similar(f"r{number:03}", within="travel", limit=1000)
        assert len(within) == 20
        assert {hit["wpk_id"] for hit in within} == {"travel"}
