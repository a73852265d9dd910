"""The messages of meaning/services/milvus_codec.h, compared with pymilvus's classes.

A request must be the same as theirs, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_driver import Driver, Row, optional, packed, running_driver
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2
from test_c import core_library

__all__ = ["core_library"]

COMMON: Any = common_pb2
MILVUS: Any = milvus_pb2
SCHEMA: Any = schema_pb2

VARCHAR, INT64, VECTOR = 21, 5, 101
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
FLOATS = st.floats(width=32, allow_nan=False)
INT64S = st.integers(-(2**63), 2**63 - 1)
DIM = 3
ROWS = st.builds(
    Row,
    id=TEXTS.filter(lambda text: len(text.encode()) <= 36),
    vector=st.lists(FLOATS, min_size=DIM, max_size=DIM),
    wpk_id=TEXTS | st.integers(0, 3).map(lambda n: "\u20ac" * 21844 + "a" * n + "\u20ac"),
    status=TEXTS | st.just("s" * 100),
    run_id=TEXTS,
    created_at=INT64S,
)


@pytest.fixture(scope="module")
def driver(core_library: Path) -> Iterator[Driver]:
    with running_driver(core_library) as driver:
        yield driver


def pairs(**values: object) -> list[Any]:
    return [COMMON.KeyValuePair(key=k, value=str(v)) for k, v in values.items()]


def cut(text: str, most: int) -> str:
    """The longest prefix of a text that has at most so many bytes."""
    return text.encode()[:most].decode(errors="ignore")


@given(name=NAMES)
def test_requests_of_a_name(driver: Driver, name: str) -> None:
    wanted = {
        "describe": MILVUS.DescribeCollectionRequest(collection_name=name),
        "load": MILVUS.LoadCollectionRequest(collection_name=name, replica_number=1),
        "load_state": MILVUS.GetLoadStateRequest(collection_name=name),
        "describe_index": MILVUS.DescribeIndexRequest(
            collection_name=name, field_name="embedding"
        ),
        "index": MILVUS.CreateIndexRequest(
            collection_name=name,
            field_name="embedding",
            extra_params=pairs(
                index_type="HNSW",
                metric_type="COSINE",
                params='{"M": 16, "efConstruction": 200}',
            ),
            index_name="embedding",
        ),
    }
    for kind, message in wanted.items():
        assert driver.call(f"put_{kind}", name) == message.SerializeToString()


@given(name=NAMES, dim=st.integers(1, 32768))
def test_create(driver: Driver, name: str, dim: int) -> None:
    field = SCHEMA.FieldSchema
    schema = SCHEMA.CollectionSchema(
        name=name,
        fields=[
            field(
                name="id",
                is_primary_key=True,
                data_type=VARCHAR,
                type_params=pairs(max_length=36),
            ),
            field(name="wpk_id", data_type=VARCHAR, type_params=pairs(max_length=65535)),
            field(name="status", data_type=VARCHAR, type_params=pairs(max_length=64)),
            field(name="run_id", data_type=VARCHAR, type_params=pairs(max_length=65535)),
            field(name="created_at", data_type=INT64),
            field(name="embedding", data_type=VECTOR, type_params=pairs(dim=dim)),
        ],
    )
    wanted = MILVUS.CreateCollectionRequest(
        collection_name=name,
        schema=schema.SerializeToString(),
        shards_num=1,
        consistency_level="Bounded",
    )
    assert driver.call("put_create", name, dim) == wanted.SerializeToString()


def strings(name: str, values: list[str]) -> Any:
    array = SCHEMA.StringArray(data=values)
    scalars = SCHEMA.ScalarField(string_data=array)
    return SCHEMA.FieldData(type=VARCHAR, field_name=name, scalars=scalars)


@given(name=NAMES, rows=st.lists(ROWS, min_size=1, max_size=6))
def test_upsert(driver: Driver, name: str, rows: list[Row]) -> None:
    longs = SCHEMA.LongArray(data=[row.created_at for row in rows])
    floats = SCHEMA.FloatArray(data=[x for row in rows for x in row.vector])
    wanted = MILVUS.UpsertRequest(
        collection_name=name,
        fields_data=[
            strings("id", [row.id for row in rows]),
            strings("wpk_id", [cut(row.wpk_id, 65535) for row in rows]),
            strings("status", [cut(row.status, 64) for row in rows]),
            strings("run_id", [cut(row.run_id, 65535) for row in rows]),
            SCHEMA.FieldData(
                type=INT64,
                field_name="created_at",
                scalars=SCHEMA.ScalarField(long_data=longs),
            ),
            SCHEMA.FieldData(
                type=VECTOR,
                field_name="embedding",
                vectors=SCHEMA.VectorField(dim=DIM, float_vector=floats),
            ),
        ],
        num_rows=len(rows),
    )
    values = [value for row in rows for value in row.values()]
    assert driver.call("put_upsert", name, DIM, *values) == wanted.SerializeToString()


ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def literal(text: str) -> str:
    return '"' + "".join(ESCAPES.get(c, c) for c in text) + '"'


@given(
    name=NAMES,
    vector=st.lists(FLOATS, min_size=1, max_size=40),
    limit=st.integers(1, 16384),
    wpk_id=st.none() | TEXTS,
    status=st.none() | TEXTS,
    since=st.none() | st.integers(-(2**62), 2**62),
    strong=st.booleans(),
)
def test_search(
    driver: Driver,
    *,
    name: str,
    vector: list[float],
    limit: int,
    wpk_id: str | None,
    status: str | None,
    since: int | None,
    strong: bool,
) -> None:
    parts = [] if wpk_id is None else [f"wpk_id == {literal(wpk_id)}"]
    parts += [] if status is None else [f"status == {literal(cut(status, 64))}"]
    parts += [] if since is None else [f"created_at >= {since}"]
    placeholder = COMMON.PlaceholderValue(tag="$0", type=VECTOR, values=[packed(vector)])
    group = COMMON.PlaceholderGroup(placeholders=[placeholder])
    wanted = MILVUS.SearchRequest(
        collection_name=name,
        dsl=" and ".join(parts),
        placeholder_group=group.SerializeToString(),
        dsl_type=1,
        search_params=pairs(
            anns_field="embedding",
            topk=limit,
            metric_type="COSINE",
            params=f'{{"ef": {max(64, 2 * limit)}}}',
            round_decimal=-1,
        ),
        guarantee_timestamp=0 if strong else 2,
        nq=1,
        consistency_level="Strong" if strong else "Bounded",
    )
    filters = [optional(wpk_id), optional(status), "" if since is None else since]
    got = driver.call("put_search", name, int(strong), packed(vector), limit, *filters)
    assert got == wanted.SerializeToString()


@given(name=NAMES, ids=st.lists(TEXTS))
def test_delete(driver: Driver, name: str, ids: list[str]) -> None:
    expr = f"id in [{','.join(map(literal, ids))}]"
    wanted = MILVUS.DeleteRequest(collection_name=name, expr=expr)
    assert driver.call("put_delete", name, *ids) == wanted.SerializeToString()


STATUSES = st.builds(
    COMMON.Status,
    error_code=st.sampled_from(COMMON.ErrorCode.values()),
    reason=TEXTS,
    code=st.integers(-(2**31), 2**31 - 1),
    retriable=st.booleans(),
    detail=TEXTS,
)


@given(status=STATUSES, bare=st.booleans())
def test_status(driver: Driver, status: Any, bare: bool) -> None:
    message = status if bare else MILVUS.BoolResponse(status=status, value=True)
    got = driver.call("get_status", message.SerializeToString(), int(bare)).decode()
    code, legacy, retriable, *reason = got.split()
    assert (int(code), int(legacy)) == (status.code, status.error_code)
    assert int(retriable) == status.retriable
    assert bytes.fromhex("".join(reason)).decode() == status.reason


OWN = ["id", "wpk_id", "status", "run_id", "created_at", "embedding"]
FIELDS = st.builds(
    SCHEMA.FieldSchema,
    fieldID=INT64S,
    description=TEXTS,
    is_primary_key=st.booleans(),
    data_type=st.sampled_from(SCHEMA.DataType.values()),
    autoID=st.booleans(),
)


@given(
    known=st.dictionaries(st.sampled_from(OWN), FIELDS),
    other=st.dictionaries(TEXTS.filter(lambda name: name not in OWN), FIELDS),
    dim=st.integers(1, 2**31),
    max_length=st.integers(1, 65535),
)
def test_schema(
    driver: Driver,
    known: dict[str, Any],
    other: dict[str, Any],
    dim: int,
    max_length: int,
) -> None:
    for name, field in (known | other).items():
        field.name = name
        field.type_params.extend(pairs(mmap="x", dim=dim, max_length=max_length))
    answer = MILVUS.DescribeCollectionResponse(
        schema=SCHEMA.CollectionSchema(
            name="c", fields=[*other.values(), *known.values()]
        ),
        collectionID=7,
    )
    got = driver.call("get_schema", answer.SerializeToString()).decode().splitlines()
    for name, line in zip(OWN, got, strict=True):
        if field := known.get(name):
            wanted = [1, field.is_primary_key, field.autoID, field.data_type]
            wanted += [dim, max_length]
        else:
            wanted = [0] * 6
        assert [int(part) for part in line.split()] == wanted


@given(
    metric=st.none() | st.sampled_from(["COSINE", "L2", "IP"]),
    field=st.sampled_from(["embedding", "id"]),
)
def test_index(driver: Driver, metric: str | None, field: str) -> None:
    params = pairs(index_type="HNSW", **({"metric_type": metric} if metric else {}))
    index = MILVUS.IndexDescription(index_name="x", params=params, field_name=field)
    answer = MILVUS.DescribeIndexResponse(index_descriptions=[index])
    exists, *value = driver.call("get_index", answer.SerializeToString()).decode().split()
    if field == "embedding":
        assert (exists, bytes.fromhex("".join(value)).decode()) == ("1", metric or "")
    else:
        assert (exists, value) == ("0", [])


IDS = TEXTS.filter(lambda text: len(text.encode()) <= 36)


@given(found=st.lists(st.tuples(IDS, FLOATS), max_size=12), limit=st.integers(1, 20))
def test_hits(driver: Driver, found: list[tuple[str, float]], limit: int) -> None:
    ids = SCHEMA.IDs(str_id=SCHEMA.StringArray(data=[i for i, _ in found]))
    data = SCHEMA.SearchResultData(
        num_queries=1,
        top_k=len(found),
        scores=[score for _, score in found],
        ids=ids if found else None,
        topks=[len(found)],
    )
    answer = MILVUS.SearchResults(results=data).SerializeToString()
    lines = driver.call("get_hits", answer, limit).decode().splitlines()
    got = [
        (bytes.fromhex("".join(rest)).decode(), float.fromhex(score))
        for score, *rest in map(str.split, lines)
    ]
    assert got == found[:limit]


@given(state=st.integers(0, 3), count=st.integers(0, 2**40))
def test_numbers(driver: Driver, state: int, count: int) -> None:
    answer = MILVUS.GetLoadStateResponse(state=state)
    assert int(driver.call("get_load_state", answer.SerializeToString())) == state
    answer = MILVUS.MutationResult(upsert_cnt=count, insert_cnt=1, acknowledged=True)
    assert int(driver.call("get_upserted", answer.SerializeToString())) == count


def test_an_id_that_is_too_long_is_no_hit_of_ours(driver: Driver) -> None:
    ids = SCHEMA.IDs(str_id=SCHEMA.StringArray(data=["x" * 37]))
    data = SCHEMA.SearchResultData(scores=[1.0], ids=ids)
    answer = MILVUS.SearchResults(results=data).SerializeToString()
    assert driver.call("get_hits", answer, 5) == b"malformed"


# A reader of the wire format, as the documentation describes it.


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


FIELD_NUMBERS = st.integers(1, 2**29 - 1)
PARTS = st.one_of(
    st.tuples(FIELD_NUMBERS, st.just(0), st.integers(0, 2**64 - 1)),
    st.tuples(FIELD_NUMBERS, st.just(1), st.integers(0, 2**64 - 1)),
    st.tuples(FIELD_NUMBERS, st.just(2), st.binary(max_size=300)),
    st.tuples(FIELD_NUMBERS, st.just(5), st.integers(0, 2**32 - 1)),
)


def encoded(number: int, wire: int, value: int | bytes) -> bytes:
    tag = varint(number << 3 | wire)
    if isinstance(value, bytes):
        return tag + varint(len(value)) + value
    if wire == 0:
        return tag + varint(value)
    return tag + struct.pack("<Q" if wire == 1 else "<I", value)


@given(parts=st.lists(PARTS), tail=st.none() | st.integers(1, 400))
def test_any_fields_are_read(
    driver: Driver, parts: list[tuple[int, int, int | bytes]], tail: int | None
) -> None:
    """All fields, or those before one that is cut off."""
    message = b"".join(encoded(*part) for part in parts)
    whole = len(parts)
    if tail is not None and parts:
        last = encoded(*parts[-1])
        message = message[: len(message) - 1 - tail % len(last)]
        whole -= 1
    lines = [
        f"{number} {wire} {value.hex() if isinstance(value, bytes) else value}"
        for number, wire, value in parts[:whole]
    ]
    rest = len(message) - sum(len(encoded(*part)) for part in parts[:whole])
    got = driver.call("get_fields", message).decode().splitlines()
    assert got == lines + (["malformed"] if rest else [])


@pytest.mark.parametrize(
    "message",
    [
        b"\x00\x01",  # field 0
        b"\x0b\x0c",  # a group
        b"\x0e\x00",  # wire type 6
        b"\x08" + b"\xff" * 10 + b"\x01",  # a varint of 11 bytes
        b"\xff" * 9 + b"\x01",  # a tag that is too large
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # longer than any memory
    ],
)
def test_malformed_messages_are_rejected(driver: Driver, message: bytes) -> None:
    assert driver.call("get_fields", message) == b"malformed\n"


@settings(max_examples=3 * settings().max_examples)
@given(data=st.binary(max_size=80))
def test_readers_take_any_bytes(driver: Driver, data: bytes) -> None:
    for name in ("fields", "status", "schema", "index", "load_state", "upserted", "hits"):
        driver.call(f"get_{name}", data, 5)
