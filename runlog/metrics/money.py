"""What the calls of a workflow cost, from the sums of their tokens.

A price is asked for a thousand tokens of a kind at a time: where a model costs more in a
long prompt, the price of a short one counts, as the sums do not say how long each was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from runlog._price_tables import Pricer, Usage, make_pricer
from runlog.prices import count_kinds
from runlog.rollup import Block

_ASKED: Final = 1000
"""Tokens, so few that no price of a long prompt counts."""


class Cost(NamedTuple):
    """What a workflow cost."""

    dollars: float
    priced: int
    """Calls whose price is known."""
    unpriced: int


class Prices:
    """Prices by model and kind of tokens, remembered for a day."""

    def __init__(self) -> None:
        self._day = ""
        self._known: dict[tuple[str, str], Decimal | None] = {}

    def costs(self, blocks: list[Block]) -> dict[str, Cost]:
        """Return what each workflow that called a model cost.

        Raises:
            runlog.ConfigError: the table of prices can't be used.
        """
        price = make_pricer(None)
        day = datetime.now(UTC).date().isoformat()
        if os.environ.get("RUNLOG_PRICES") or day != self._day:  # the file may be new
            self._day = day
            self._known = {}
        found = {}
        for block in blocks:
            calls = block.run.calls["llm"]
            if calls or block.models:
                found[block.workflow] = self._cost(block, calls, price)
        return found

    def _cost(self, block: Block, calls: int, price: Pricer) -> Cost:
        dollars, priced, named = Decimal(0), 0, 0
        for name, model in block.models.items():
            named += model.calls
            one = self._price(name, model.tokens, price)
            if one is not None:
                dollars += one
                priced += model.calls
        return Cost(float(dollars), priced, max(named, calls) - priced)

    def _price(
        self, model: str, tokens: Mapping[str, int], price: Pricer
    ) -> Decimal | None:
        kinds = count_kinds(_nested(tokens))
        if kinds is None:
            return None
        total = Decimal(0)
        for kind, number in kinds.items():
            if number:
                if (model, kind) not in self._known:
                    asked = Usage(model, {kind: _ASKED})
                    self._known[model, kind] = price(asked)
                one = self._known[model, kind]
                if one is None:
                    return None
                total += one * number / _ASKED
        return total


def _nested(tokens: Mapping[str, int]) -> dict[str, object]:
    """The counts as a log has them: "input_details.cache_read" within "input_details"."""
    found: dict[str, object] = {"input": 0, "output": 0}
    for name, number in tokens.items():
        outer, _, inner = name.partition(".")
        if inner:
            details = found.setdefault(outer, {})
            assert isinstance(details, dict)
            details[inner] = number
        else:
            found[name] = number
    return found
