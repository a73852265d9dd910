"""Small plots in SVG: bars on a logarithmic axis, and lines on two.

Text and lines have colours that can be read on a light and on a dark page, as a picture
does not know on which of them it is shown. The ground is left transparent.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH = 760
INK = "#707a86"
"""Of text and axes."""
COLOURS = ("#3b82c4", "#d9822b", "#439a59", "#a066b8")
DASHES = ("", "7 4", "2 3", "9 3 2 3")
BAR, GAP = 14, 12
LEFT, RIGHT, TOP, BOTTOM = 88, 40, 62, 46
HEIGHT = 340
Points = Sequence[tuple[float, float]]


def number(value: float) -> str:
    """The value as a plot writes it."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def text(x: float, y: float, said: str, anchor: str = "start", more: str = "") -> str:
    """A text; the anchor is its start, middle or end."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{INK}"{more}>{escape(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, opacity: float = 0.3) -> str:
    """A line of an axis or of its grid."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{INK}" stroke-opacity="{opacity}"/>'


def picture(height: float, title: str, parts: Sequence[str]) -> str:
    """The whole file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">'
    )
    called = f"<title>{escape(title)}</title>"
    heading = text(8, 20, title, more=' font-size="15" font-weight="600"')
    return "\n".join([head, called, heading, *parts, "</svg>", ""])


def legend(names: Sequence[str], x: float, *, bars: bool) -> Iterator[str]:
    """What each colour stands for, in a row below the title."""
    for at, name in enumerate(names):
        colour = COLOURS[at]
        if bars:
            yield f'<rect x="{x}" y="33" width="22" height="10" fill="{colour}"/>'
        else:
            yield path([(x, 38), (x + 22, 38)], at)
        yield text(x + 28, 42, name)
        x += 44 + 6.6 * len(name)


def path(points: Points, at: int) -> str:
    """A line of data, and which of them it is."""
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = f' stroke-dasharray="{DASHES[at]}"' if DASHES[at] else ""
    style = f'fill="none" stroke="{COLOURS[at]}" stroke-width="2"{dash}'
    return f'<polyline points="{joined}" {style}/>'


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around the values."""
    low = math.floor(math.log10(min(values)))
    return low, max(math.ceil(math.log10(max(values)) - 1e-9), low + 1)


def bars(
    title: str, axis: str, labels: Sequence[str], series: Mapping[str, Sequence[float]]
) -> str:
    """Horizontal bars: a group for each label, in it a bar for each of the series."""
    left = 30 + 6.4 * max(map(len, labels))
    span = WIDTH - left - 60
    low, high = decades([value for values in series.values() for value in values])
    group = BAR * len(series) + GAP
    bottom = TOP + group * len(labels)

    def across(value: float) -> float:
        return left + span * (math.log10(value) - low) / (high - low)

    parts = list(legend(list(series), left, bars=True))
    for power in range(low, high + 1):
        x = across(10**power)
        parts.append(line(x, TOP - 6, x, bottom))
        parts.append(text(x, bottom + 16, number(10**power), "middle"))
    parts.append(text(left + span / 2, bottom + 36, axis, "middle"))
    for row, label in enumerate(labels):
        y = TOP + row * group
        parts.append(text(left - 8, y + (group - GAP) / 2 + 4, label, "end"))
        for at, values in enumerate(series.values()):
            top, end = y + at * BAR, across(values[row])
            size = f'width="{max(end - left, 1):.1f}" height="{BAR - 2}"'
            parts.append(f'<rect x="{left}" y="{top}" {size} fill="{COLOURS[at]}"/>')
            parts.append(text(end + 5, top + BAR - 4, number(values[row])))
    return picture(bottom + 48, title, parts)


def lines(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """Lines with both axes logarithmic, whose titles are `across` and `up`."""
    xs = sorted({x for points in series.values() for x, _ in points})
    low, high = decades([y for points in series.values() for _, y in points])
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    wide = math.log10(xs[-1] / xs[0]) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (right - LEFT) * math.log10(x / xs[0]) / wide,
            bottom - (bottom - TOP) * (math.log10(y) - low) / (high - low),
        )

    parts = list(legend(list(series), LEFT, bars=False))
    for power in range(low, high + 1):
        _, y = place(xs[0], 10**power)
        parts += [line(LEFT, y, right, y)]
        parts += [text(LEFT - 8, y + 4, number(10**power), "end")]
    for one in xs:
        x, _ = place(one, 10**low)
        parts += [line(x, bottom, x, bottom + 5, 0.8)]
        parts += [text(x, bottom + 18, number(one), "middle")]
    parts.append(text((LEFT + right) / 2, HEIGHT - 8, across, "middle"))
    middle = (TOP + bottom) / 2
    turned = f' transform="rotate(-90 16 {middle:.1f})"'
    parts.append(text(16, middle, up, "middle", turned))
    for at, points in enumerate(series.values()):
        places = [place(x, y) for x, y in points]
        parts.append(path(places, at))
        dot = f'r="3.5" fill="{COLOURS[at]}"'
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" {dot}/>' for x, y in places]
    return picture(HEIGHT, title, parts)
