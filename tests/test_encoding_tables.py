"""Tables, arrays, tensors and images: what is stored to look at, and at what cost."""

from __future__ import annotations

import json
import re
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import PIL.Image
import polars as pl
import pytest

from runlog._runlog import encode_json

WHEN = pd.to_datetime(["2024-01-01T10:00", None])


def stored(value: Any, **options: Any) -> Any:
    """What is stored, which is valid JSON of standard numbers only."""

    def refuse(text: str) -> None:
        raise AssertionError(text)

    return json.loads(encode_json(value, **options), parse_constant=refuse)


def frame(**more: Any) -> pd.DataFrame:
    columns = {"price": [1.5, float("nan")], "when": WHEN, **more}
    return pd.DataFrame(columns)


def test_a_frame_has_its_shape_its_types_and_its_first_rows() -> None:
    assert stored({"df": frame()}) == {
        "df": {
            "type": "pandas.DataFrame",
            "shape": [2, 2],
            "columns": ["price", "when"],
            "dtypes": ["float64", str(WHEN.dtype)],
            "head": {"price": [1.5, "NaN"], "when": ["2024-01-01T10:00:00", "NaT"]},
        }
    }


COLUMNS: list[tuple[Any, Any]] = [
    ([1, 2], [1, 2]),
    ([True, False], [True, False]),
    (["a", None], ["a", None]),
    (pd.array([1, None], dtype="Int64"), [1, None]),
    (pd.Categorical(["x", "y"]), ["x", "y"]),
    (pd.to_timedelta([1, 90], unit="s"), [1.0, 90.0]),
    (pd.period_range("2024-01", periods=2, freq="M"), ["2024-01", "2024-02"]),
    (pd.interval_range(0, 2), ["(0, 1]", "(1, 2]"]),
    ([{"a": {1}}, [b"x"]], [{"a": [1]}, ["eA=="]]),
    ([np.float32(0.5), np.inf], [0.5, "Infinity"]),
    ([pd.Timestamp("2024-05-01", tz="UTC")] * 2, ["2024-05-01T00:00:00+00:00"] * 2),
]


@pytest.mark.parametrize(("column", "expected"), COLUMNS)
def test_the_values_of_a_column_are_those_of_their_types(
    column: Any, expected: Any
) -> None:
    got = stored(frame(column=column))["head"]["column"]
    if got[1:] == ["NaN"]:  # pandas 3 has a missing text as NaN
        got[1] = None
    assert got == expected


def test_a_column_is_redacted_by_its_name() -> None:
    table = pd.DataFrame([["sesame", 1, "sesame"]], columns=["password", "n", "password"])
    series = pd.Series(["sesame"], name="password")
    records = np.array([("sesame", 1)], dtype=[("password", "U9"), ("n", "i4")])
    for value in (table, series, records, pl.DataFrame({"password": ["sesame"]})):
        text = encode_json([value], redact=["password"]).decode()
        assert "sesame" not in text
        assert "<redacted>" in text


ROWS = pd.DataFrame({"user": ["u"], "password": ["sesame"], "n": [1]})
FIELDS = np.dtype([("user", "U9"), ("login", [("password", "U9"), ("n", "i4")], (1,))])
PAIR = np.dtype([("user", "U9"), ("password", "U9")])
RECORDS = np.array([("u", [("sesame", 1)])], dtype=FIELDS)
UNDER_A_LABEL = {
    "a row": ROWS.iloc[0],
    "a table on its side": ROWS.T,
    "an index": ROWS.set_index("password"),
    "levels of an index": ROWS.set_index(["user", "password"]),
    "an index alone": pd.Index(["sesame"], name="password"),
    "counts": ROWS["password"].value_counts(),
    "a structure": np.array([("u", "sesame")], PAIR)[0],
    "a record": np.array([("u", "sesame")], PAIR).view(np.recarray)[0],
    "structures in structures": RECORDS,
    "a structure in a structure": RECORDS[0],
}


@pytest.mark.parametrize("name", UNDER_A_LABEL)
def test_regression_what_stands_under_the_label_of_a_secret_is_hidden(name: str) -> None:
    """Where a table, an index or a structure has the name beside the value, too."""
    text = encode_json([UNDER_A_LABEL[name], {"n": 1}]).decode()
    assert "sesame" not in text and "<redacted>" in text
    assert "sesame" in encode_json([UNDER_A_LABEL[name]], redact=[]).decode()


def test_rows_and_structures_keep_what_is_no_secret() -> None:
    got = stored(ROWS.iloc[0])
    assert got["index"] == ["user", "password", "n"]
    assert got["head"] == {"0": ["u", "<redacted>", 1]}
    assert stored(RECORDS[0])["user"] == "u"
    assert stored([np.void(b"abc")]) == ["YWJj"]


