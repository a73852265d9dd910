"""What `search_runs` does: it searches by words or by meaning, and adds snippets."""

from __future__ import annotations

from runlog._runlog import ValidationError
from runlog._snippets import Terms, snippets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runlog._runlog import Hit
    from runlog.recorder import Recorder


class Hits(list["Hit"]):
    """The hits of a search by words: a list, and whether it may lack some."""

    waiting: int = 0
    """How many runs are not indexed as they are now, at most."""

    @property
    def complete(self) -> bool:
        """Whether every run is indexed."""
        return self.waiting == 0


def search(
    recorder: Recorder, text: str, by: str | None, filters: dict[str, Any]
) -> list[Hit]:
    """The hits of `Recorder.search_runs`."""
    if by not in {None, "words", "meaning"}:
        raise ValidationError(f"by must be 'words' or 'meaning', not {by!r}")
    if by == "meaning" or (by is None and recorder._has_meaning()):  # noqa: SLF001
        return recorder._search_meaning(text, **filters)  # noqa: SLF001 - ours
    runs, waiting = recorder._search_words(text, **filters)  # noqa: SLF001
    hits = Hits()
    hits.waiting = waiting
    terms = Terms(text)
    for run in runs:
        whole = recorder.get_run(run["run_id"], run["wpk_id"])
        if whole is not None:  # it may have been deleted since
            hit: Any = {**run, "snippets": snippets(whole, terms)}
            hits.append(hit)
    return hits
