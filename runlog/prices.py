"""What a run cost in money: computed from its tokens when it is read, never stored.

    from runlog import prices
    prices.cost(runlog.get_run("r1")).total    # Decimal("0.0123"), or None

The prices are those of a table of yours, else those of the package genai-prices. A sum
with a call whose price is not known is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal, localcontext
from os import PathLike
from typing import Any, NamedTuple

from runlog._price_tables import Pricer, Usage, make_pricer

__all__ = ["Cost", "cost"]

_NO_NAME = "unknown"
_EXACT = Context(prec=40)


class Cost(NamedTuple):
    """What a run cost, in the currency of the table; genai-prices has US dollars."""

    total: Decimal | None
    """The whole run; None if a call could not be priced."""
    by_model: dict[str, Decimal | None]
    """By model; None if one of its calls could not be priced."""
    by_node: dict[str, Decimal | None]
    """By the name of the node, without the nodes within it."""
    by_log: list[Decimal | None]
    """By node log, in their order."""
    unpriced: list[str]
    """The models of the calls that could not be priced, sorted."""


class _Item(NamedTuple):
    """A call, or several of one model, and its price."""

    model: str
    price: Decimal | None


def cost(
    run: Mapping[str, Any],
    table: Mapping[str, Mapping[str, float | Decimal]]
    | str
    | PathLike[str]
    | None = None,
) -> Cost:
    """Return what the model calls of a run cost.

    Args:
        run: a run as `get_run` returns it. Without node logs, as from `get_thread`, the
            totals in its metadata are priced, if they are of one model.
        table: prices for a million tokens by model and kind, or the path of a JSON file
            that has them: {"gpt-4o*": {"input": 2.5, "output": 10}}. Without it, the
            file RUNLOG_PRICES, else the package genai-prices if it is installed, else
            nothing has a price. docs/api.md, "Cost in money", has the rules.

    Returns:
        The sums. Nothing called costs 0; what has no price costs None.

    Raises:
        ConfigError: the table cannot be used; the message names the file and the place.
        TypeError: run is no mapping, or table is of another type.
    """
    if not isinstance(run, Mapping):
        raise TypeError(f"run must be what get_run returns, not {type(run).__name__}")
    price = make_pricer(table)
    with localcontext(_EXACT):
        return _cost(run, price)


def _cost(run: Mapping[str, Any], price: Pricer) -> Cost:
    logs = _dicts(run.get("node_logs"))
    bills = [list(_bill_log(log, price)) for log in logs]
    rest = list(_bill_rest(run, logs, price))
    items = [item for bill in (*bills, rest) for item in bill]
    by_log = [_sum(item.price for item in bill) for bill in bills]
    names = [_text(log.get("node")) or _NO_NAME for log in logs]
    return Cost(
        total=_sum(item.price for item in items),
        by_model=_group((item.model, item.price) for item in items),
        by_node=_group(zip(names, by_log, strict=True)),
        by_log=by_log,
        unpriced=sorted({item.model for item in items if item.price is None}),
    )


def _sum(prices: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for price in prices:
        if price is None:
            return None
        total += price
    return total


def _group(pairs: Iterable[tuple[str, Decimal | None]]) -> dict[str, Decimal | None]:
    groups: dict[str, list[Decimal | None]] = {}
    for name, price in pairs:
        groups.setdefault(name, []).append(price)
    return {name: _sum(prices) for name, prices in groups.items()}


def _bill_log(log: Mapping[str, Any], price: Pricer) -> Iterator[_Item]:
    """Price the calls of a node; if they were not kept, or not all, its totals."""
    calls = _dicts(log.get("calls"))
    asked = [call for call in calls if call.get("kind") == "llm"]
    if len(asked) >= _count(log.get("llm_calls")):
        yield from (_bill_call(call, price) for call in _innermost(calls))
    else:
        yield from _bill_totals(log, price)


def _innermost(calls: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The model calls within which no model was called: others pass on their tokens."""
    around = set()
    for place, call in enumerate(calls):
        inner, outer = place, call.get("parent")
        is_llm = call.get("kind") == "llm"
        while (
            is_llm and type(outer) is int and 0 <= outer < inner and outer not in around
        ):
            around.add(outer)
            inner, outer = outer, calls[outer].get("parent")
    for place, call in enumerate(calls):
        if call.get("kind") == "llm" and place not in around:
            yield call


def _bill_call(call: Mapping[str, Any], price: Pricer) -> _Item:
    model = _text(call.get("model")) or _text(call.get("name")) or _NO_NAME
    tokens = call.get("tokens")
    if call.get("cached") is True or (tokens is None and _came_to_nothing(call)):
        return _Item(model, Decimal(0))
    counts = count_kinds(tokens)
    if counts is None:
        return _Item(model, None)
    provider, at = _text(call.get("provider")), _text(call.get("started_at"))
    return _Item(model, price(Usage(model, counts, provider, _tier(tokens), at)))