def test_labels_that_occur_twice_and_labels_of_other_types() -> None:
    table = pd.DataFrame([[1, 2, 3]], columns=["a", "a", 7])
    got = stored(table)
    assert got["columns"] == ["a", "a", 7]
    assert got["head"] == {"a": [[1], [2]], "7": [3]}
    both = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    got = stored(pd.DataFrame([[1, 2], [3, 4]], columns=both, index=both))
    assert got["columns"] == got["index"] == [["a", 1], ["a", 2]]
    assert got["head"] == {'["a",1]': [1, 3], '["a",2]': [2, 4]}


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (pd.DataFrame(), [0, 0]),
        (pd.DataFrame(columns=["a"]), [0, 1]),
        (pd.DataFrame(index=["a"]), [1, 0]),
        (pd.Series([], dtype="float64"), [0]),
        (pl.DataFrame(), [0, 0]),
        (pl.Series("s", []), [0]),
    ],
)
def test_what_is_empty_has_a_shape(value: Any, shape: Any) -> None:
    got = stored(value)
    assert got["shape"] == shape
    assert not any(got["head"].values() if isinstance(got["head"], dict) else got["head"])


def test_series_indexes_and_columns_of_extensions() -> None:
    series = pd.Series([1, 2], index=["x", "y"], name="n")
    assert stored(series) == {
        "type": "pandas.Series",
        "shape": [2],
        "dtype": "int64",
        "index": ["x", "y"],
        "head": {"n": [1, 2]},
    }
    assert stored(series.reset_index(drop=True).rename(None))["head"] == [1, 2]
    assert stored(series.index)["head"] == ["x", "y"]
    got = stored(pd.Categorical(["x", "y"]))
    assert (got["dtype"], got["head"]) == ("category", ["x", "y"])
    assert stored([pd.NA, pd.NaT, pd.Timedelta(1, "s")]) == [None, "NaT", 1.0]


def test_polars() -> None:
    table = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    assert stored(table) == {
        "type": "polars.dataframe.frame.DataFrame",
        "shape": [2, 2],
        "columns": ["a", "b"],
        "dtypes": ["Int64", "String"],
        "head": {"a": [1, None], "b": ["x", "y"]},
    }
    assert stored(table["a"])["head"] == {"a": [1, None]}
    assert stored(table.lazy()) == "<polars.lazyframe.frame.LazyFrame>"


class Broken(pd.DataFrame):  # type: ignore[misc]
    """A table whose methods raise, but for those that pandas itself needs."""

    @property
    def iloc(self) -> Any:
        raise ZeroDivisionError


class Closed(pd.DataFrame):  # type: ignore[misc]
    @property
    def shape(self) -> Any:
        raise ZeroDivisionError


def test_a_table_whose_methods_raise_has_what_can_be_read() -> None:
    name = __name__
    assert stored(Broken({"a": [1]})) == {"type": f"{name}.Broken"} | {"shape": [1, 1]}
    assert stored(Closed({"a": [1]}))["head"] == {"a": [1]}
    mine = type("Mine", (pd.DataFrame,), {})
    assert stored(mine({"a": [1]}))["head"] == {"a": [1]}


def test_equal_tables_are_stored_alike() -> None:
    for make in (frame, lambda: pl.DataFrame({"a": [1]}), lambda: np.zeros(10**5)):
        first, second = make(), make()
        if isinstance(first, pd.DataFrame):
            _ = first.loc[0], first.index.get_loc(1), first.memory_usage()
        assert encode_json(first) == encode_json(second)


# Arrays


def test_a_large_array_is_described_and_a_smaller_one_stored() -> None:
    assert stored(np.arange(65_536)) == list(range(65_536))
    got = stored(np.arange(65_537))
    head = got.pop("head")
    assert head == [0, 1, 2, 3, 4]
    assert got == {
        "type": "numpy.ndarray",
        "shape": [65_537],
        "dtype": "int64",
        "bytes": 65_537 * 8,
    }
    cube = np.arange(10**6).reshape(100, 100, 100)
    assert stored(cube)["head"] == cube[:4, :5, :5].tolist()
    many = np.zeros((2,) * 20)
    assert np.array(stored(many)["head"]).size <= 100
    times = stored(np.zeros(10**5, dtype="datetime64[s]"))
    assert times["head"] == ["1970-01-01T00:00:00"] * 5
    assert stored(np.zeros((0, 10**6))) == []


