"""The node logs of a run in one form, whatever a program has stored as such."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple


class Log(NamedTuple):
    """A node log."""

    place: int
    """Its place among the run's node logs."""
    node: str
    status: str
    step: int | None
    attempt: int
    """From 1."""
    parent: str | None
    """The name of the node around it."""
    started: float | None
    """Seconds since 1970."""
    duration_ms: float | None
    error_type: str | None
    error_text: str | None
    error_traceback: str | None
    raw: dict[str, Any]
    """The log as `get_run` gives it."""

    @property
    def inputs(self) -> Any:
        """What the node was given."""
        return self.raw.get("inputs")

    @property
    def outputs(self) -> Any:
        """What the node returned."""
        return self.raw.get("outputs")

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of models, tools and retrievers."""
        return dicts(self.raw.get("calls"))

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the node dispatched."""
        return dicts(self.raw.get("events"))


def read_logs(run: Any) -> list[Log]:
    """Return the node logs of a run, in their order.

    A node that was at work when the process died is lost, as its run is.

    Args:
        run: a run as `get_run` returns it; one without node logs has none.
    """
    found = [_read(index, raw) for index, raw in enumerate(dicts(run.get("node_logs")))]
    if run.get("status") != "lost":
        return found
    return [
        log._replace(status="lost") if log.status == "running" else log for log in found
    ]


def _read(index: int, raw: dict[str, Any]) -> Log:
    attempt = number(raw.get("attempt"))
    step = number(raw.get("step"))
    return Log(
        index,
        text(raw.get("node")) or text(raw.get("name")) or "?",
        text(raw.get("status")) or "unknown",
        None if step is None else int(step),
        1 if attempt is None else int(attempt),
        text(raw.get("parent")),
        seconds(raw.get("started_at")),
        number(raw.get("duration_ms")),
        text(raw.get("error_type")),
        text(raw.get("error_text")),
        text(raw.get("error_traceback")),
        raw,
    )


def dicts(value: Any) -> list[dict[str, Any]]:
    """The dicts of a list; [] for anything else."""
    return [one for one in value if isinstance(one, dict)] if type(value) is list else []


def text(value: Any) -> str | None:
    """The value if it is a text that is not empty."""
    return value if type(value) is str and value else None


def number(value: Any) -> float | None:
    """The value if it is a finite number."""
    if type(value) is int or (type(value) is float and abs(value) < float("inf")):
        return value if abs(value) < 1e18 else None
    return None


def seconds(value: Any) -> float | None:
    """Seconds since 1970 of a datetime or an ISO text; None for anything else."""
    if type(value) is str:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def began(run: Any) -> float | None:
    """When a run began, in seconds since 1970."""
    started = seconds(run.get("started_at"))
    return seconds(run.get("created_at")) if started is None else started


def fact(run: Any, name: str) -> Any:
    """A member of the run's metadata, or None."""
    metadata = run.get("metadata")
    return metadata.get(name) if isinstance(metadata, dict) else None


def totals_of(row: Any) -> dict[str, Any]:
    """The totals of a row of `list_runs` or `get_thread`; {} without any."""
    found = row.get("totals") or fact(row, "totals")
    return found if isinstance(found, dict) else {}
