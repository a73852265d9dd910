"""Tables, arrays, tensors and images, as something to look at.

The encoder asks for a description where the whole value would be too large, or is not in
the memory of the process. A description has the type, the shape and the first values.
It never reads more than a few values, and never fetches any from a device, a file or a
server. No library is imported here: what a value is shows in its attributes.
"""

from __future__ import annotations

from itertools import islice
from math import prod

TYPE_CHECKING = False  # importing typing costs more than this module
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ROWS = 5
COLUMNS = 50
WHOLE = 1000
"""Elements of an array that is described with all of them."""
CORNER = 100
"""Elements of a larger one that are shown."""
REDACTED = "<redacted>"

_IN_MEMORY = frozenset({"numpy", "torch", "tensorflow", "jax", "jaxlib"})
"""Libraries whose arrays, on the CPU, can be sliced without reading a file."""


class _Found:
    """The members of a description, and what decides which there are."""

    def __init__(
        self,
        kind: type,
        hides: Callable[[Any, Any], bool],
        is_own: Callable[[Exception], bool],
    ) -> None:
        self.members: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
        self.hides = hides
        self._is_own = is_own

    def attempt(self, read: Callable[[], Any]) -> Any:
        """What a function returns; None if the value's own code raises."""
        try:
            return read()
        except Exception as error:  # noqa: BLE001  the user's code
            caught = error
        if not self._is_own(caught):  # no more of it is being handled here
            raise caught
        return None


def describe(
    value: Any, hides: Callable[[Any, Any], bool], is_own: Callable[[Exception], bool]
) -> Any:
    """Return a dict with what is to be stored for a value, or None for pandas' NA.

    Members that can't be read, as the value's own code raises, are left out. Of a
    structure of numpy's, the dict has its fields.

    Args:
        value: a table, an array, a structure, a tensor or an image.
        hides: whether a value is not stored under a name. It is asked for the labels of
            rows, under which nothing stands in a description.
        is_own: whether an exception is the value's own. One that belongs to the program,
            as what a handler of signals raises, is let through.
    """
    kind = type(value)
    if kind.__name__ == "NAType":
        return None
    library = _library(kind)
    if library == "numpy" and any(base.__name__ == "void" for base in kind.__mro__):
        return _of_fields(value.dtype, value.item())
    found = _Found(kind, hides, is_own)

    def fill() -> None:
        if library == "PIL":
            _describe_image(found, value)
        elif library == "polars":
            _describe_polars(found, value)
        elif library == "pandas":
            _describe_pandas(found, value)
        else:
            _describe_array(found, value, library)

    found.attempt(fill)
    return found.members


def _library(kind: type) -> str:
    """The library that a type, or the nearest of its bases in one, is from."""
    known = {"PIL", "polars", "pandas", *_IN_MEMORY}
    names = [base.__module__.partition(".")[0] for base in kind.__mro__]
    return next((name for name in names if name in known), names[0])


def _add(found: _Found, name: str, read: Callable[[], Any]) -> Any:
    """Add a member if it can be read and is not None; return it."""
    value = found.attempt(read)
    if value is not None:
        found.members[name] = value
    return value


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _by_label(labels: list[Any], columns: list[list[Any]]) -> dict[Any, Any]:
    """Columns by their labels; those that share a label are listed under it."""
    together: dict[Any, list[Any]] = {}
    for label, column in zip(labels, columns, strict=True):
        together.setdefault(label, []).append(column)
    return {
        label: columns[0] if len(columns) == 1 else columns
        for label, columns in together.items()
    }


def _describe_pandas(found: _Found, value: Any) -> None:
    shape = _add(found, "shape", lambda: _ints(value.shape))
    if not hasattr(value, "iloc"):  # an index, or an array of an extension
        _add(found, "dtype", lambda: str(value.dtype))
        _add(found, "head", lambda: _labels(value[:ROWS], found.hides))
    elif shape is not None and len(shape) == 1:
        part = value.iloc[:ROWS]
        _add(found, "dtype", lambda: str(value.dtype))
        labels = _add_pandas_index(found, part)
        _add(
            found,
            "head",
            lambda: _named(value.name, _by_row(labels, part.tolist(), found.hides)),
        )
    else:
        _describe_frame(found, value, shape)


def _labels(index: Any, hides: Callable[[Any, Any], bool]) -> list[Any]:
    """The labels of an index, or the values of an extension's array."""
    names = list(getattr(index, "names", ()))
    if len(names) > 1:
        return [
            tuple(
                REDACTED if hides(name, part) else part
                for name, part in zip(names, label, strict=True)
            )
            for label in index
        ]
    name = names[0] if names else None
    return [REDACTED if hides(name, label) else label for label in index]


