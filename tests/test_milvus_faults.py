"""The client of Milvus behind a gRPC proxy that forwards calls or makes them fail.

Which calls the client retries, how often, and the error in the end.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from fixtures_milvus import MilvusServer
from milvus_driver import Driver, Row, running_driver
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from test_c import core_library

__all__ = ["core_library"]

NUMBERS = itertools.count(1)
COMMON: Any = common_pb2
MILVUS: Any = milvus_pb2
GRPC: Any = grpc
CODES = {code.value[0]: code for code in GRPC.StatusCode}


class Proxy:
    """The proxy. `faults` has the answers to the next calls of a method.

    An answer is a gRPC status or a message; a list that ends with ... repeats.
    """

    def __init__(self, port: int) -> None:
        self.faults: dict[str, list[Any]] = {}
        self.calls: list[str] = []
        self._pool = ThreadPoolExecutor(4)
        self._channel = GRPC.insecure_channel(f"127.0.0.1:{port}")
        self._server = GRPC.server(self._pool)
        self._server.add_generic_rpc_handlers([self])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, details: Any) -> Any:
        """Handle every method: gRPC asks for the handler here."""

        def handle(request: bytes, context: Any) -> bytes:
            name = details.method.rpartition("/")[2]
            self.calls.append(name)
            faults = self.faults.get(name, [])
            if not faults:
                answer: bytes = self._channel.unary_unary(details.method)(request)
                return answer
            fault = faults[0] if faults[1:] == [...] else faults.pop(0)
            if isinstance(fault, int):
                context.abort(CODES[fault], "a fault: 100% \u20ac")
            if isinstance(fault, bytes):
                return fault
            message: bytes = fault.SerializeToString()
            return message

        return GRPC.unary_unary_rpc_method_handler(handle)

    def count(self, name: str) -> int:
        """The number of calls of a method since the last count."""
        count = self.calls.count(name)
        self.calls.clear()
        return count

    def stop(self) -> None:
        """Close the server and the connection to Milvus."""
        self._server.stop(0).wait()
        self._channel.close()
        self._pool.shutdown()


@pytest.fixture
def proxy(milvus_lite: MilvusServer) -> Iterator[Proxy]:
    proxy = Proxy(milvus_lite.port)
    yield proxy
    proxy.stop()


@pytest.fixture
def driver(core_library: Path, proxy: Proxy) -> Iterator[Driver]:
    """A driver with a new collection that has a row, a, and is ready."""
    with running_driver(core_library) as driver:
        name = f"faults_{next(NUMBERS)}"
        endpoint = f"http://127.0.0.1:{proxy.port}"
        assert driver.open(endpoint, "user:secret", name).code == "OK"
        assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
        proxy.calls.clear()
        yield driver


def mutation(code: int, legacy: int = 0, *, retriable: bool = False) -> Any:
    status = COMMON.Status(
        code=code, error_code=legacy, reason="slow\ndown user:secret", retriable=retriable
    )
    return MILVUS.MutationResult(status=status)


@pytest.mark.parametrize(
    "fault",
    [
        4,
        8,
        14,
        *map(mutation, (4, 8, 9, 1807)),
        mutation(0, 49),
        mutation(5, retriable=True),
    ],
    ids=str,
)
def test_transient_errors_are_retried(
    driver: Driver, proxy: Proxy, fault: object
) -> None:
    proxy.faults["Upsert"] = [fault, fault]
    began = time.monotonic()
    assert driver.upsert([Row("b", [1.0, 0.1])], attempts=4).code == "OK"
    assert time.monotonic() - began > 0.3  # two pauses, of 0.125 and 0.25 s at least
    assert proxy.count("Upsert") == 3
    assert [hit.id for hit in driver.find([1.0, 0.0]).expect()] == ["a", "b"]


@pytest.mark.parametrize("fault", [14, mutation(8)], ids=str)
def test_retries_end_after_the_attempts(
    driver: Driver, proxy: Proxy, fault: object
) -> None:
    proxy.faults["Upsert"] = [fault, ...]
    result = driver.upsert([Row("b", [1.0, 0.1])], attempts=3)
    assert (result.code, result.retryable) == ("SERVICE", True)
    assert proxy.count("Upsert") == 3
    assert "secret" not in result.text
    assert "\n" not in result.text


def test_retries_end_in_time(driver: Driver, proxy: Proxy) -> None:
    proxy.faults["Upsert"] = [mutation(8), ...]
    began = time.monotonic()
    result = driver.upsert([Row("b", [1.0, 0.1])], attempts=100, timeout=5)
    assert (result.code, result.retryable) == ("SERVICE", True)
    assert time.monotonic() - began < 60
    assert 2 <= proxy.count("Upsert") < 40


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (3, "gRPC status 3: a fault: 100% \u20ac"),
        (7, "gRPC status 7"),
        (12, "does not know this call"),
        (13, "gRPC status 13"),
        (16, "MILVUS_TOKEN was refused"),
        (mutation(1800), "MILVUS_TOKEN was refused"),
        (mutation(1100), "Upsert: slow down *** (code 1100)"),
        (mutation(65535), "code 65535"),
        (b"\xff\xff\xff", "the answer to Upsert can't be read"),
        (b"\x08", "the answer to Upsert can't be read"),
    ],
    ids=str,
)
def test_permanent_errors_are_not_retried(
    driver: Driver, proxy: Proxy, fault: object, text: str
) -> None:
    proxy.faults["Upsert"] = [fault, ...]
    result = driver.upsert([Row("b", [1.0, 0.1])], attempts=5)
    assert (result.code, result.retryable) == ("SERVICE", False)
    assert text in result.text
    assert "secret" not in result.text
    # an error of Milvus is retried once, after a check of the collection
    assert proxy.count("Upsert") <= 2


def test_unacknowledged_rows_are_an_error(driver: Driver, proxy: Proxy) -> None:
    proxy.faults["Upsert"] = [MILVUS.MutationResult(upsert_cnt=1)]
    result = driver.upsert([Row("b", [1.0, 0.1]), Row("c", [1.0, 0.2])])
    assert (result.code, result.retryable) == ("SERVICE", True)
    assert "1 of 2 rows were upserted" in result.text


def test_an_empty_answer_has_no_hits(driver: Driver, proxy: Proxy) -> None:
    proxy.faults["Search"] = [b""]
    assert driver.find([1.0, 0.0]).expect() == []


@pytest.mark.parametrize("method", ["Upsert", "Search"])
def test_a_collection_that_is_not_loaded_is_loaded(
    driver: Driver, proxy: Proxy, method: str
) -> None:
    """A restarted server says that the collection is loaded, then that it is not."""
    proxy.faults[method] = [mutation(101), mutation(101)]
    if method == "Upsert":
        assert driver.upsert([Row("b", [1.0, 0.1])]).code == "OK"
    else:
        assert [hit.id for hit in driver.find([1.0, 0.0]).expect()] == ["a"]
    assert {"DescribeCollection", "GetLoadState"} <= set(proxy.calls)
    proxy.faults[method] = [mutation(101), ...]
    result = (
        driver.find([1.0, 0.0], attempts=3)
        if method == "Search"
        else driver.upsert([Row("b", [1.0, 0.1])], attempts=3)
    )
    assert (result.code, result.retryable) == ("SERVICE", True)


def test_an_endless_load_ends_in_time(driver: Driver, proxy: Proxy) -> None:
    proxy.faults["Search"] = [mutation(101)]
    proxy.faults["GetLoadState"] = [
        MILVUS.GetLoadStateResponse(state="LoadStateLoading"),
        ...,
    ]
    began = time.monotonic()
    result = driver.find([1.0, 0.0], timeout=5)
    assert (result.code, result.retryable) == ("SERVICE", True)
    assert "is still being loaded" in result.text
    assert time.monotonic() - began < 60
    proxy.faults.clear()
    assert [hit.id for hit in driver.find([1.0, 0.0]).expect()] == ["a"]


def test_a_collection_of_another_process_is_used(
    core_library: Path, proxy: Proxy
) -> None:
    """The collection and the index exist after all, although their creation failed."""
    with running_driver(core_library) as first, running_driver(core_library) as second:
        name = f"faults_{next(NUMBERS)}"
        endpoint = f"http://127.0.0.1:{proxy.port}"
        for driver in (first, second):
            assert driver.open(endpoint, None, name).code == "OK"
        assert first.upsert([Row("a", [1.0, 0.0])]).code == "OK"
        proxy.calls.clear()
        missing = COMMON.Status(code=100, error_code="CollectionNotExists", reason="none")
        no_index = COMMON.Status(code=700, error_code="IndexNotExist", reason="none")
        conflict = COMMON.Status(code=65535, error_code=1, reason="it exists")
        proxy.faults["DescribeCollection"] = [
            MILVUS.DescribeCollectionResponse(status=missing)
        ]
        proxy.faults["DescribeIndex"] = [MILVUS.DescribeIndexResponse(status=no_index)]
        proxy.faults["CreateCollection"] = [conflict]
        proxy.faults["CreateIndex"] = [conflict]
        assert second.upsert([Row("b", [1.0, 0.1])]).code == "OK"
        assert proxy.calls.count("CreateCollection") == 1
        assert proxy.calls.count("CreateIndex") == 1
        assert [hit.id for hit in second.find([1.0, 0.0]).expect()] == ["a", "b"]


def test_a_failed_creation_is_an_error(core_library: Path, proxy: Proxy) -> None:
    with running_driver(core_library) as driver:
        name = f"faults_{next(NUMBERS)}"
        assert driver.open(f"http://127.0.0.1:{proxy.port}", None, name).code == "OK"
        refused = COMMON.Status(code=65535, error_code=1, reason="not for you")
        proxy.faults["CreateCollection"] = [refused]
        result = driver.upsert([Row("a", [1.0, 0.0])])
        assert (result.code, result.retryable) == ("SERVICE", False)
        assert "CreateCollection: not for you (code 65535)" in result.text
        proxy.faults["CreateIndex"] = [refused, ...]
        result = driver.upsert([Row("a", [1.0, 0.0])])
        assert (result.code, result.retryable) == ("SERVICE", False)
        assert "CreateIndex: not for you (code 65535)" in result.text
        proxy.faults.clear()
        assert driver.upsert([Row("a", [1.0, 0.0])]).code == "OK"
