"""Values as JSON: of views, and of what was recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from runlog.web.render import iso


def plain(value: Any) -> Any:
    """Return a value for `json.dumps`: named tuples as objects, times by RFC 3339."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(one) for name, one in value._asdict().items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if type(value) is dict:
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, datetime):
        return iso(value.astimezone(UTC).timestamp())
    if type(value) is float and not isfinite(value):
        return json.dumps(value)  # JSON has no such number; recorders write a text
    return value


def to_json(value: Any, indent: int | None = None) -> bytes:
    """Return the JSON of a value, of ASCII characters alone."""
    return json.dumps(plain(value), indent=indent, default=str).encode()