def _by_row(
    labels: list[Any] | None, values: list[Any], hides: Callable[[Any, Any], bool]
) -> list[Any]:
    """The values of a column, without those under the label of a secret: a row of a table
    is a column whose labels are those of the table's columns.
    """
    if labels is None:
        return values
    pairs = zip(labels, values, strict=True)
    return [REDACTED if hides(label, value) else value for label, value in pairs]


def _named(name: Any, values: list[Any]) -> Any:
    """Values under the name of their series, by which they may be redacted."""
    return values if name is None else {name: values}


def _describe_frame(found: _Found, value: Any, shape: list[int] | None) -> None:
    part = value.iloc[:ROWS, :COLUMNS]
    columns = list(part.columns)
    _add(found, "columns", lambda: _with_mark(columns, shape[1] if shape else 0))
    _add(found, "dtypes", lambda: [str(dtype) for dtype in part.dtypes])
    labels = _add_pandas_index(found, part)

    def head() -> Any:
        rows = part.to_numpy(dtype=object).tolist()
        lists = [
            _by_row(labels, [row[i] for row in rows], found.hides)
            for i in range(len(columns))
        ]
        return _by_label(columns, lists)

    _add(found, "head", head)


def _add_pandas_index(found: _Found, part: Any) -> list[Any] | None:
    """The labels of the rows, unless they just count."""
    if type(part.index).__name__ == "RangeIndex":
        return None
    _add(found, "index", lambda: _labels(part.index, found.hides))
    labels: list[Any] | None = found.attempt(part.index.tolist)
    return labels


def _with_mark(labels: list[Any], count: int) -> list[Any]:
    rest = count - len(labels)
    return [*labels, f"<cut: {rest} columns>"] if rest > 0 else labels


def _describe_polars(found: _Found, value: Any) -> None:
    _add(found, "shape", lambda: _ints(value.shape))
    part = value.head(ROWS)
    if hasattr(value, "columns"):
        columns = list(islice(part.get_columns(), COLUMNS))
        labels = [column.name for column in columns]
        _add(found, "columns", lambda: _with_mark(labels, value.width))
        _add(found, "dtypes", lambda: [str(column.dtype) for column in columns])
        _add(found, "head", lambda: {column.name: column.to_list() for column in columns})
    else:
        _add(found, "dtype", lambda: str(value.dtype))
        _add(found, "head", lambda: _named(value.name or None, part.to_list()))


def _describe_image(found: _Found, value: Any) -> None:
    """The pixels of an image may still be in its file, and stay there."""
    _add(found, "size", lambda: _ints(value.size))
    _add(found, "mode", lambda: str(value.mode))
    _add(found, "format", lambda: value.format and str(value.format))


def _describe_array(found: _Found, value: Any, library: str) -> None:
    shape = _add(found, "shape", lambda: _ints(value.shape))
    _add(found, "dtype", lambda: str(value.dtype))
    _add(found, "bytes", lambda: int(value.nbytes))
    device = None
    if library != "numpy":
        device = _add(found, "device", lambda: _text_of(value.device))
    on_cpu = device is None or "cpu" in device.lower()
    if shape is None or library not in _IN_MEMORY or not on_cpu:
        return
    if prod(shape) <= WHOLE:
        _add(found, "values", lambda: _list_of(value))
    else:
        _add(found, "head", lambda: _list_of(value[_corner(shape)]))


def _text_of(device: Any) -> str | None:
    """Old versions of jax have a method for a device."""
    return None if device is None or callable(device) else str(device)


def _corner(shape: list[int]) -> tuple[slice, ...]:
    """The first elements of each dimension: of the last ones at most ROWS each."""
    left, slices = CORNER, []
    for size in reversed(shape):
        taken = max(1, min(size, ROWS, left))
        left //= taken
        slices.append(slice(taken))
    return tuple(reversed(slices))


def _list_of(array: Any) -> Any:
    """Nested lists. Of an array of structures, each element is a dict."""
    array = array.numpy() if not hasattr(array, "tolist") else array
    return _of_fields(array.dtype, array.tolist())


def _of_fields(dtype: Any, values: Any) -> Any:
    """What tolist() gives, with each structure, a tuple, as a dict of its fields."""
    names = getattr(getattr(dtype, "base", None), "names", None)
    if names is None:
        return values
    if isinstance(values, list):
        return [_of_fields(dtype, value) for value in values]
    if not isinstance(values, tuple):  # masked, or a part that is an array
        return values
    fields = dtype.base.fields
    return {
        name: _of_fields(fields[name][0], value)
        for name, value in zip(names, values, strict=True)
    }
