"""What a call of a model costs, by a price table of the user's or by genai-prices."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from runlog._imports import importing
from runlog._runlog import ConfigError

FALLBACKS = {
    "input": None,
    "output": None,
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}
"""The kinds of tokens, and the kind whose price counts where a model has none of it."""

_GENAI = {
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "audio_input": "input_audio_tokens",
    "reasoning": "output_reasoning_tokens",
    "audio_output": "output_audio_tokens",
}
"""What genai-prices calls the kinds that are part of another."""

_GENAI_NONE = ("cache_audio_read_tokens", "cache_audio_write_tokens")
"""No token counts as both: genai-prices wants to be told."""

_MOST = 10**9
_MILLION = 10**6


class Usage(NamedTuple):
    """The tokens of a call, and what their price may depend on."""

    model: str
    tokens: Mapping[str, int]
    """By kind. Each token is counted once: `input` are those of no other kind."""
    provider: str | None = None
    tier: str | None = None
    """The provider's service tier, such as "flex"."""
    at: str | None = None
    """When the call began, as ISO text."""


Pricer = Callable[[Usage], Decimal | None]
"""Returns the price of a call; None if the model has none."""

_Prices = Mapping[str, Decimal]


def make_pricer(table: object) -> Pricer:
    """Return what prices calls; `table` as for `runlog.prices.cost`."""
    if table is None:
        path = os.environ.get("RUNLOG_PRICES")
        if path:
            return _Table(_read_file(path, f"RUNLOG_PRICES: {path}")).price
        return _ask_genai
    if isinstance(table, str | os.PathLike):
        return _Table(_read_file(table, os.fspath(table))).price
    if isinstance(table, Mapping):
        return _Table(_check(table, "table")).price
    raise TypeError(f"table must be a dict, a path or None, not {type(table).__name__}")


class _Table:
    """A table whose patterns are in the order in which they are tried."""

    def __init__(self, table: Mapping[str, _Prices]) -> None:
        ordered = sorted(table, key=_specificity, reverse=True)
        self._entries = [(pattern.lower(), table[pattern]) for pattern in ordered]
        self._found: dict[tuple[str, str | None], _Prices | None] = {}

    def price(self, usage: Usage) -> Decimal | None:
        key = usage.model, usage.tier
        if key not in self._found:
            self._found[key] = self._find(usage.model.lower(), usage.tier)
        prices = self._found[key]
        if prices is None:
            return None
        parts = (n * _price_of(prices, kind) for kind, n in usage.tokens.items())
        return sum(parts, Decimal(0)) / _MILLION

    def _find(self, model: str, tier: str | None) -> _Prices | None:
        """Find the prices of "model:tier", else those of the model."""
        if tier:
            name, end = f"{model}:{tier}", f":{tier}"
            for pattern, prices in self._entries:
                if pattern.endswith(end) and fnmatchcase(name, pattern):
                    return prices
        found = (
            prices for pattern, prices in self._entries if fnmatchcase(model, pattern)
        )
        return next(found, None)


def _specificity(pattern: str) -> tuple[bool, int]:
    """Sort key: a plain name counts more than a pattern, then the one that says more."""
    wild = sum(pattern.count(one) for one in "*?[")
    return wild == 0, len(pattern) - wild


def _price_of(prices: _Prices, kind: str) -> Decimal:
    while kind not in prices:
        kind = FALLBACKS[kind] or "input"
    return prices[kind]


class _Stamp(NamedTuple):
    """What tells that a file was read already."""

    path: str
    inode: int
    bytes: int
    changed: int


_last: tuple[_Stamp, Mapping[str, _Prices]] | None = None
"""The table that was read last: who shows many runs reads it once."""


