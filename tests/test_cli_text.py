"""Text on a terminal: harmless, measured, cut; tables; times; the names of runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cli_help import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st

from runlog.cli import text as text_module
from runlog.cli.errors import WrongUsageError
from runlog.cli.names import nearest, short_ids
from runlog.cli.output import rfc3339, to_json, to_lines
from runlog.cli.table import Column, join, render
from runlog.cli.text import cut, cut_frame, pad, safe, safe_lines, width, wrap
from runlog.reading.times import parse_age, parse_time
from runlog.views.words import brief

any_text = st.text(st.characters(exclude_categories=()), max_size=60)
"""With control characters and lone surrogates."""
shown_text = any_text.map(safe)
FORBIDDEN = {*map(chr, range(32)), *map(chr, range(127, 160)), *"\u2028\u2029\u061c"}
FORBIDDEN |= {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


@given(any_text)
def test_safe_text_has_no_control_character(text: str) -> None:
    shown = safe(text)
    assert not FORBIDDEN & set(shown)
    assert safe(shown) == shown
    shown.encode()  # so no lone surrogate is left
    assert all(not FORBIDDEN & set(line) for line in safe_lines(text))


@given(any_text)
def test_json_is_of_printable_ascii(text: str) -> None:
    shown = to_json({text: [text]})
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown) == {text: [text]}


def test_what_is_shown_of_hostile_text() -> None:
    assert safe(HOSTILE) == (
        "a\\x1b[2Jb\\x1b]52;c;aGk=\\x07c\\x9b31md\\u202ee\\u2066f\\u2028g\\rh\\x00i"
    )
    assert safe("a\nb\tc\udc80") == "a\\nb\\tc\\udc80"
    for fine in ("naïve café", "工作 流程", "שלום", "می\u200cخواهم", "👩\u200d💻", ""):
        assert safe(fine) == fine


@given(shown_text, st.integers(0, 70))
def test_a_cut_text_fits(text: str, columns: int) -> None:
    assert width(cut(text, columns)) <= columns
    assert cut(text, width(text)) == text
    assert width(pad(cut(text, columns), columns)) == columns


@given(shown_text, st.integers(0, 70))
def test_a_cut_frame_fits(text: str, columns: int) -> None:
    for line in (text, f'  File "{text}', f'  | File "/a/{text}", line 7, in f'):
        assert width(cut_frame(line, columns)) <= columns


def test_a_cut_frame_says_where() -> None:
    line = '  File "/very/long/path/to/an/agent.py", line 12, in answer'
    assert cut_frame(line, 60) == line
    assert cut_frame(line, 43) == '  File "…o/an/agent.py", line 12, in answer'
    assert cut_frame(line, 8) == "  File …"
    text = 'the File "/x/y/z.py", line 3, is a text'
    assert cut_frame(text, 12) == 'the File "/…'


def test_values_are_shown_in_their_own_letters() -> None:
    value = {"质问": {"答": "是", "\x1b": "\u202e"}}
    assert brief(value) == '{"质问": {"答": "是", "\\u001b": "\u202e"}}'
    assert to_lines(value)[1] == '  "质问": {'
    assert to_lines(value)[3] == '    "\\u001b": "\\u202e"'


@given(shown_text, st.integers(2, 70))
def test_wrapped_text_fits_and_is_whole(text: str, columns: int) -> None:
    lines = wrap(text, columns)
    assert all(width(line) <= columns for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_wrapping_looks_at_each_character_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    def columns_of(char: str) -> int:
        nonlocal looks
        looks += 1
        return 2

    monkeypatch.setattr(text_module, "_columns", columns_of)
    whole = "工" * 20_000
    lines = wrap(whole, 80)
    assert (len(lines), "".join(lines)) == (500, whole)
    assert looks <= 4 * len(whole)


def test_what_does_not_fit_has_a_line_of_its_own() -> None:
    assert wrap("abcd工作e", 1) == ["a", "b", "c", "d", "工", "作", "e"]
    assert wrap("ab\u0301c d", 2) == ["ab\u0301", "c", "d"]
    assert wrap("abc\u0301", 2) == ["ab", "c\u0301"]
    assert wrap("a  b c", 3) == ["a ", "b c"]
    assert wrap("ab cd", 0) == ["ab", "cd"]
    assert wrap("", 5) == [""]


def test_widths() -> None:
    assert width("abc") == 3
    assert width("工作") == 4
    assert width("e\u0301") == 1
    assert width("שלום") == 4
    assert cut("工作流程", 4) == "工…"


columns = st.builds(
    Column, shown_text, st.booleans(), st.sampled_from([0, 0, 4, 8]), st.integers(0, 3)
)
tables = st.lists(columns, min_size=1, max_size=6).flatmap(
    lambda made: st.tuples(
        st.just(made),
        st.lists(
            st.lists(shown_text, min_size=len(made), max_size=len(made)), max_size=4
        ),
    )
)


@settings(max_examples=60)
@given(tables, st.integers(1, 120))
def test_a_table_fits(table: tuple[list[Column], list[list[str]]], limit: int) -> None:
    made, rows = table
    shown, lines = render(made, rows, limit)
    assert shown
    assert len(lines) == len(rows) + 1
    assert all(width(join(line)) <= limit for line in lines)
    whole, _ = render(made, rows, None)
    assert whole == list(range(len(made)))


def test_a_table_drops_columns_by_rank_and_cuts_others() -> None:
    made = [Column("run"), Column("what", least=4), Column("when", rank=1)]
    rows = [["r1", "a long story", "now"]]
    assert [join(line) for line in render(made, rows, 40)[1]] == [
        "run  what          when",
        "r1   a long story  now",
    ]
    assert [join(line) for line in render(made, rows, 17)[1]] == [
        "run  what    when",
        "r1   a lon…  now",
    ]
    assert [join(line) for line in render(made, rows, 12)[1]] == [
        "run  what",
        "r1   a long…",
    ]


def test_times() -> None:
    now = datetime.now(UTC)
    for text, age in (("30m", 1800), ("2h", 7200), ("1.5d", 129_600), ("1w", 604_800)):
        assert parse_age(text) == timedelta(seconds=age)
        assert abs(parse_time(text) - (now - timedelta(seconds=age))) < timedelta(
            seconds=9
        )
    assert parse_time("2026-11-30T12:00:00+02:00") == datetime(
        2026, 11, 30, 10, tzinfo=UTC
    )
    assert parse_time("2026-11-30").tzinfo is UTC
    assert parse_time("r1", lambda _: now) == now
    assert parse_time("9" * 300 + "w") < now
    for wrong in ("", "soon", "2", "-2h", "2026-13-01", "0001-01-01T00:00+23:00"):
        with pytest.raises(WrongUsageError):
            parse_time(wrong)
    assert rfc3339(0.9996) == "1970-01-01T00:00:01.000Z"


@given(st.sets(st.text("0123456789abcdef-", min_size=1, max_size=20), max_size=20))
def test_short_ids_are_beginnings_and_unique(ids: set[str]) -> None:
    short = short_ids(list(ids))
    assert short.keys() == ids
    for one, beginning in short.items():
        assert one.startswith(beginning)
        others = [other for other in ids if other.startswith(beginning)]
        assert others == [one] or beginning == one


def test_the_nearest_name() -> None:
    assert nearest("ordrs", ["orders", "mails"]) == ": did you mean 'orders'?"
    assert nearest("xyz", ["orders", "mails"]) == ""
    assert nearest("orders", ["orders"]) == ""
