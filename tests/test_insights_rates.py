"""How findings are decided: the statistics, the rates of false alarms, the templates."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from math import comb
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from insight_rates import CLEAN, FAULTS, Rate, Scene, measure
from planted import UNTIL, Plan, found_in, judged_frame, make, make_timed

from runlog.insights import rates, templates
from runlog.insights.causes import traits
from runlog.insights.frame import frame_of
from runlog.insights.statistics import accepted, fisher, t_tail, wilson

TABLE = json.loads(
    Path(__file__).with_name("statistics_table.json").read_text(encoding="utf-8")
)
"""As scripts/statistics_table.py has scipy compute it."""


def test_tails_are_those_of_scipy() -> None:
    for *given, want in TABLE["fisher"]:
        assert fisher(*given) == pytest.approx(want, rel=1e-7, abs=1e-250), given
    for value, degrees, want in TABLE["t"]:
        assert t_tail(value, degrees) == pytest.approx(want, rel=1e-9), (value, degrees)
    found, of, low, high = TABLE["wilson"]
    assert wilson(found, of) == pytest.approx((low, high), rel=1e-6)


def test_a_tail_is_right_on_both_sides() -> None:
    """Also where more or fewer are bad than before, and each term is 0.0 as a float."""
    for number, before in ((7, 9), (12, 5), (30, 41)):
        for bad in range(number + 1):
            for bad_before in range(before + 1):
                all_bad, all_fine = bad + bad_before, number + before - bad - bad_before
                ways = sum(
                    comb(all_bad, one) * comb(all_fine, number - one)
                    for one in range(bad, min(number, all_bad) + 1)
                )
                want = ways / comb(number + before, number)
                found = fisher(bad, number, bad_before, before)
                assert found == pytest.approx(want, rel=1e-9), (bad, bad_before)
    assert fisher(1_000, 200_000, 100_000, 200_000) == 1.0
    assert fisher(100_000, 200_000, 1_000, 200_000) == 0.0


def test_a_tail_takes_few_terms() -> None:
    """One that is too small for a float has no hundreds of thousands of them."""
    lines = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line" and frame.f_code.co_name == "fisher"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for bad in (300_000, 30_000):  # 0.0; about 1e-6
            fisher(bad, 600_000, 29_000, 600_000)
    finally:
        sys.settrace(before)
    assert 20 < lines < 20_000


def test_the_share_of_what_is_false_is_bounded() -> None:
    """The example of Benjamini and Hochberg's paper: four of fifteen count."""
    chances = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    chances += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert accepted(chances, 15, 0.05) == 0.0095
    assert accepted([0.5], 100, 0.05) == 0.0


FEW = 0.015
"""The most of a few clean histories in which something may be found."""
MANY = {"times wander by 20 %, correlated 0.8": 0.04}
"""The same of many of a sort; 0.015 where nothing is said."""
FOUND = {
    "failures 2 → 5 %": 0.75,
    "failures 2 → 5 %, wander 0.6": 0.65,
    "failures 2 → 5 %, wander 1.4": 0.18,
    "failures drift to 20 % in two days": 0.85,
    "1.5 times as long, times wander by 10 %": 0.75,
}
"""The least share of each sort that must be found; 0.8 where nothing is said. A rise of
three points beside swings of 1.4 is hard to tell from these: docs/insights.md says so."""


def check(clean: list[Rate], faults: list[Rate]) -> None:
    """A worse detector breaks these bounds, by false alarms or by what it misses."""
    false = sum(rate.found for rate in clean)
    assert false <= FEW * sum(rate.of for rate in clean), [*map(str, clean)]
    found = sum(rate.found for rate in faults)
    assert found >= 0.7 * sum(rate.of for rate in faults), [*map(str, faults)]
    for rate in faults:
        least = FOUND.get(rate.scene.name, 0.8)
        assert wilson(rate.found, rate.of)[1] >= least, str(rate)


def measured(scenes: list[Scene], number: int) -> list[Rate]:
    return [measure(scene, number) for scene in scenes]


@pytest.mark.long
def test_faults_are_found_with_few_false_alarms(record_property: Any) -> None:
    """See tests/insight_rates.py. `make insights-report` measures more."""
    clean, faults = measured(CLEAN, 16), measured(FAULTS, 8)
    record_property("insights", [*map(str, clean), *map(str, faults)])
    check(clean, faults)


