"""What the calls of a workflow cost, from the sums of their tokens."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from runlog._sum_prices import SumPrices
from runlog.rollup import Block


class Cost(NamedTuple):
    """What a workflow cost."""

    dollars: float
    priced: int
    """Calls whose price is known."""
    unpriced: int


def costs(blocks: list[Block], prices: SumPrices) -> dict[str, Cost]:
    """Return what each workflow that called a model cost.

    Raises:
        runlog.ConfigError: the table of prices can't be used.
    """
    prices.renew()
    return {
        block.workflow: _cost(block, prices)
        for block in blocks
        if block.run.calls["llm"] or block.models
    }


def _cost(block: Block, prices: SumPrices) -> Cost:
    dollars, priced, named = Decimal(0), 0, 0
    for name, model in block.models.items():
        named += model.calls
        one = prices.price(name, model.tokens)
        if one is not None:
            dollars += one
            priced += model.calls
    return Cost(float(dollars), priced, max(named, block.run.calls["llm"]) - priced)
