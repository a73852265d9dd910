"""What runs cost, by runlog.prices: imported only when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def cost_of(run: Any) -> Any:
    """Return what a run cost, as a Decimal; None if a call of it has no price.

    Raises:
        runlog.ConfigError: the table of prices can't be used.
    """
    from runlog import prices

    return prices.cost(run).total


class Bill:
    """What runs cost together, added up while somebody else reads them."""

    def __init__(self) -> None:
        from decimal import Decimal

        self.total: Any = Decimal(0)
        """A Decimal; None once a run has no price."""

    def add(self, runs: Iterable[Any]) -> Iterable[Any]:
        """Yield the runs, and add up what they cost."""
        for run in runs:
            if self.total is not None:
                one = cost_of(run)
                self.total = None if one is None else self.total + one
            yield run
