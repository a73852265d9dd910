"""Addresses: what a query string asks for, and links that keep the rest of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request

from runlog.reading.errors import WrongUsageError
from runlog.reading.times import parse_time

API = "/api/v1"
"""Where the addresses of the API begin."""
_LONGEST = 4096
"""Characters of a parameter."""
_MANY = 64
"""Parameters of an address."""
_PLAIN = "/!$&'()*+,:;=@[]|~"
"""Characters that browsers leave as they are in a path, beside letters and digits."""


def path_of(scope: Any) -> str:
    """The path of a request, from where the page's own addresses begin."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def cookie_path(scope: Any) -> str:
    """The path of the page's cookies: where its addresses begin, as browsers write it.

    No path of a cookie can have a semicolon: such a page's cookies are those of the path
    around it.
    """
    root = quote(scope.get("root_path", ""), safe=_PLAIN)
    whole, cut, _ = root.partition(";")
    return (whole.rpartition("/")[0] if cut else whole) + "/"


def is_api(scope: Any) -> bool:
    """Whether a request is one of the API, whose errors are JSON."""
    return path_of(scope).startswith(f"{API}/")


class Asked:
    """What a request asks for."""

    def __init__(self, request: Request) -> None:
        """Read the address of a request.

        Raises:
            WrongUsageError: it has too many parameters, or one that is too long.
        """
        found = request.query_params.multi_items()
        if len(found) > _MANY:
            raise WrongUsageError(f"the address has more than {_MANY} parameters")
        for name, value in found:
            if len(value) > _LONGEST or "\0" in value:
                raise WrongUsageError(
                    f"{name[:40]} has {len(value):,} characters, or one of number 0: at "
                    f"most {_LONGEST:,} are read"
                )
        self.values = {name: value for name, value in found if value}
        path = path_of(request.scope)
        self.page = path.strip("/")
        self.base = "../" * max(0, path.count("/") - 1) or "./"
        """Leads from the address to where the page's own addresses begin."""

    def __getitem__(self, name: str) -> str:
        """A parameter that has to be there.

        Raises:
            WrongUsageError: it is not.
        """
        if name not in self.values:
            raise WrongUsageError(f"the address has no {name}")
        return self.values[name]

    def get(self, name: str, default: str | None = None) -> str | None:
        """A parameter, or the default."""
        return self.values.get(name, default)

    def choose(self, name: str, known: Iterable[str], default: str) -> str:
        """A parameter that is one of some words.

        Raises:
            WrongUsageError: it is another.
        """
        given = self.values.get(name, default)
        if given not in known:
            raise WrongUsageError(f"{name} is {given!r}; it can be {', '.join(known)}")
        return given

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A parameter that is a whole number.

        Raises:
            WrongUsageError: it is none, or out of bounds.
        """
        given = self.values.get(name)
        if given is None:
            return default
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            raise WrongUsageError(f"{name} is {given!r}, which is no whole number")
        if not least <= int(given) <= most:
            raise WrongUsageError(f"{name} is {given}; it can be {least:,} to {most:,}")
        return int(given)

    def time(self, name: str) -> datetime | None:
        """A parameter that is a time, as the command line takes them."""
        given = self.values.get(name)
        return None if given is None else parse_time(given)

    def to(self, page: str, /, **values: Any) -> str:
        """The address of a page with the parameters given; None leaves one out.

        A parameter may have any name, also those of this method's own arguments.
        """
        given = {name: value for name, value in values.items() if value is not None}
        return (
            self.base
            + quote(page)
            + ("?" + urlencode(given, errors="replace") if given else "")
        )

    def here(self, /, **changes: Any) -> str:
        """The address of this page with some parameters changed."""
        return self.to(self.page, **{**self.values, **changes})