def _came_to_nothing(call: Mapping[str, Any]) -> bool:
    """Whether a call failed before anything of an answer came."""
    return (
        call.get("status") == "failed"
        and not call.get("outputs")
        and call.get("first_token_ms") is None
    )


def _bill_totals(log: Mapping[str, Any], price: Pricer) -> Iterator[_Item]:
    """Price the totals of a node or a run, which say nothing about single calls."""
    models = [name for name in log.get("models") or [] if isinstance(name, str)]
    counts = count_kinds(log.get("tokens")) if len(models) == 1 else None
    for model in models or [_NO_NAME]:
        at = _text(log.get("started_at"))
        usage = Usage(model, counts or {}, at=at)
        tier = _tier(log.get("tokens"))
        found = price(usage._replace(tier=tier)) if counts else None
        if tier and not _is_all_of(tier, log.get("tokens")) and found != price(usage):
            found = None  # some calls have the tier, and its price is another
        yield _Item(model, found)


def _bill_rest(
    run: Mapping[str, Any], logs: list[Mapping[str, Any]], price: Pricer
) -> Iterator[_Item]:
    """Price the calls that the run counts, but none of its node logs."""
    totals = run.get("metadata")
    if not isinstance(totals, Mapping):
        return
    calls = _count(totals.get("llm_calls"))
    if calls > sum(_count(log.get("llm_calls")) for log in logs):
        rest = _less(totals.get("tokens"), [log.get("tokens") for log in logs])
        known = rest if any(rest.values()) else None
        yield from _bill_totals({**totals, "tokens": known}, price)


def _less(tokens: object, others: list[object]) -> dict[str, Any]:
    """Take tokens from a sum, kind by kind."""
    rest: dict[str, Any] = {
        kind: _count(_member(tokens, kind))
        - sum(_count(_member(other, kind)) for other in others)
        for kind in ("input", "output")
    }
    for name in ("input_details", "output_details"):
        found = _member(tokens, name)
        if isinstance(found, Mapping):
            taken = [_member(other, name) for other in others]
            rest[name] = {
                kind: _count(found[kind])
                - sum(_count(_member(one, kind)) for one in taken)
                for kind in found
            }
    return rest


def count_kinds(tokens: object) -> dict[str, int] | None:
    """Count each token under one kind; None if the counts contradict one another.

    LangChain's `input` has all kinds of input in it, and `output` all kinds of output.
    """
    given, got = _member(tokens, "input"), _member(tokens, "output")
    if type(given) is not int or type(got) is not int:
        return None
    inputs = _details(tokens, "input_details")
    outputs = _details(tokens, "output_details")
    hour = inputs.get("ephemeral_1h_input_tokens", 0)
    write = max(  # langchain-anthropic has 0 for the sum where it has these two
        inputs.get("cache_creation", 0) - hour, inputs.get("ephemeral_5m_input_tokens", 0)
    )
    read, reasoning = inputs.get("cache_read", 0), outputs.get("reasoning", 0)
    given -= inputs.get("cached_answers", 0)  # of LangChain's cache: nothing is billed
    got -= outputs.get("cached_answers", 0)
    left, left_output = given - read - write - hour, got - reasoning
    if left < 0 or left_output < 0:
        return None
    heard = min(inputs.get("audio", 0), left)  # audio from a cache is priced as cached
    said = min(outputs.get("audio", 0), left_output)
    return {
        "input": left - heard,
        "cache_read": read,
        "cache_write": write,
        "cache_write_1h": hour,
        "audio_input": heard,
        "output": left_output - said,
        "reasoning": reasoning,
        "audio_output": said,
    }


_TIERS = ("flex", "priority")
"""langchain-openai puts these before the names of details: "flex_cache_read"."""


def _details(tokens: object, name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    details = _member(tokens, name)
    for key, value in details.items() if isinstance(details, Mapping) else ():
        tier, _, plain = key.partition("_")
        kind = plain if tier in _TIERS and plain else key
        found[kind] = found.get(kind, 0) + _count(value)
    return found


def _tier(tokens: object) -> str | None:
    for name in ("input_details", "output_details"):
        for key in _member(tokens, name) or ():
            if key.partition("_")[0] in _TIERS:
                return str(key.partition("_")[0])
    return None


def _is_all_of(tier: str, tokens: object) -> bool:
    """Whether all of a sum's input is of a tier."""
    details = _member(tokens, "input_details")
    parts = details.items() if isinstance(details, Mapping) else ()
    mine = sum(_count(count) for name, count in parts if name.partition("_")[0] == tier)
    return mine == _count(_member(tokens, "input"))


def _member(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _count(value: object) -> int:
    """The number of a count; 0 for anything else."""
    return value if isinstance(value, int) and value > 0 else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _dicts(value: object) -> list[Mapping[str, Any]]:
    """The dicts of a list; {} in the place of another element."""
    if not isinstance(value, list | tuple):
        return []
    return [one if isinstance(one, Mapping) else {} for one in value]
