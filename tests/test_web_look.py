"""How the page looks and what it weighs, as far as its files tell."""

from __future__ import annotations

import ast
import re
from itertools import product
from pathlib import Path

import pytest

from runlog.views.safe import safe_text
from runlog.web import assets
from runlog.web.render import environment

WEB = Path(__file__).resolve().parent.parent / "runlog" / "web"
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
CSS = (WEB / "static" / "page.css").read_text(encoding="utf-8")


def colours(theme: str) -> dict[str, str]:
    """The custom properties of a theme."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light))
    if theme == "dark":
        found |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", dark))
    return found


def luminance(colour: str) -> float:
    """The relative luminance of WCAG."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG, 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read_on_every_ground(theme: str) -> None:
    known = colours(theme)
    texts = ("fg", "dim", "link", "failed", "waiting", "running", "ok")
    for text, ground in product(texts, ("bg", "soft", "chosen")):
        ratio = contrast(known[text], known[ground])
        assert ratio >= 4.5, f"{text} on {ground}: {ratio:.2f}"


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_colours_of_states_are_of_nothing_else() -> None:
    """Each stands in the properties alone; rules use it through the class of a state."""
    for name in ("failed", "waiting", "running", "ok"):
        rules = [line for line in CSS.split("\n") if f"var(--{name})" in line]
        assert rules
        for rule in rules:
            assert re.search(r"\.s-|\.bad|\.err|\.all", rule), rule


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_templates_escape_everything_and_have_nothing_inline(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text
    assert "Markup" not in text
    tags = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", text, flags=re.DOTALL)
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", tags)
    for script in re.findall(r"<script[^>]*>(.*?)</script>", tags, re.DOTALL):
        assert script == ""
    assert not re.search(r"(?:href|src|action)=[^\"]", tags)
    assert not re.search(r"https?://", tags)


def test_nothing_in_python_is_marked_as_safe() -> None:
    for path in WEB.rglob("*.py"):
        names = {
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Name, ast.Attribute))
        }
        assert not names & {"Markup", "markupsafe", "mark_safe"}, path
    made = environment()
    assert made.autoescape is True
    source = made.from_string("{{ text }}").render(text="<b>\u202e\x1b")
    assert source == "&lt;b&gt;\\u202e\\x1b"
    assert safe_text("<b>") == "<b>"


def test_what_a_browser_loads_is_small() -> None:
    assert len(assets.MODULES) <= 4
    script = assets.read("page.js")
    assert len(script) <= 25_000
    assert len(assets.read("page.css")) <= 20_000
    for forbidden in (b"innerHTML", b"eval(", b"document.write", b"http://", b"https://"):
        assert forbidden not in script
    assert b"@import" not in assets.read("page.css")
    assert b"url(" not in assets.read("page.css")
