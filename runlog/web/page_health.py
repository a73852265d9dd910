"""The page of health: what `runlog doctor` says, and the recorder's own figures."""

from __future__ import annotations

from typing import Any

from runlog.reading.checks import Check, checks_of
from runlog.web.address import Asked
from runlog.web.source import Source


def read_checks(source: Source) -> list[Check]:
    """Look for faults. A recorder that was given is looked at by its figures alone."""
    if source.place is None:
        found = source.open().stats()
        return [Check("store", "ok", f"{found['store']}, that of this program")]
    return list(checks_of(source.place, source.open))


def health(source: Source, _: Asked) -> dict[str, Any]:
    """Read what the page shows."""
    checks = read_checks(source)
    away = any(check.away for check in checks)
    return {"checks": checks, "figures": {} if away else source.open().stats()}
