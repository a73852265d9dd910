"""What `Recorder.rollup` does: it has the extension make the blocks."""

from __future__ import annotations

from collections import Counter

from runlog.rollup import Block, Failure, Figures, Histogram, Model, Path, Rollup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from runlog.recorder import Recorder

_TYPES = (Counter, Histogram, Figures, Model, Failure, Path, Block)


def rollup(
    recorder: Recorder,
    wpk_id: str | None,
    since: datetime | None,
    until: datetime | None,
    wait: float,
) -> Rollup:
    """The blocks of `Recorder.rollup`."""
    blocks, waiting = recorder._rollup(  # noqa: SLF001 - ours
        _TYPES, False, wpk_id=wpk_id, since=since, until=until, wait=wait
    )
    return Rollup(blocks, waiting)


def totals(recorder: Recorder, wait: float) -> Rollup:
    """The blocks of `Recorder.rollup_totals`."""
    blocks, waiting = recorder._rollup(_TYPES, True, wait=wait)  # noqa: SLF001 - ours
    return Rollup(blocks, waiting)
