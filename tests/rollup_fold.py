"""What the roll-up has to say, computed in Python over what `get_run` returns."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runlog.rollup import BLOCK_SECONDS, Block, Failure, Figures, Model, Path

ENDED = ("completed", "failed", "interrupted", "cancelled")
BESIDE = ("llm", "tool", "retriever", "event")
MOST = 2**53
_BASIS = 14695981039346656037
_PRIME = 1099511628211


def number(value: Any, scale: int = 1) -> int | None:
    """A number that is not negative, rounded as the roll-up does."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    if not math.isfinite(value) or value * scale >= MOST:
        return MOST
    return math.floor(value * scale + (0.5 if scale > 1 else 0))


def text(value: Any, most: int = 200) -> str | None:
    """A text that is not empty, up to so many bytes."""
    if not isinstance(value, str) or not value:
        return None
    return value.encode()[:most].decode(errors="ignore")


def add_tokens(figures: Figures | Model, tokens: Any, prefix: str = "") -> None:
    """Add the numbers of an object."""
    if not isinstance(tokens, dict):
        return
    for name, value in tokens.items():
        count = number(value)
        if count is not None:
            figures.tokens[prefix + name] += count
        elif not prefix and isinstance(value, dict):
            add_tokens(figures, value, name + ".")


def add_sizes(figures: Figures, tokens: Any) -> None:
    """Add the tokens, and their total to the sizes."""
    add_tokens(figures, tokens)
    total = number(tokens.get("total")) if isinstance(tokens, dict) else None
    if total:
        figures.sizes.put(total)


def add_call(block: Block, call: Any) -> None:
    """Add a call that says which model it asked."""
    if isinstance(call, dict) and call.get("kind") == "llm" and text(call.get("model")):
        model = block.models.setdefault(call["model"], Model())
        model.calls += 1
        if call.get("cached") is not True:
            add_tokens(model, call.get("tokens"))


def add_counted(block: Block, log: Any) -> int:
    """Add the calls that a node or a run counts, if all are of one model."""
    models, calls = log.get("models"), number(log.get("llm_calls")) or 0
    if not isinstance(models, list) or len(models) != 1 or calls == 0:
        return 0
    if text(models[0]):
        model = block.models.setdefault(models[0], Model())
        model.calls += calls
        add_tokens(model, log.get("tokens"))
    return calls


def add_models(block: Block, run: Any, metadata: dict[str, Any]) -> None:
    """Add the models of a run that was recorded without its calls."""
    logs = [log for log in run.get("node_logs") or [] if isinstance(log, dict)]
    calls = [call for log in logs for call in log.get("calls") or []]
    asked = any(isinstance(call, dict) and call.get("kind") == "llm" for call in calls)
    if not asked and number(metadata.get("llm_calls")):
        counted = sum(add_counted(block, log) for log in logs)
        if counted == 0:
            add_counted(block, metadata)


def fnv(data: bytes) -> int:
    """FNV-1a."""
    found = _BASIS
    for byte in data:
        found = (found ^ byte) * _PRIME % 2**64
    return found


