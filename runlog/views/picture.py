"""The picture of what ran: a column for each super-step, a box for each node.

Columns are drawings of their own, so that a page can break a long row of them like text.
An arrow leads from each to the next, as super-steps follow one another; between nodes
there is none, because the record does not have which led to which.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from runlog.views.logs import Log
from runlog.views.steps import Box, Step, super_steps

COLUMNS = 40
"""Columns of a picture."""
ARROW, WIDTH, HEIGHT, BETWEEN, TOP, INDENT = 22, 152, 38, 6, 24, 10
"""Pixels: an arrow, a box at the outermost level, and what is around it."""
_DEEPEST = 6
"""Boxes of deeper levels are not indented any further."""
_LETTER = 7
"""Pixels of a letter, on average."""


class Shape(NamedTuple):
    """A box with its place in the drawing of its column, in pixels."""

    box: Box
    x: int
    y: int
    width: int
    bracket: tuple[int, int] | None
    """Where the line begins that leads to it from the node around it, if there is one."""
    tag: str
    """How many nodes it stands for, or which attempt it is."""
    room: int
    """About how many characters of its name fit beside that."""


class Column(NamedTuple):
    """A super-step."""

    title: str
    follows: bool
    """Whether an arrow leads to it from the one before."""
    shapes: list[Shape]
    width: int
    height: int


class Picture(NamedTuple):
    """All of it, or the part that has the chosen node."""

    columns: list[Column]
    before: int | None
    """The place of a log in the part before this one; None if there is none."""
    after: int | None
    folded: int
    """How many nodes are in boxes that stand for several."""


def picture(run: Any, logs: list[Log], chosen: int | None = None) -> Picture:
    """Return the picture of a run.

    Args:
        run: a run as `get_run` returns it.
        logs: its node logs.
        chosen: the place of the log that has to be seen by itself; it says which part is
            returned, if there are more columns than fit in one picture.
    """
    steps = super_steps(run, logs, chosen)
    first = _with(steps, chosen) // COLUMNS * COLUMNS
    part = steps[first : first + COLUMNS]
    later = steps[first + COLUMNS :]
    return Picture(
        [_column(step, first + at > 0) for at, step in enumerate(part)],
        steps[first - 1].boxes[0].place if first else None,
        later[0].boxes[0].place if later else None,
        sum(box.folded for step in part for box in step.boxes),
    )


def has_steps(logs: list[Log]) -> bool:
    """Whether the record has the super-steps of a run."""
    return any(log.step is not None for log in logs)


def _with(steps: list[Step], chosen: int | None) -> int:
    """Which of the steps has the chosen node."""
    for at, step in enumerate(steps):
        if any(box.place == chosen for box in step.boxes):
            return at
    return 0


def _column(step: Step, follows: bool) -> Column:
    shapes: list[Shape] = []
    for at, box in enumerate(step.boxes):
        indent = INDENT * min(box.depth, _DEEPEST)
        x, y = ARROW + indent, TOP + at * (HEIGHT + BETWEEN)
        bracket = (x - INDENT // 2, _begins(shapes, x)) if box.depth else None
        width, tag = WIDTH - indent, _tag(box)
        room = max(4, (width - 36) // _LETTER - (len(tag) + 1 if tag else 0))
        shapes.append(Shape(box, x, y, width, bracket, tag, room))
    height = TOP + len(shapes) * (HEIGHT + BETWEEN)
    return Column(_title(step), follows, shapes, ARROW + WIDTH + 2, height)


def _begins(above: list[Shape], x: int) -> int:
    """Where a bracket begins that leads to a box at x, below these boxes.

    At the bottom of the box around it, or in the middle of the one before it there, from
    which that one's bracket came.
    """
    for shape in reversed(above):
        if shape.x < x:
            return shape.y + HEIGHT
        if shape.x == x and shape.bracket:
            return shape.y + HEIGHT // 2
    return TOP


def _tag(box: Box) -> str:
    if box.folded:
        return f"\N{MULTIPLICATION SIGN} {box.folded:,}"
    return f"{box.attempt}/{box.attempts}" if box.attempts > 1 else ""


def _title(step: Step) -> str:
    if step.first is None:
        return "no step"
    if step.rounds > 1:
        return f"step {step.first} … {step.last} ({step.rounds:,} rounds)"
    return f"step {step.first}"
