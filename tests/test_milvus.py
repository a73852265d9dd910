"""meaning/services/milvus.h against real servers, read back with the official client."""

from __future__ import annotations

import itertools
import math
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fixtures_milvus import MilvusServer
from fixtures_postgres import free_port
from milvus_driver import Driver, Result, Row, running_driver
from test_c import core_library

__all__ = ["core_library"]

NUMBERS = itertools.count(1)
FIELDS = ["id", "wpk_id", "status", "run_id", "created_at", "embedding"]
HOSTILE = [
    "plain",
    '"',
    "'",
    "\\",
    '\\"',
    '" or wpk_id != "',
    "' or 1 == 1 or wpk_id == '",
    '"] or id not in ["',
    "a\nb",
    "a\rb\tc",
    "a\x01\x1f\x7fb",
    "%s%n{}$0",
    "\\n",
    "\\u0041",
    "A",
    "a  b",
    " a",
    "é",
    "日本語",
    "\U0001f680",
    "a\u2028b",
]


@pytest.fixture
def driver(core_library: Path, milvus: MilvusServer) -> Iterator[Driver]:
    """A driver that trusts the server's certificate, with a new collection."""
    with running_driver(core_library, milvus.trust) as driver:
        driver.collection = f"runs_{next(NUMBERS)}"
        assert connect(driver, milvus).code == "OK"
        yield driver


@pytest.fixture
def offline(core_library: Path) -> Iterator[Driver]:
    """A driver without a connection."""
    with running_driver(core_library) as driver:
        yield driver


def connect(driver: Driver, server: MilvusServer, **options: Any) -> Result:
    return driver.open(server.endpoint, server.token, driver.collection, **options)


def rows_of(server: MilvusServer, collection: str, fields: list[str]) -> dict[str, Any]:
    """The rows of a collection by their ids."""
    with server.client() as client:
        found = client.query(
            collection, "id != ''", output_fields=fields, consistency_level="Strong"
        )
        return {row["id"]: row for row in found}


def ids(result: Result) -> list[str]:
    return [hit.id for hit in result.expect()]


def test_the_collection_is_created_and_filled(
    driver: Driver, milvus: MilvusServer
) -> None:
    rows = [
        Row("a", [0.25, -0.5, 1.5], "w1", "completed", "r1", 1_800_000_000_000_000),
        Row("b", [1.0, 0.0, 0.0], "w2", "failed", "r2", -5),
    ]
    assert driver.upsert(rows).code == "OK"
    name = driver.collection
    for row in rows_of(milvus, name, FIELDS).values():
        (wanted,) = (one for one in rows if one.id == row["id"])
        assert [row[field] for field in FIELDS[1:5]] == [
            wanted.wpk_id,
            wanted.status,
            wanted.run_id,
            wanted.created_at,
        ]
        assert list(row["embedding"]) == wanted.vector
    with milvus.client() as client:
        described = client.describe_collection(name)
        index = client.describe_index(name, "embedding")
        assert str(client.get_load_state(name)["state"]) == "Loaded"
    got = [(f["name"], f["type"].name, f["params"]) for f in described["fields"]]
    assert got == [
        ("id", "VARCHAR", {"max_length": 36}),
        ("wpk_id", "VARCHAR", {"max_length": 65535}),
        ("status", "VARCHAR", {"max_length": 64}),
        ("run_id", "VARCHAR", {"max_length": 65535}),
        ("created_at", "INT64", {}),
        ("embedding", "FLOAT_VECTOR", {"dim": 3}),
    ]
    assert [f["name"] for f in described["fields"] if f.get("is_primary")] == ["id"]
    assert not described["auto_id"]
    assert not any(f.get("is_partition_key") for f in described["fields"])
    assert (index["index_type"], index["metric_type"]) == ("HNSW", "COSINE")


def test_hits_match_the_filters(driver: Driver) -> None:
    angles = {"a": 0.0, "b": 0.2, "c": 0.4, "d": 0.6}
    rows = [
        Row(
            name,
            [math.cos(angle), math.sin(angle)],
            wpk_id="even" if name in "ac" else "odd",
            status="failed" if name in "cd" else "completed",
            created_at=i,
        )
        for i, (name, angle) in enumerate(angles.items())
    ]
    assert driver.upsert(rows).code == "OK"
    hits = driver.find([2.0, 0.0]).expect()
    assert [hit.id for hit in hits] == ["a", "b", "c", "d"]
    for hit in hits:
        assert hit.score == pytest.approx(math.cos(angles[hit.id]), abs=1e-5)
    assert ids(driver.find([1.0, 0.0], 2)) == ["a", "b"]
    assert ids(driver.find([1.0, 0.0], wpk_id="odd")) == ["b", "d"]
    assert ids(driver.find([1.0, 0.0], status="failed")) == ["c", "d"]
    assert ids(driver.find([1.0, 0.0], since=1)) == ["b", "c", "d"]
    assert ids(driver.find([1.0, 0.0], since=1, wpk_id="odd", status="failed")) == ["d"]
    assert ids(driver.find([1.0, 0.0], wpk_id="none")) == []
    assert ids(driver.find([1.0, 0.0], 16384)) == ["a", "b", "c", "d"]