def test_structures_masks_and_matrices() -> None:
    records = np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
    assert stored(records)["values"] == [{"a": 1, "b": 2.5}, {"a": 3, "b": 4.5}]
    assert stored(records.view(np.recarray))["values"][0] == {"a": 1, "b": 2.5}
    assert stored(records.reshape(2, 1))["values"][1] == [{"a": 3, "b": 4.5}]
    many = np.zeros(10**5, dtype=records.dtype)
    assert stored(many)["head"] == [{"a": 0, "b": 0.0}] * 5
    assert stored(np.ma.array([1, 2], mask=[False, True]))["values"] == [1, None]
    matrix = np.zeros((2, 2)).view(np.matrix)
    assert stored(matrix)["values"] == [[0.0, 0.0], [0.0, 0.0]]


class Tensor:
    """What a tensor of torch's shows of itself; it counts what is fetched."""

    fetched = 0

    def __init__(self, array: Any, device: str) -> None:
        self.array, self.place = array, device

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: f"torch.{self.array.dtype}")
    nbytes = property(lambda self: self.array.nbytes)
    device = property(lambda self: self.place)

    def __getitem__(self, key: Any) -> Tensor:
        Tensor.fetched += self.place != "cpu"
        return Tensor(self.array[key], self.place)

    def tolist(self) -> Any:
        Tensor.fetched += self.place != "cpu"
        if self.place == "sparse cpu":
            raise NotImplementedError
        return self.array.tolist()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("would copy all of it")


@pytest.fixture
def torch() -> Any:
    """The class in a module of that name, as torch itself is 2 GB."""
    Tensor.fetched = 0
    Tensor.__module__ = "torch"
    return Tensor


def test_a_tensor_on_the_cpu_has_values(torch: Any) -> None:
    array = np.arange(6, dtype="float32").reshape(2, 3)
    assert stored(torch(array, "cpu")) == {
        "type": "torch.Tensor",
        "shape": [2, 3],
        "dtype": "torch.float32",
        "bytes": 24,
        "device": "cpu",
        "values": array.tolist(),
    }
    large = np.zeros((1000, 1000))
    assert stored(torch(large, "cpu"))["head"] == [[0.0] * 5] * 5
    assert "values" not in stored(torch(array, "sparse cpu"))


@pytest.mark.parametrize("device", ["cuda:0", "meta", "mps:0", "xla:1"])
def test_a_tensor_elsewhere_is_never_fetched(torch: Any, device: str) -> None:
    got = stored([torch(np.zeros((2, 2)), device)])[0]
    assert (got["shape"], got["device"]) == ([2, 2], device)
    assert not {"values", "head"} & set(got)
    assert torch.fetched == 0


def test_an_array_of_a_file_or_a_server_is_never_read() -> None:
    class Dataset:
        shape, dtype, nbytes = (10, 10), "float32", 400

        def __getitem__(self, key: Any) -> Any:
            raise AssertionError("reads a file")

    got = stored(Dataset())
    assert got.pop("type").endswith("Dataset")
    assert got == {"shape": [10, 10], "dtype": "float32", "bytes": 400}


# Images


def test_an_image_has_its_size_and_stays_in_its_file(tmp_path: Path) -> None:
    image = PIL.Image.new("RGB", (30, 20))
    assert stored(image) == {"type": "PIL.Image.Image", "size": [30, 20], "mode": "RGB"}
    image.save(tmp_path / "a.png")
    with PIL.Image.open(tmp_path / "a.png") as opened:
        expected = {"size": [30, 20], "mode": "RGB", "format": "PNG"}
        assert stored(opened) == expected | {"type": "PIL.PngImagePlugin.PngImageFile"}
        assert opened._im is None  # no pixels were read


# What it costs


def test_the_work_does_not_grow_with_the_table() -> None:
    """By what is called and made: the table itself is never copied or walked."""
    tall, wide = pd.DataFrame(np.zeros((10**6, 4))), pd.DataFrame(np.zeros((2, 10**4)))
    objects = pd.DataFrame({"text": ["x" * 10_000] * 10**5})
    long = pl.DataFrame({"a": range(10**6)})
    for value in (tall, wide, objects, long, tall[0], long["a"]):
        stored(value)
        start = time.process_time()
        text = encode_json(value)
        assert time.process_time() - start < 0.5
        assert len(text) < 60_000
    assert len(stored(wide)["head"]) == 50
    assert stored(wide)["columns"][-1] == "<cut: 9950 columns>"


def test_no_library_is_imported() -> None:
    source = Path(sys.modules["runlog"].__file__ or "").with_name("_describe.py")
    imports = re.findall(r"^\s*(?:from|import) (\w+)", source.read_text(), re.MULTILINE)
    assert set(imports) <= {"__future__", "contextlib", "itertools", "math",
                            "collections", "typing"}  # fmt: skip


def test_a_name_alone_makes_no_table() -> None:
    assert stored(types.SimpleNamespace(shape=(1,), dtype="x")) == (
        "<types.SimpleNamespace>"
    )
