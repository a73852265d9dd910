"""How docs/performance.md shows what the benchmarks have measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import plots
import published
from common import Claim, compare

MACHINE = {"cpu": "a processor", "cores": 2, "system": "Linux 6"}
LOAD = [3.21, 2.0, 1.0]


def document(*claims: Claim, **more: Any) -> dict[str, Any]:
    versions = {"python": "CPython 3.11", "none": None, "langsmith": "0.15"}
    machine = {**MACHINE, "load_at_start": LOAD}
    made = {"benchmark": "encode", "machine": machine, "versions": versions}
    return {**made, "arguments": [], "seconds": 70, "claims": list(claims), **more}


def ratio(*ours: float, limit: float | None = 2.0) -> Claim:
    return compare("a / b", ours, [1.0] * len(ours), limit, "us")


def cells(claim: Claim) -> list[str]:
    return [cell.strip() for cell in published.row(claim).strip("|").split("|")]


def test_a_ratio_has_both_sides_its_spread_and_its_limit() -> None:
    claim = compare("a / b", [30, 20, 44], [10, 10, 11], 3.5, "us")
    shown = ["a / b", "30 us", "10 us", "3", "2-4", "≤ 3.5", "yes"]
    assert cells(claim) == shown


def test_a_miss_is_bold() -> None:
    assert cells(ratio(3, 3, 3))[-3:] == ["", "≤ 2", "**no**"]
    faster = compare("a / b", [300], [100], 4, "/s", higher_is_better=True)
    assert cells(faster)[-2:] == ["≥ 4", "**no**"]


def test_what_has_no_other_side_has_its_limit_in_its_unit() -> None:
    claim = compare("a", [41234], [0], 5e4, "ms", relation="difference")
    assert cells(claim) == ["a", "41,200 ms", "", "", "", "≤ 50,000 ms", "yes"]
    claim = compare("a - b", [9.0], [2.5], 15, "ms", relation="difference")
    assert cells(claim)[1:] == ["9 ms", "2.5 ms", "6.5 ms", "", "≤ 15 ms", "yes"]


def test_what_has_no_limit_is_not_judged() -> None:
    claim = ratio(7, 8, limit=None)
    assert cells(claim)[-2:] == ["", ""]
    text = published.measured({"encode": document(claim, ratio(3))}, "today")
    assert "0 of 1 figures keep their limit" in text


def test_a_script_that_measured_nothing_says_why_in_a_line() -> None:
    found: dict[str, Any] = {
        "encode": document(ratio(1), arguments=["100", "lean"]),
        "load": "skipped: 4 GB of room are needed",
        "sqlite": "Traceback\n  File x\nValueError: no table",
    }
    text = published.measured(found, "2026-12-01")
    assert "Measured on 2026-12-01 by `make bench` in 1 minutes" in text
    assert "The load average before each script: 3.2 on 2 cores." in text
    assert "a processor, 2 cores, Linux 6; python CPython 3.11, langsmith 0.15" in text
    assert "With `encode.py 100 lean`." in text
    title, other = published.TITLES["load"], published.TITLES["sqlite"]
    assert f"\n- {title}: 4 GB of room are needed\n" in text
    assert f"\n- {other}: ValueError: no table\n" in text
    assert "Traceback" not in text
    assert "load.svg" not in text


def test_the_place_of_a_name_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- one -->\nold\n<!-- end -->\nb\n<!-- two -->\nkept\n<!-- end -->\n"
    new = published.replaced(text, "one", "n\\1ew\n")
    assert new == text.replace("old", "n\\1ew")
    with pytest.raises(ValueError, match="0 places for three"):
        published.replaced(text, "three", "new\n")


def test_the_documents_have_their_places() -> None:
    for path, name in (
        (published.PAGE, "measured"),
        (published.PAGE, "peers"),
        (published.README, "peers"),
    ):
        text = path.read_text(encoding="utf-8")
        assert published.replaced(text, name, "new\n") != text


def rows_of_peers(path: Path) -> dict[str, list[str]]:
    """The first figures of each recorder in a document."""
    text = path.read_text(encoding="utf-8")
    lines = text.partition("<!-- peers -->")[2].partition("<!-- end -->")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {name: figures[:4] for name, *figures in rows if figures[0].isdigit()}


def test_the_readme_has_the_figures_of_the_page() -> None:
    rows = rows_of_peers(published.README)
    assert rows == rows_of_peers(published.PAGE)
    assert len(rows) == len(published.KEPT_IN) + 1


def peers_document() -> dict[str, Any]:
    titles = [f"{graph}, {mode}" for graph in "ABC" for mode in ("invoke", "ainvoke")]
    costs = dict.fromkeys(published.KEPT_IN, 1234.4)
    notes = {
        "over_no_callback_us": dict.fromkeys(titles, costs),
        "graph_us": dict.fromkeys(titles, 200.0),
    }
    return document(notes=notes)


def test_peers_have_a_line_each_with_their_versions() -> None:
    text = published.peers(peers_document(), "2026-12-01", [1.0])
    assert "the load average before it was 1.0 on 2 cores" in text
    assert f"| LangSmith 0.15 |{' 1,234 |' * 6}" in text
    assert f"| the graph itself |{' 200 |' * 6}" in text
    short = published.readme(peers_document())
    assert f"| LangSmith 0.15 |{' 1,234 |' * 4} LangSmith service |" in short
    assert short.count("\n") == len(published.KEPT_IN) + 3


def test_plots_are_svg_and_quote_their_texts() -> None:
    lines = plots.lines("p < 1", "runs", "ms", {"a & b": [(10, 0.2), (1000, 30)]})
    bars = published.draw_peers(peers_document())
    for text in (lines, bars):
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "a &amp; b" in lines
    assert "LangSmith 0.15" in bars


def test_a_run_goes_on_with_what_the_last_one_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import run

    def script(name: str, *_: Any) -> dict[str, Any] | str:
        asked.append(name)
        return "skipped: none" if name == "load" else document(ratio(1))

    asked: list[str] = []
    monkeypatch.setattr(run, "BUILD", tmp_path)
    monkeypatch.setattr(run, "run_script", script)
    for name, arguments in (("encode", []), ("flat", ["7"])):
        made = json.dumps(document(ratio(1), arguments=arguments))
        (tmp_path / f"{name}.json").write_text(made)
    found = run.run_all(15, run.kept())
    assert list(found) == list(run.SHORT)
    assert asked == [name for name in run.SHORT if name != "encode"]
    late = run.run_all(0.1, {})
    assert set(late.values()) == {"skipped: the 0.1 minutes were over"}


def test_every_script_that_runs_has_a_title() -> None:
    import run

    assert set(run.SHORT) == set(published.TITLES)