def test_bounded_searches_see_upserts_soon(driver: Driver, milvus: MilvusServer) -> None:
    assert connect(driver, milvus, strong=False).code == "OK"
    assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
    deadline = time.monotonic() + 60
    while (found := ids(driver.find([1.0, 0.0]))) != ["a"]:
        assert not found
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_upsert_replaces_the_row(driver: Driver, milvus: MilvusServer) -> None:
    first = [Row("a", [1.0, 0.0]), Row("b", [1.0, 0.0])]
    assert driver.upsert(first).code == "OK"
    again = [Row("a", [0.0, 1.0], status="failed"), Row("c", [1.0, 0.0])]
    # the same id twice in a call: the last row wins
    again += [Row("c", [0.0, 1.0], status="failed"), Row("c", [0.0, 1.0], status="last")]
    assert driver.upsert(again).code == "OK"
    rows = rows_of(milvus, driver.collection, ["status"])
    assert {key: row["status"] for key, row in rows.items()} == {
        "a": "failed",
        "b": "completed",
        "c": "last",
    }
    assert sorted(ids(driver.find([0.0, 1.0]))) == ["a", "b", "c"]


def test_deleted_rows_are_no_hits(driver: Driver, milvus: MilvusServer) -> None:
    rows = [Row(f"id-{n}", [1.0, n / 10]) for n in range(1, 8)]
    assert driver.upsert(rows).code == "OK"
    assert driver.delete(["id-2", "id-4", "not there"]).code == "OK"
    assert driver.delete([]).code == "OK"
    assert ids(driver.find([1.0, 0.0])) == ["id-1", "id-3", "id-5", "id-6", "id-7"]
    left = {"id-1", "id-3", "id-5", "id-6", "id-7"}
    assert set(rows_of(milvus, driver.collection, ["id"])) == left


def test_a_missing_collection_is_empty(driver: Driver, milvus: MilvusServer) -> None:
    assert ids(driver.find([1.0, 0.0])) == []
    assert driver.delete(["a"]).code == "OK"
    with milvus.client() as client:
        assert driver.collection not in client.list_collections()


def test_a_dropped_collection_is_created_again(
    driver: Driver, milvus: MilvusServer
) -> None:
    assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
    with milvus.client() as client:
        client.drop_collection(driver.collection)
    assert ids(driver.find([1.0, 0.0])) == []
    assert driver.delete(["a"]).code == "OK"
    assert driver.upsert([Row("b", [1.0, 0.0])]).code == "OK"
    with milvus.client() as client:
        client.drop_collection(driver.collection)
    assert driver.upsert([Row("c", [1.0, 0.0])]).code == "OK"
    assert ids(driver.find([1.0, 0.0])) == ["c"]


def test_a_released_collection_is_loaded(driver: Driver, milvus: MilvusServer) -> None:
    assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
    with milvus.client() as client:
        client.release_collection(driver.collection)
    assert ids(driver.find([1.0, 0.0])) == ["a"]
    with milvus.client() as client:
        client.release_collection(driver.collection)
    assert driver.upsert([Row("b", [0.0, 1.0])]).code == "OK"
    assert ids(driver.find([1.0, 0.0])) == ["a", "b"]


def test_hostile_texts_are_values(driver: Driver) -> None:
    """Filters and ids are values, whatever they contain."""
    rows = [
        Row(f"{text}{n}"[-36:], [1.0, n / 100], wpk_id=text, status=text, run_id=text)
        for n, text in enumerate(HOSTILE)
    ]
    assert driver.upsert(rows).code == "OK"
    everything = [row.id for row in rows]
    assert sorted(ids(driver.find([1.0, 0.0], 100))) == sorted(everything)
    for row in rows:
        assert ids(driver.find([1.0, 0.0], 100, wpk_id=row.wpk_id)) == [row.id]
        assert ids(driver.find([1.0, 0.0], 100, status=row.status)) == [row.id]
    for row in rows[::2]:
        assert driver.delete([row.id]).code == "OK"
        everything.remove(row.id)
    assert driver.delete([row.id for row in rows[::2]]).code == "OK"
    assert sorted(ids(driver.find([1.0, 0.0], 100))) == sorted(everything)