@pytest.mark.long
@pytest.mark.parametrize("scene", [*CLEAN, *FAULTS], ids=lambda scene: scene.name)
def test_many_histories(scene: Scene, record_property: Any) -> None:
    rate = measure(scene, 300 if scene.kind is None else 90)
    record_property("insights", [str(rate)])
    if scene.kind is None:
        assert rate.share <= MANY.get(scene.name, 0.015), str(rate)
    else:
        assert rate.share >= FOUND.get(scene.name, 0.8), str(rate)


def test_a_worse_detector_breaks_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fisher's test alone, which takes each run for itself."""
    monkeypatch.setattr(rates, "over_blocks", lambda *_: 0.0)
    with pytest.raises(AssertionError, match="wander"):
        check(measured([one for one in CLEAN if "wander" in one.name], 16), [])


def test_a_report_of_many_workflows_has_few_false_findings() -> None:
    """Twenty workflows at once; one has a fault."""
    plans = [Plan(wander=0.006, slow_wander=0.1)] * 19 + [Plan(fault="step", after=0.2)]
    histories = [make(plan, 5, f"w{place}") for place, plan in enumerate(plans)]
    assert {one.workflow for one in found_in(histories).findings} == {"w19"}


@pytest.mark.parametrize("seed", range(3))
def test_a_change_is_dated(seed: int) -> None:
    """The block in which it began, or one beside it."""
    found = found_in([make(Plan(fault="step", after=0.2), seed)]).findings
    began = judged_frame().time(judged_frame().end - 4)
    for one in found:
        assert abs(one.since - began) <= timedelta(hours=4)
        assert len(one.spark) == len(one.line) == 46


SERIES = json.loads(
    Path(__file__).with_name("series_table.json").read_text(encoding="utf-8")
)
"""As the generators of ruptures make them; see scripts/series_table.py."""


def test_steps_that_ruptures_makes_are_found_and_dated() -> None:
    """Times whose level rises by three to six deviations in the newest four blocks."""
    began = judged_frame().time(judged_frame().end - 4)
    found = [found_in([make_timed(one, 1)]).findings for one in SERIES["up"]]
    dates = [one.since for these in found for one in these if one.kind == "slow"]
    assert sum(any(one.kind == "slow" for one in these) for these in found) >= 18
    assert sum(one == began for one in dates) >= 0.8 * len(dates)


@pytest.mark.parametrize("sort", ["down", "steady", "correlation", "waves"])
def test_series_that_ruptures_makes_without_a_rise_are_clean(sort: str) -> None:
    found = [found_in([make_timed(one, 1)]).findings for one in SERIES[sort]]
    assert [these for these in found if these] == []


def test_too_few_runs_are_said_with_what_could_be_seen() -> None:
    (said,) = found_in([make(Plan(runs=8), 1)]).notes
    assert "too few runs of shop" in said
    assert "only a rise from" in said
    (said,) = found_in([make(Plan(runs=1), 1)]).notes
    assert "5 runs: of failures, only a rise from 2.6 % to 100 % or more" in said
    (said,) = found_in([make(Plan(runs=1), 3)]).notes
    assert "37 in the week before: too few to detect a rise" in said
    assert found_in([make(Plan(), 1)]).notes == []


def test_windows_follow_what_is_asked_for() -> None:
    assert frame_of(None, UNTIL).windows == [4, 2, 1]
    week = frame_of(UNTIL - timedelta(days=7), UNTIL)
    assert week.windows == [43, 21, 10]
    assert frame_of(UNTIL, UNTIL).windows == [1]


# ---- Templates of failures.


