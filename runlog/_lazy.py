"""Dicts whose members are loaded at their first use."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from sys import intern
from typing import Any, Final

PENDING: Final = object()
"""What a LazyDict has in place of a member that it builds at each use."""


class LazyDict(dict[str, Any]):
    """A dict that is loaded at its first use. Some members are new at each use.

    Copies of it, by pickle too, are plain dicts. A subclass has `_load`, which gives the
    members, with PENDING for those that `_build` makes.
    """

    __slots__ = ("_used",)
    __hash__ = None

    def __init__(self) -> None:
        super().__init__(pending=PENDING)  # never empty: json.dumps looks at the size
        self._used = False

    def _load(self) -> dict[str, Any]:
        raise NotImplementedError

    def _build(self, key: str) -> Any:
        raise NotImplementedError

    def _use(self) -> dict[str, Any]:
        """The underlying dict, with all members."""
        if not self._used:
            members = {intern(key): value for key, value in self._load().items()}
            if not self._used:  # else another thread was first, and may have changed some
                super().update(members)  # all at once, and no reader finds it empty
                if "pending" not in members:
                    super().pop("pending", None)
                self._used = True
        return super()  # type: ignore[return-value]

    def _member(self, key: str, value: Any) -> Any:
        return self._build(key) if value is PENDING else value

    def __getitem__(self, key: str) -> Any:
        return self._member(key, self._use().__getitem__(key))

    def __setitem__(self, key: str, value: Any) -> None:
        self._use().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._use().__delitem__(key)

    def __contains__(self, key: object) -> bool:
        return self._use().__contains__(key)

    def __len__(self) -> int:
        return self._use().__len__()

    def __iter__(self) -> Iterator[str]:
        return self._use().__iter__()

    def __reversed__(self) -> Iterator[str]:
        return self._use().__reversed__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """As of a dict."""
        return KeysView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """As of a dict."""
        return ItemsView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """As of a dict."""
        return ValuesView(self)

    def get(self, key: str, default: Any = None, /) -> Any:
        """As of a dict."""
        return self._member(key, self._use().get(key, default))

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        """As of a dict."""
        return self._member(key, self._use().setdefault(key, default))

    def pop(self, key: str, /, *default: Any) -> Any:
        """As of a dict."""
        return self._member(key, self._use().pop(key, *default))

    def popitem(self) -> tuple[str, Any]:
        """As of a dict."""
        key, value = self._use().popitem()
        return key, self._member(key, value)

    def clear(self) -> None:
        """As of a dict."""
        self._use().clear()

    def update(self, *others: Any, **members: Any) -> None:
        """As of a dict."""
        self._use().update(*others, **members)

    def copy(self) -> dict[str, Any]:
        """As of a dict."""
        return dict(self)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    def __ne__(self, other: object) -> bool:
        return dict(self) != other

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)