def test_long_texts_are_cut(driver: Driver, milvus: MilvusServer) -> None:
    long = "a" + "\u20ac" * 30000
    most = "a" + "\u20ac" * 21844
    assert driver.upsert([Row("a", [1.0], long, "\u20ac" * 30, long)]).code == "OK"
    row = rows_of(milvus, driver.collection, ["wpk_id", "status", "run_id"])["a"]
    assert (row["wpk_id"], row["status"], row["run_id"]) == (most, "\u20ac" * 21, most)
    assert ids(driver.find([1.0], wpk_id=long, status="\u20ac" * 30)) == ["a"]


def test_many_rows_go_in_batches(driver: Driver) -> None:
    rows = [Row(f"{n}", [1.0, n / 100, *[0.0] * 382]) for n in range(3000)]
    assert driver.upsert(rows).code == "OK"
    hits = driver.find([1.0, *[0.0] * 383], 3).expect()
    assert [hit.id for hit in hits] == ["0", "1", "2"]
    assert driver.delete([row.id for row in rows[1:2999]]).code == "OK"
    assert ids(driver.find([1.0, *[0.0] * 383], 5)) == ["0", "2999"]


def test_processes_create_the_collection_at_once(
    core_library: Path, milvus: MilvusServer
) -> None:
    name = f"runs_{next(NUMBERS)}"

    def upsert(number: int) -> Result:
        with running_driver(core_library, milvus.trust) as driver:
            driver.collection = name
            assert connect(driver, milvus).code == "OK"
            return driver.upsert([Row(f"{number}", [1.0, 0.0])])

    with running_driver(core_library, milvus.trust) as driver:
        driver.collection = name
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(upsert, range(8)))
        assert [result for result in results if result.code != "OK"] == []
        assert connect(driver, milvus).code == "OK"
        assert sorted(ids(driver.find([1.0, 0.0]))) == [str(n) for n in range(8)]


def test_another_dimension_is_an_error(driver: Driver, milvus: MilvusServer) -> None:
    """In the embedding, in an existing collection, and in one created meanwhile."""
    assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
    for result in (
        driver.upsert([Row("b", [1.0, 0.0, 0.0])]),
        driver.find([1.0, 0.0, 0.0]),
    ):
        assert (result.code, result.retryable) == ("SERVICE", False)
        assert "embedding of collection" in result.text
        assert "has 2 dimensions, but the embedding has 3" in result.text
    assert ids(driver.find([1.0, 0.0])) == ["a"]
    with milvus.client() as client:
        client.drop_collection(driver.collection)
    with_fields(milvus, driver.collection, dim=4)
    for result in (driver.upsert([Row("b", [1.0, 0.0])]), driver.find([1.0, 0.0])):
        assert (result.code, result.retryable) == ("SERVICE", False)
        assert "has 4 dimensions, but the embedding has 2" in result.text
    assert driver.upsert([Row("b", [1.0, 0.0, 0.0, 0.0])]).code == "OK"


def with_fields(
    server: MilvusServer,
    name: str,
    *,
    change: Callable[[list[dict[str, Any]]], object] = lambda fields: None,
    dim: int = 2,
    metric: str | None = None,
) -> None:
    """Create a collection as a user may have it."""
    from pymilvus import DataType, MilvusClient

    fields: list[dict[str, Any]] = [
        {
            "field_name": "id",
            "datatype": DataType.VARCHAR,
            "max_length": 99,
            "is_primary": True,
        },
        {"field_name": "wpk_id", "datatype": DataType.VARCHAR, "max_length": 10},
        {"field_name": "status", "datatype": DataType.VARCHAR, "max_length": 99},
        {"field_name": "run_id", "datatype": DataType.VARCHAR, "max_length": 99},
        {"field_name": "created_at", "datatype": DataType.INT64},
        {"field_name": "embedding", "datatype": DataType.FLOAT_VECTOR, "dim": dim},
    ]
    change(fields)
    with server.client() as client:
        schema = MilvusClient.create_schema(auto_id=False)
        for one in fields:
            schema.add_field(**one)
        client.create_collection(name, schema=schema)
        if metric is not None:
            params = client.prepare_index_params()
            params.add_index("embedding", index_type="FLAT", metric_type=metric)
            client.create_index(name, params)