def seconds(value: Any) -> float | None:
    """Microseconds since 1970 of a text of runlog's."""
    if isinstance(value, str) and re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value
    ):
        stamp = datetime.fromisoformat(value)
        return round((stamp - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    return None


@dataclass
class Seen:
    """What is known of a run by its node logs up to one of them."""

    run: Any
    firsts: Counter[str] = field(default_factory=Counter)
    retried: set[str] = field(default_factory=set)
    failed_end: dict[str, float | None] = field(default_factory=dict)
    path: int = _BASIS
    first_failed: str | None = None
    retries: int = 0
    waited: int = 0

    def retry(self, name: str, node: Figures, started: float | None) -> None:
        """Add an attempt after the first one."""
        before = self.failed_end.get(name)
        if started is not None and before is not None and started > before:
            node.waited_us += int(started - before)
            self.waited += int(started - before)
        node.retries += 1
        self.retries += 1
        if name not in self.retried:
            self.retried.add(name)
            node.retried += 1
            node.recovered += self.run["status"] == "completed"


def fold_log(block: Block, seen: Seen, log: dict[str, Any]) -> None:
    """Add a node log."""
    run = seen.run
    for call in log.get("calls") or []:
        add_call(block, call)
    name = text(log.get("node")) or text(log.get("name")) or "?"
    if name not in seen.failed_end:
        seen.path = (seen.path ^ fnv(name.encode())) * _PRIME % 2**64
    node = block.nodes.setdefault(name, Figures())
    status = log.get("status")
    node.statuses[status if status in (*ENDED, "running") else "other"] += 1
    if status == "failed" and seen.first_failed is None:
        seen.first_failed = name
    us = number(log.get("duration_ms"), 1000)
    started = seconds(log.get("started_at"))
    if us is not None:
        node.durations.put(us)
        slowest(node, us, run["run_id"])
    if (number(log.get("attempt")) or 1) > 1:
        seen.retry(name, node, started)
    else:
        seen.firsts[name] += 1
        repeats(node, seen.firsts[name], run["run_id"])
    ended = None if us is None or started is None else started + us
    seen.failed_end[name] = ended if status == "failed" else None
    add_sizes(node, log.get("tokens"))
    node.calls["llm"] += number(log.get("llm_calls")) or 0
    node.calls["tool"] += number(log.get("tool_calls")) or 0


def fold_logs(block: Block, run: Any) -> str | None:
    """Add the node logs of a run; return the first node that failed."""
    logs = run.get("node_logs")
    seen = Seen(run)
    for log in logs if isinstance(logs, list) else []:
        if isinstance(log, dict):
            fold_log(block, seen, log)
    block.run.retries += seen.retries
    block.run.retried += seen.retries > 0
    block.run.recovered += seen.retries > 0 and run["status"] == "completed"
    block.run.waited_us += seen.waited
    if seen.firsts:
        repeats(block.run, max(seen.firsts.values()), run["run_id"])
    if seen.failed_end:
        key = f"{seen.path:016x}"
        known = block.paths.get(key, Path(0, run["run_id"]))
        block.paths[key] = Path(known.number + 1, known.run)
    return seen.first_failed


def slowest(figures: Figures, us: int, run: str) -> None:
    """Keep the greatest."""
    if us > figures.slowest_us:
        figures.slowest_us, figures.slowest_in = us, run


def repeats(figures: Figures, number: int, run: str) -> None:
    """Keep the greatest."""
    if number > figures.repeats:
        figures.repeats = number
        figures.repeated_in = run if number > 1 else None


def fold_run(block: Block, run: Any) -> None:
    """Add a run, unless it is open."""
    if run["status"] in ("running", "lost"):
        return
    first_failed = fold_logs(block, run)
    figures = block.run
    figures.statuses[run["status"] if run["status"] in ENDED else "other"] += 1
    if run["duration_ms"] is not None and run["duration_ms"] >= 0:
        figures.durations.put(run["duration_ms"] * 1000)
        slowest(figures, run["duration_ms"] * 1000, run["run_id"])
    metadata = run["metadata"] if isinstance(run.get("metadata"), dict) else {}
    add_models(block, run, metadata)
    add_sizes(figures, metadata.get("tokens"))
    figures.calls["llm"] += number(metadata.get("llm_calls")) or 0
    figures.calls["tool"] += number(metadata.get("tool_calls")) or 0
    if run["status"] == "failed":
        totals = metadata.get("totals")
        at = text(totals.get("at")) if isinstance(totals, dict) else None
        error = text(run["error_type"]) or ""
        said = text(run["error_text"], 240) or ""
        add_failure(block, error, at or first_failed, said, run)


def add_failure(block: Block, error: str, node: str | None, said: str, run: Any) -> None:
    """Add a failed run to those that are alike."""
    key = (error, node, re.sub(r"[0-9]+", "0", said))
    for one in block.failures:
        if (one.error, one.node, re.sub(r"[0-9]+", "0", one.text)) == key:
            one.number += 1
            one.first = min(one.first, run["created_at"])
            one.last = max(one.last, run["created_at"])
            one.runs.append(run["run_id"])
            return
    created = run["created_at"]
    block.failures.append(
        Failure(error, node, said, 1, created, created, [run["run_id"]])
    )


def fold(runs: Iterable[Any]) -> dict[tuple[str, datetime], Block]:
    """The blocks of runs, by workflow and beginning."""
    blocks: dict[tuple[str, datetime], Block] = {}
    for run in sorted(runs, key=lambda one: one["created_at"]):
        since = datetime.fromtimestamp(
            run["created_at"].timestamp() // BLOCK_SECONDS * BLOCK_SECONDS, UTC
        )
        key = (run["wpk_id"], since)
        fold_run(blocks.setdefault(key, Block(run["wpk_id"], since)), run)
    return blocks


def exact(block: Block, *, examples: bool = True) -> dict[str, Any]:
    """What two blocks must have in common, whatever order their runs were counted in."""

    def figures(one: Figures) -> dict[str, Any]:
        return {
            "statuses": dict(+one.statuses),
            "numbers": (one.retries, one.retried, one.recovered, one.waited_us),
            "durations": (dict(+one.durations.counts), one.durations.total),
            "sizes": (dict(+one.sizes.counts), one.sizes.total),
            "tokens": dict(+one.tokens),
            "calls": dict(+one.calls),
            **({"most": (one.repeats, one.slowest_us)} if examples else {}),
        }

    def failure(one: Failure) -> tuple[Any, ...]:
        key = (one.error, one.node or "", re.sub(r"[0-9]+", "0", one.text), one.number)
        return (*key, one.first, one.last) if examples else key

    found = {name: figures(one) for name, one in block.nodes.items()}
    empty = figures(Figures())
    return {
        "run": figures(block.run),
        "nodes": {name: one for name, one in found.items() if one != empty},
        "models": {
            name: (one.calls, dict(+one.tokens)) for name, one in block.models.items()
        },
        "failures": sorted(failure(one) for one in block.failures),
        "paths": {key: one.number for key, one in block.paths.items()},
        "left": (block.failures_left, block.paths_left, block.models_left),
    }
