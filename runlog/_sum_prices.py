"""What the tokens of many calls of a model cost, from the sums of their tokens.

A price is asked for a thousand tokens of a kind at a time: where a model costs more in a
long prompt, the price of a short one counts, as the sums do not say how long each was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from runlog._price_tables import Pricer, Usage, make_pricer
from runlog.prices import count_kinds

_ASKED: Final = 1000
"""Tokens, so few that no price of a long prompt counts."""


class SumPrices:
    """Prices by model and kind of tokens, remembered until they are renewed."""

    def __init__(self) -> None:
        self._price: Pricer = lambda _: None
        self._day = ""
        self._known: dict[tuple[str, str], Decimal | None] = {}

    def renew(self) -> None:
        """Look for prices, and forget those that may be others by now.

        Raises:
            runlog.ConfigError: the table of prices can't be used.
        """
        day = datetime.now(UTC).date().isoformat()
        if os.environ.get("RUNLOG_PRICES") or day != self._day:  # the file may be new
            self._price = make_pricer(None)
            self._day = day
            self._known = {}

    def price(self, model: str, tokens: Mapping[str, int]) -> Decimal | None:
        """Return what tokens cost; None if a kind has no price, or if counts contradict.

        Call `renew` before the first one.

        Args:
            model: its name.
            tokens: by kind, as `rollup.Model.tokens`.
        """
        kinds = count_kinds(_nested(tokens))
        if kinds is None:
            return None
        known = self._known  # another scrape may renew them meanwhile
        total = Decimal(0)
        for kind, number in kinds.items():
            if number:
                if (model, kind) not in known:
                    asked = Usage(model, {kind: _ASKED})
                    known[model, kind] = self._price(asked)
                one = known[model, kind]
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