def test_a_collection_of_the_user_is_used(driver: Driver, milvus: MilvusServer) -> None:
    """A collection that fits is used, with its lengths, and gets an index."""
    with_fields(milvus, driver.collection)
    assert driver.upsert([Row("a", [1.0, 0.0], "w" * 20)]).code == "OK"
    row = rows_of(milvus, driver.collection, ["wpk_id"])["a"]
    assert row["wpk_id"] == "w" * 10
    assert ids(driver.find([1.0, 0.0], wpk_id="w" * 30)) == ["a"]


def test_an_index_of_the_user_is_used(driver: Driver, milvus: MilvusServer) -> None:
    with_fields(milvus, driver.collection, metric="COSINE")
    assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
    assert ids(driver.find([1.0, 0.0])) == ["a"]


def no_status(fields: list[dict[str, Any]]) -> None:
    del fields[2]


def number_as_text(fields: list[dict[str, Any]]) -> None:
    fields[4] |= {"datatype": fields[3]["datatype"], "max_length": 9}


def other_key(fields: list[dict[str, Any]]) -> None:
    del fields[0]["is_primary"]
    fields[3]["is_primary"] = True


def short_key(fields: list[dict[str, Any]]) -> None:
    fields[0]["max_length"] = 8


@pytest.mark.parametrize(
    ("change", "metric", "text"),
    [
        (no_status, None, "has no field status (VarChar)"),
        (number_as_text, None, "field created_at of collection"),
        (number_as_text, None, "is VarChar (type 21), not Int64"),
        (other_key, None, "field id of collection"),
        (other_key, None, "is not the primary key"),
        (short_key, None, "holds 8 bytes, not 36"),
        (lambda fields: None, "L2", "has metric L2, not COSINE"),
    ],
)
def test_a_collection_that_does_not_fit_is_an_error(
    driver: Driver,
    milvus: MilvusServer,
    change: Callable[[list[dict[str, Any]]], object],
    metric: str | None,
    text: str,
) -> None:
    with_fields(milvus, driver.collection, change=change, metric=metric)
    for result in (driver.upsert([Row("a", [1.0, 0.0])]), driver.find([1.0, 0.0])):
        assert (result.code, result.retryable) == ("SERVICE", False)
        assert text in result.text
        assert driver.collection in result.text


@pytest.mark.long_with("milvus_secure")
@pytest.mark.parametrize("name", ["milvus_lite", "milvus_secure"])
def test_a_restarted_server_is_used_again(
    name: str, core_library: Path, request: pytest.FixtureRequest
) -> None:
    """The client loads the collection again."""
    server: MilvusServer = request.getfixturevalue(name)
    with running_driver(core_library, server.trust) as driver:
        driver.collection = f"runs_{next(NUMBERS)}"
        assert connect(driver, server).code == "OK"
        assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
        server.halt()
        result = driver.upsert([Row("b", [1.0, 0.0])], attempts=2, timeout=2)
        assert (result.code, result.retryable) == ("SERVICE", True)
        server.start()
        assert ids(driver.find([1.0, 0.0])) == ["a"]
        assert driver.upsert([Row("b", [1.0, 0.5])]).code == "OK"
        assert ids(driver.find([1.0, 0.0])) == ["a", "b"]
        server.restart()
        assert driver.delete(["a"]).code == "OK"
        assert ids(driver.find([1.0, 0.0])) == ["b"]


def test_the_client_works_without_tls(
    core_library: Path, milvus_standalone: MilvusServer
) -> None:
    with running_driver(core_library) as driver:
        driver.collection = f"runs_{next(NUMBERS)}"
        assert connect(driver, milvus_standalone).code == "OK"
        for n, name in enumerate("abc"):
            assert driver.upsert([Row(name, [1.0, n / 10])]).code == "OK"
        assert driver.delete(["b"]).code == "OK"
        assert ids(driver.find([1.0, 0.0])) == ["a", "c"]


@pytest.mark.parametrize(
    "token", ["root:not the password", "a-key-of-another-place", None]
)
def test_a_refused_token_is_an_error(
    token: str | None, core_library: Path, milvus_secure: MilvusServer
) -> None:
    with running_driver(core_library, milvus_secure.trust) as driver:
        assert driver.open(milvus_secure.endpoint, token).code == "OK"
        for result in (
            driver.upsert([Row("a", [1.0, 0.0])]),
            driver.find([1.0, 0.0]),
            driver.delete(["a"]),
        ):
            assert (result.code, result.retryable) == ("SERVICE", False)
            assert "MILVUS_TOKEN was refused" in result.text
            assert ("it is not set" in result.text) == (token is None)
            assert token is None or token not in result.text


