"""Tables for a terminal: columns that share its width."""

from __future__ import annotations

from typing import NamedTuple

from runlog.cli.text import cut, pad, width

_GAP = "  "


class Column(NamedTuple):
    """A column of a table."""

    name: str
    right: bool = False
    """Whether it is aligned on the right."""
    least: int = 0
    """The columns that it may be cut to; 0: it is never cut."""
    rank: int = 0
    """Of columns that do not fit, that of the greatest rank goes first; 0: never."""


def render(
    columns: list[Column], rows: list[list[str]], columns_wide: int | None
) -> tuple[list[int], list[list[str]]]:
    """Return which columns are shown, and the cells of each line, the head first.

    Args:
        columns: the columns.
        rows: the cells, safe, one for each column.
        columns_wide: the width of the terminal; None cuts nothing.

    Returns:
        The places of the columns that fit, and the lines of cells, padded and cut.
    """
    widths = [
        max(width(text) for text in (column.name, *(row[place] for row in rows)))
        for place, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if columns_wide is not None:
        shown = _fit(columns, widths, columns_wide)
    lines = []
    for cells in ([column.name for column in columns], *rows):
        line = [
            pad(cut(cells[place], widths[place]), widths[place], columns[place].right)
            for place in shown
        ]
        lines.append(line)
    return shown, lines


def _fit(columns: list[Column], widths: list[int], limit: int) -> list[int]:
    """Make widths smaller in place; return the places of the columns that stay."""
    shown = list(range(len(columns)))
    while (excess := _total(widths, shown) - limit) > 0:
        loose = [
            place
            for place in shown
            if columns[place].least and widths[place] > columns[place].least
        ]
        room = sum(widths[place] - columns[place].least for place in loose)
        ranked = [place for place in shown if columns[place].rank]
        if room < excess and ranked and len(shown) > 1:
            shown.remove(max(ranked, key=lambda place: columns[place].rank))
            continue
        if not loose:
            widest = max(shown, key=lambda place: widths[place])
            widths[widest] = max(1, widths[widest] - excess)
            if widths[widest] == 1:
                if len(shown) == 1:
                    break
                shown.pop()
            continue
        spare = {place: widths[place] - columns[place].least for place in loose}
        most, *rest = sorted(spare.values(), reverse=True)
        widest = max(loose, key=lambda place: spare[place])
        widths[widest] -= max(1, min(excess, most - (rest[0] if rest else 0)))
    return shown


def _total(widths: list[int], shown: list[int]) -> int:
    return sum(widths[place] for place in shown) + len(_GAP) * (len(shown) - 1)


def join(cells: list[str]) -> str:
    """A line of a table."""
    return _GAP.join(cells).rstrip()