def messages(random: Random) -> list[Callable[[], str]]:
    """Twenty templates, with ids, paths, hosts, sizes and names in them."""
    names = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Ken", "Dennis", "Guido"]

    def name() -> str:
        return (
            f"{random.choice(names)}_{random.choice(names).lower()}{random.choice('xyz')}"
        )

    def number() -> int:
        return random.randrange(1, 100_000)

    def path() -> str:
        parts = (random.choice(names) for _ in range(random.randrange(2, 5)))
        return "/" + "/".join(parts)

    def host() -> str:
        return f"{random.choice(('db', 'web'))}{random.randrange(40)}.internal"

    def code() -> str:
        return f"{random.getrandbits(48):012x}"

    def uuid() -> UUID:
        return UUID(int=random.getrandbits(128))

    def currency() -> str:
        return random.choice(["EUR", "USD", "GBP"])

    return [
        lambda: f"connection to {host()}:{number()} refused",
        lambda: f"connection to {host()}:{number()} reset by peer",
        lambda: f"could not read {path()}: permission denied",
        lambda: f"could not read {path()}: no such file",
        lambda: f"order {uuid()} has no price",
        lambda: f"customer '{name()}' not found",
        lambda: f"customer '{name()}' is locked",
        lambda: f"request timed out after {number() / 100:.2f} s",
        lambda: f"rate limit of model gpt-{number() % 3} reached: retry in {number()} ms",
        lambda: f"answer of {number()} bytes exceeds the limit of {number()} bytes",
        lambda: f"invalid token at line {number()} column {number()}",
        lambda: f"checkpoint {code()} is damaged",
        lambda: f"user {name()} may not call tool {name()}",
        lambda: f"tool {name()} returned {number()} rows, expected 1",
        lambda: f"certificate of https://{host()}/{code()} has expired",
        lambda: f'unknown currency "{currency()}" in invoice {number()}',
        lambda: f"division by zero in line {number()}",
        lambda: f"deadlock detected: process {number()} waits for process {number()}",
        lambda: f"mail to {name()}@{host()} bounced",
        lambda: "'price'",
    ]


def test_messages_of_twenty_templates() -> None:
    """No two are mixed, and there are at most 25 groups of 20,000 messages."""
    random = Random(3)
    makers = messages(random)
    made = [(random.randrange(20), "") for _ in range(20_000)]
    made = [(place, makers[place]()) for place, _ in made]
    found = templates.group(text for _, text in made)
    groups: dict[str, set[int]] = {}
    for place, text in made:
        groups.setdefault(found[text], set()).add(place)
    assert all(len(places) == 1 for places in groups.values()), groups
    assert 20 <= len(groups) <= 25
    assert all(templates.fits(found[text], text) for _, text in made[:500])
    assert not templates.fits(found[made[0][1]], "something else")


def test_text_in_quotes_is_kept_while_there_is_little_of_it() -> None:
    assert len(set(templates.group(["'price'", "'name'"] * 5).values())) == 2
    few = [f"no field 'f{chr(97 + n)}' in the answer" for n in range(20)] * 3
    assert len(set(templates.group(few).values())) == 20
    many = [f"no field 'f{chr(97 + n)}x' in the answer" for n in range(26)] * 3
    assert set(templates.group(many).values()) == {"no field <any> in the answer"}
    assert templates.group([]) == {}
    assert templates.group([""]) == {"": ""}


def test_hostile_messages_have_a_template() -> None:
    for text in ("'" * 2_000, "a" * 50_000, "' " * 1_000, "\x00\ud800", "/a" * 9_000):
        assert templates.group([text, text[:100]])


# ---- What is different about runs that failed.


def run(place: int, model: str, tags: list[str]) -> dict[str, Any]:
    log = {"node": "ask", "step": 1, "calls": [{"kind": "llm", "model": model}]}
    return {
        "inputs": {"order": place, "text": f"text of {place}", "kind": {"size": "big"}},
        "metadata": {"tags": tags, "customer": f"c{place}", "tokens": {"total": place}},
        "node_logs": [log],
    }


def test_a_cause_is_named_with_its_counts() -> None:
    failed = [run(n, "old", ["canary"] if n % 2 else []) for n in range(12)]
    good = [run(100 + n, "old" if n % 40 == 0 else "new", []) for n in range(200)]
    found = traits(failed, good, "ask")
    assert [one.what for one in found] == ["model old", "tag canary"]
    first = found[0]
    assert (first.failed, first.of_failed, first.good, first.of_good) == (12, 12, 5, 200)
    assert first.p == fisher(12, 12, 5, 200)
    assert "12 of 12 that failed, 5 of 200 good ones" in str(first)
    assert traits(good[:50], good[50:], "ask") == []
    assert traits([], good, None) == traits(failed, [], None) == []


def test_a_cause_is_no_chance() -> None:
    """Of a hundred random members none is said to be more frequent: 20 times."""
    random = Random(7)
    named = 0
    for _ in range(20):
        runs = [
            {"inputs": {f"k{n}": random.choice("abc") for n in range(50)}}
            for _ in range(80)
        ]
        named += bool(traits(runs[:30], runs[30:], None))
    assert named <= 1