def test_an_untrusted_certificate_is_an_error(
    offline: Driver, milvus_secure: MilvusServer
) -> None:
    assert offline.open(milvus_secure.endpoint, milvus_secure.token).code == "OK"
    result = offline.find([1.0, 0.0])
    assert (result.code, result.retryable) == ("SERVICE", True)
    assert "certificate" in result.text
    assert "Milvus:root" not in result.text


def test_a_refused_connection_is_retryable(offline: Driver) -> None:
    port = free_port()
    assert offline.open(f"127.0.0.1:{port}", "root:Milvus").code == "OK"
    for result in (
        offline.upsert([Row("a", [1.0])], attempts=2),
        offline.find([1.0], attempts=1),
        offline.delete(["a"], attempts=1),
    ):
        assert (result.code, result.retryable) == ("SERVICE", True)
        assert f"Milvus at http://127.0.0.1:{port}" in result.text
        assert "root" not in result.text


def test_a_time_out_is_retryable(offline: Driver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert offline.open(f"http://127.0.0.1:{port}", timeout=0.3).code == "OK"
        result = offline.find([1.0], attempts=2, timeout=5)
    assert (result.code, result.retryable) == ("SERVICE", True)


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost",
        "localhost:19530",
        "LOCALHOST:1",
        "http://a.b-c_d:65535/",
        "HTTPS://127.0.0.1",
        "https://[::1]:19530",
        "[fe80::1]",
    ],
)
def test_endpoints_are_accepted(offline: Driver, endpoint: str) -> None:
    assert offline.open(endpoint).code == "OK"


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("", "has no host"),
        ("http://", "has no host"),
        ("http:///", "has no host"),
        (":19530", "has no host"),
        (" localhost", "has no host"),
        ("[::1", "has no host"),
        ("[]", "has no host"),
        ("tcp://localhost:19530", "has another scheme"),
        ("ftp://secret", "has another scheme"),
        ("unix:///secret", "has another scheme"),
        ("http://root:secret@localhost:19530", "belong in MILVUS_TOKEN"),
        ("root:secret@localhost", "belong in MILVUS_TOKEN"),
        ("https://localhost/secret", "after the host and port"),
        ("localhost?secret=1", "after the host and port"),
        ("localhost#secret", "after the host and port"),
        ("localhost secret", "after the host and port"),
        ("localhost\n", "after the host and port"),
        ("localhost:", "has a port"),
        ("localhost:0", "has a port"),
        ("localhost:65536", "has a port"),
        ("localhost:99999999999", "has a port"),
        ("localhost:-1", "has a port"),
        ("a" * 300, "has no host"),
    ],
)
def test_invalid_endpoints_are_rejected(
    offline: Driver, endpoint: str, text: str
) -> None:
    result = offline.open(endpoint)
    assert (result.code, result.retryable) == ("CONFIG", False)
    assert "MILVUS_ENDPOINT" in result.text
    assert text in result.text
    assert "secret" not in result.text


def test_invalid_arguments_are_rejected(offline: Driver) -> None:
    """The client finds them before it sends anything."""
    assert offline.open(f"127.0.0.1:{free_port()}").code == "OK"
    good = Row("a", [1.0, 0.0])
    for result, text in [
        (offline.upsert([good, Row("b", [1.0, math.nan])]), "has a NaN at index 1"),
        (offline.upsert([Row("b", [math.inf, 1.0])]), "has an infinity at index 0"),
        (offline.upsert([Row("b", [])]), "1 to 32768 numbers"),
        (offline.upsert([Row("b", [0.0] * 32769)]), "1 to 32768 numbers"),
        (offline.upsert([Row("", [1.0])]), "1 to 36 bytes for Milvus, not 0"),
        (offline.upsert([Row("x" * 37, [1.0])]), "1 to 36 bytes for Milvus, not 37"),
        (offline.delete(["x" * 37]), "1 to 36 bytes for Milvus, not 37"),
        (offline.find([1.0, 0.0], 0), "finds 1 to 16384 rows, not 0"),
        (offline.find([1.0, 0.0], 16385), "finds 1 to 16384 rows, not 16385"),
        (offline.find([]), "1 to 32768 numbers"),
        (offline.find([math.nan]), "has a NaN"),
    ]:
        assert (result.code, result.retryable) == ("INVALID", False)
        assert text in result.text
    assert offline.upsert([]).expect() == []


def test_a_hit_has_the_id_that_was_upserted(driver: Driver) -> None:
    assert driver.upsert([Row("0" * 36, [3.0, 4.0])]).code == "OK"
    (hit,) = driver.find([3.0, 4.0]).expect()
    assert hit.id == "0" * 36
    assert hit.score == pytest.approx(1.0, abs=1e-6)