def _read_file(path: str | os.PathLike[str], place: str) -> Mapping[str, _Prices]:
    """Read a table from a JSON file; `place` names it in errors."""
    global _last
    file = Path(path).expanduser()
    try:
        facts = file.stat()
        stamp = _Stamp(str(file), facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if _last is None or _last[0] != stamp:
            _last = stamp, _check(_parse(file.read_text("utf-8-sig"), place), place)
        return _last[1]
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: is not UTF-8 at byte {error.start}") from error


def _parse(text: str, place: str) -> object:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f'{place}: "{twice}" is there twice')
        return members

    try:
        return json.loads(
            text, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=once
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{place}: {where}: {error.msg}") from error
    except RecursionError as error:
        raise ConfigError(f"{place}: is nested too deeply") from error


def _check(table: object, place: str) -> Mapping[str, _Prices]:
    """Return the table with its numbers as Decimal. Raises ConfigError."""
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{place}: must be an object that has prices by model, "
            f"not {type(table).__name__}"
        )
    return {
        _check_name(pattern, place): _check_prices(prices, f'{place}: "{pattern}"')
        for pattern, prices in table.items()
    }


def _check_name(pattern: object, place: str) -> str:
    if not isinstance(pattern, str):
        raise ConfigError(f"{place}: models must be text, not {type(pattern).__name__}")
    return pattern


def _check_prices(prices: object, place: str) -> _Prices:
    if not isinstance(prices, Mapping):
        raise ConfigError(
            f"{place} must be an object that has prices by kind, "
            f"not {type(prices).__name__}"
        )
    for kind in prices:
        if kind not in FALLBACKS:
            kinds = ", ".join(FALLBACKS)
            raise ConfigError(f"{place}.{kind} is no kind of tokens; there are {kinds}")
    for kind in ("input", "output"):
        if kind not in prices:
            raise ConfigError(f"{place}.{kind} is missing")
    return {kind: _check_price(prices[kind], f"{place}.{kind}") for kind in prices}


def _check_price(price: object, place: str) -> Decimal:
    if isinstance(price, bool) or not isinstance(price, int | float | Decimal):
        shown = type(price).__name__
    else:
        number = Decimal(repr(price)) if isinstance(price, float) else Decimal(price)
        if number.is_finite() and 0 <= number <= _MOST:
            return number
        shown = str(number) if len(str(number)) < 40 else f"{number:.2E}"
    raise ConfigError(
        f"{place} must be a number of 0 or more, up to {_MOST:,}, not {shown}"
        if shown[:1].isdigit()
        else f"{place} must be a number of 0 or more, not {shown}"
    )


@cache
def _genai_prices() -> Any:
    """The package genai-prices, whose import takes a quarter of a second; else None."""
    try:
        with importing:
            import genai_prices
    except ModuleNotFoundError as error:
        if error.name != "genai_prices":
            raise
        return None
    return genai_prices


def _ask_genai(usage: Usage) -> Decimal | None:
    """Ask genai-prices for a price; without the package, no model has one."""
    package = _genai_prices()
    if package is None:
        return None
    try:
        found = package.calc_price(
            package.Usage(**_genai_tokens(usage.tokens)),
            usage.model,
            provider_id=usage.provider,
            genai_request_timestamp=_time(usage.at),
            price_context={"service_tier": usage.tier} if usage.tier else None,
        )
    except (LookupError, ValueError):  # an unknown model; tokens that it can't price
        return None
    prices = found.model_price
    has_both = prices.input_mtok is not None and prices.output_mtok is not None
    return found.total_price if has_both else None


def _genai_tokens(tokens: Mapping[str, int]) -> dict[str, int]:
    """Count as genai-prices does: the whole has its parts in it."""
    counts = {name: tokens.get(kind, 0) for kind, name in _GENAI.items()}
    counts["cache_write_tokens"] = sum(
        tokens.get(kind, 0) for kind in ("cache_write", "cache_write_1h")
    )
    inputs = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input")
    counts["input_tokens"] = sum(tokens.get(kind, 0) for kind in inputs)
    outputs = ("output", "reasoning", "audio_output")
    counts["output_tokens"] = sum(tokens.get(kind, 0) for kind in outputs)
    return counts | dict.fromkeys(_GENAI_NONE, 0)


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
