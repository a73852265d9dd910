"""The embedding server of the tests is what it says, seen by OpenAI's own client.

Other tests rely on it: on its model, its limits, its faults, and on what it counts.
"""

from __future__ import annotations

import base64
import json
import math
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from certificates import DAY, make_certificate
from fixtures_postgres import plain_environment
from fixtures_services import EmbeddingServer
from minilm import MiniLM

pytestmark = pytest.mark.long  # what the tests use, not runlog

NAN = "Training stopped: the loss became NaN after step 1200, lower the learning rate."
NAN_TOO = "After step 1200 the training loss was NaN; reduce the learning rate."
OTHERS = [
    "Your table for four at the Italian restaurant is booked for Friday at eight.",
    "The refund of 40 euros was approved and goes back to the customer's card.",
    "Whisk the eggs with sugar, fold in the flour and bake for half an hour.",
]

CHILD = """
import os, sys
sys.path.insert(0, sys.argv[1])
from fixtures_services import EmbeddingServer
print(EmbeddingServer().pid, flush=True)
os.read(0, 1)
"""


def connect(server: EmbeddingServer, **options: Any) -> openai.OpenAI:
    own: dict[str, Any] = {"api_key": server.key, "base_url": server.url, "timeout": 30}
    return openai.OpenAI(**(own | options), max_retries=0)


@pytest.fixture
def client(embedding_server: EmbeddingServer) -> Iterator[openai.OpenAI]:
    with connect(embedding_server) as client:
        yield client


def embed(client: openai.OpenAI, texts: str | list[str], **options: Any) -> list[Any]:
    """The vectors as the client gives them: lists of floats, or base64."""
    options = {"model": EmbeddingServer.model, "encoding_format": "float"} | options
    answer = client.embeddings.create(input=texts, **options)
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return [item.embedding for item in answer.data]


def refuse(client: openai.OpenAI, texts: Any, status: int, **options: Any) -> Any:
    """The error of a request that has to fail."""
    with pytest.raises(openai.APIStatusError) as caught:
        embed(client, texts, **options)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body.keys() == {"message", "type", "param", "code"}
    return caught.value


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def distance(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float:
    """The largest difference between two numbers at the same place."""
    pairs = zip(a, b, strict=True)
    return max(abs(x - y) for one, two in pairs for x, y in zip(one, two, strict=True))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def test_model_gives_what_its_authors_publish(client: openai.OpenAI) -> None:
    """The first numbers that sentence-transformers prints for these two sentences."""
    texts = ["This is an example sentence", "Each sentence is converted"]
    first = [vector[:4] for vector in embed(client, texts)]
    known = [
        [0.0676569, 0.0634959, 0.0487131, 0.0793050],
        [0.0864386, 0.1027627, 0.0053946, 0.0020444],
    ]
    assert distance(first, known) < 1e-6


def test_similar_texts_are_near(client: openai.OpenAI) -> None:
    one, two, *others = embed(client, [NAN, NAN_TOO, *OTHERS])
    assert cosine(one, two) > 0.7
    for index, other in enumerate(others):
        assert cosine(one, other) < 0.4
        assert all(cosine(other, another) < 0.4 for another in others[:index])


def test_batch_gives_what_single_texts_do(client: openai.OpenAI) -> None:
    texts = [NAN, "a", *OTHERS, "two words", "ß 東京 naïve\x00\n🙂", "long " * 300] * 2
    batch = embed(client, texts)
    model = MiniLM()  # the server remembers what it has made
    single = [model.embed(model.tokenize([text]))[0] for text in texts]
    assert distance(batch, single) < 1e-5


def test_text_counts_by_its_first_tokens(client: openai.OpenAI) -> None:
    full, longer, shorter = embed(client, ["no " * 254, "no " * 254 + NAN, "no " * 253])
    assert distance([full], [longer]) < 1e-6
    assert distance([full], [shorter]) > 1e-6


def test_vectors_have_length_1(client: openai.OpenAI) -> None:
    for vector in embed(client, [NAN, "a", *OTHERS]):
        assert len(vector) == EmbeddingServer.dim
        assert cosine(vector, vector) == pytest.approx(1, abs=1e-6)


def test_formats_hold_the_same(client: openai.OpenAI) -> None:
    (floats,) = embed(client, NAN)
    (text,) = embed(client, [NAN], encoding_format="base64")
    (own,) = embed(client, NAN, encoding_format=openai.NOT_GIVEN)
    assert list(struct.unpack("<384f", base64.b64decode(text))) == floats == own


@pytest.mark.parametrize("dimensions", [1, 64, 384])
def test_dimensions_cut_and_normalise(client: openai.OpenAI, dimensions: int) -> None:
    (whole,) = embed(client, NAN)
    (cut,) = embed(client, NAN, dimensions=dimensions)
    length = math.hypot(*whole[:dimensions])
    assert distance([cut], [[x / length for x in whole[:dimensions]]]) < 1e-6


def test_answer_tells_model_and_usage(client: openai.OpenAI) -> None:
    for model in ("all-MiniLM-L6-v2", "text-embedding-3-small"):
        answer = client.embeddings.create(input=["one two", "three!"], model=model)
        assert (answer.model, answer.object) == (model, "list")
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (4, 4)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "empty array"),
        ("", "Invalid 'input': input cannot be an empty string"),
        (["a", ""], r"'input\[1\]': input cannot be an empty string"),
        (["a"] * 2049, "maximum length 2048, but got an array with length 2049"),
        ([1, 2], "input' is invalid"),
        ("!" * 8193, "maximum context length is 8192 tokens, however you requested 8193"),
        (["a", "!" * 9000], r"you requested 9000 tokens \(9000 in your prompt; 0 for"),
        (["!" * 8000] * 38, "Requested 304000 tokens, max 300000 tokens per request"),
    ],
    ids=["none", "empty", "one", "many", "tokens", "long", "longer", "total"],
)
def test_input_that_is_refused(client: openai.OpenAI, texts: Any, said: str) -> None:
    error = refuse(client, texts, 400)
    assert isinstance(error, openai.BadRequestError)
    with pytest.raises(openai.BadRequestError, match=said):
        raise error


def test_longest_input_is_taken(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(input="!" * 8192, model=EmbeddingServer.model)
    assert answer.usage.total_tokens == 8192


@pytest.mark.parametrize(
    "options",
    [
        {"dimensions": 0},
        {"dimensions": 385},
        {"encoding_format": "hex"},
        {"extra_body": {"truncate": "END"}},
    ],
    ids=str,
)
def test_option_that_is_refused(client: openai.OpenAI, options: dict[str, Any]) -> None:
    refuse(client, "a", 400, **options)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"input": "\xff"}', b'"a"'])
def test_body_that_is_refused(embedding_server: EmbeddingServer, body: bytes) -> None:
    key = {"Authorization": f"Bearer {embedding_server.key}"}
    url = f"{embedding_server.url}/embeddings"
    answer = httpx.post(url, content=body, headers=key)
    assert answer.status_code == 400
    assert "could not parse" in answer.json()["error"]["message"]


def test_surrogate_is_refused(embedding_server: EmbeddingServer) -> None:
    body = json.dumps({"model": embedding_server.model, "input": ["a", "b\ud800"]})
    key = {"Authorization": f"Bearer {embedding_server.key}"}
    answer = httpx.post(f"{embedding_server.url}/embeddings", content=body, headers=key)
    assert answer.status_code == 400


def test_unknown_model(client: openai.OpenAI) -> None:
    error = refuse(client, "a", 404, model="text-embedding-4-huge")
    assert isinstance(error, openai.NotFoundError)
    assert error.code == "model_not_found"
    assert "`text-embedding-4-huge` does not exist" in error.message


def test_wrong_key(embedding_server: EmbeddingServer) -> None:
    with connect(embedding_server, api_key="sk-wrong-0123456789abcdef") as client:
        error = refuse(client, "a", 401)
    assert isinstance(error, openai.AuthenticationError)
    assert error.code == "invalid_api_key"
    assert "sk-wrong*************cdef" in error.message
    answer = httpx.post(f"{embedding_server.url}/embeddings", json={"input": "a"})
    assert (answer.status_code, "provide an API key" in answer.text) == (401, True)
    assert embedding_server.counters()["statuses"] == {401: 2}


def test_path_that_is_not_there(embedding_server: EmbeddingServer) -> None:
    assert httpx.post(f"{embedding_server.origin}/v1/models", json={}).status_code == 404
    assert httpx.get(f"{embedding_server.url}/embeddings").status_code == 405


def test_azure(embedding_server: EmbeddingServer) -> None:
    options: dict[str, Any] = {"api_version": "2024-10-21", "max_retries": 0}
    options["azure_endpoint"] = embedding_server.origin
    with openai.AzureOpenAI(api_key=embedding_server.key, **options) as client:
        (vector,) = embed(client, NAN)
        refuse(client, "a", 404, model="no-such-deployment")
    last = embedding_server.counters()["last"]
    path = "/openai/deployments/no-such-deployment/embeddings?api-version=2024-10-21"
    assert (last["path"], last["headers"]["api-key"]) == (path, embedding_server.key)
    with openai.AzureOpenAI(api_key="wrong", **options) as client:
        refuse(client, "a", 401)
    with connect(embedding_server) as client:
        assert embed(client, NAN) == [vector]


def test_rate_limit(embedding_server: EmbeddingServer, client: openai.OpenAI) -> None:
    embedding_server.control("status", status=429, retry_after=7, count=2)
    for _ in range(2):
        error = refuse(client, "a", 429)
        assert isinstance(error, openai.RateLimitError)
        assert error.code == "rate_limit_exceeded"
        assert error.response.headers["retry-after"] == "7"
    embed(client, "a")
    assert embedding_server.counters()["statuses"] == {429: 2, 200: 1}


def test_quota(embedding_server: EmbeddingServer, client: openai.OpenAI) -> None:
    embedding_server.control("quota", count=None)
    error = refuse(client, "a", 429)
    assert error.code == error.type == "insufficient_quota"
    assert "retry-after" not in error.response.headers


@pytest.mark.parametrize("status", [400, 401, 403, 413, 422, 500, 502, 503])
def test_status(
    embedding_server: EmbeddingServer, client: openai.OpenAI, status: int
) -> None:
    embedding_server.control("status", status=status)
    refuse(client, "a", status)
    assert len(embed(client, ["a", "b"])) == 2


def test_faults_come_one_after_the_other(
    embedding_server: EmbeddingServer, client: openai.OpenAI
) -> None:
    embedding_server.control("status", status=503, count=2)
    embedding_server.control("quota")
    for status in (503, 503, 429):
        refuse(client, "a", status)
    embed(client, "a")
    assert embedding_server.counters()["faults"] == {"status": 2, "quota": 1}
    embedding_server.control("quota", count=None)
    embedding_server.clear()
    embed(client, "a")


def test_fault_of_one_text(
    embedding_server: EmbeddingServer, client: openai.OpenAI
) -> None:
    embedding_server.control("status", status=400, count=None, containing="poison")
    embed(client, ["a", "b"])
    refuse(client, ["a", "the poison", "b"], 400)
    embed(client, "c")
    counters = embedding_server.counters()
    assert counters["asked"] == {"a": 2, "b": 2, "c": 1, "the poison": 1}
    assert counters["embedded"] == {"a": 1, "b": 1, "c": 1}


def test_unknown_fault(embedding_server: EmbeddingServer) -> None:
    for fault in ({"kind": "flood"}, {"kind": "stall", "minutes": 3}):
        with pytest.raises(OSError, match="400"):
            embedding_server.control(**fault)


def test_stall_that_the_client_waits_for(
    embedding_server: EmbeddingServer, client: openai.OpenAI
) -> None:
    embedding_server.control("stall", seconds=0.3)
    started = time.monotonic()
    embed(client, "a")
    assert time.monotonic() - started >= 0.3
    assert embedding_server.counters()["embedded"] == {"a": 1}


def test_stall_until_released(
    embedding_server: EmbeddingServer, client: openai.OpenAI
) -> None:
    embedding_server.control("stall", count=2)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(embed, client, text) for text in ("a", "b")]
        eventually(lambda: embedding_server.counters()["at_work"] == 2)
        embed(client, "c")
        assert not any(future.done() for future in waiting)
        embedding_server.release()
        assert all(len(future.result()) == 1 for future in waiting)
    assert embedding_server.counters()["embedded"] == {"a": 1, "b": 1, "c": 1}
    assert embedding_server.counters()["most_at_once"] == 3


def test_client_that_has_gone_got_no_vector(embedding_server: EmbeddingServer) -> None:
    embedding_server.control("stall")
    with (
        connect(embedding_server, timeout=0.2) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        embed(client, "a")
    eventually(lambda: embedding_server.counters()["faults"] == {"stall": 1})
    embedding_server.release()
    eventually(lambda: embedding_server.counters()["gone"] == 1)
    counters = embedding_server.counters()
    assert (counters["at_work"], counters["texts"], counters["embedded"]) == (0, 0, {})
    assert counters["asked"] == {"a": 1}


def test_truncated_body(embedding_server: EmbeddingServer, client: openai.OpenAI) -> None:
    embedding_server.control("truncate")
    with pytest.raises(openai.APIConnectionError) as caught:
        embed(client, "a")
    assert "without sending complete message body" in repr(caught.value.__cause__)
    assert embedding_server.counters()["embedded"] == {}
    embed(client, "a")


def test_no_answer(embedding_server: EmbeddingServer, client: openai.OpenAI) -> None:
    embedding_server.control("close")
    with pytest.raises(openai.APIConnectionError):
        embed(client, "a")
    embed(client, "a")
    eventually(lambda: embedding_server.counters()["gone"] == 1)
    assert embedding_server.counters()["embedded"] == {"a": 1}


def test_garbage(embedding_server: EmbeddingServer) -> None:
    url = f"{embedding_server.url}/embeddings"
    for body in ("<html>Bad gateway</html>", '{"data": 3}'):
        embedding_server.control("garbage", body=body)
        answer = httpx.post(url, json={"input": "a"})
        assert (answer.status_code, answer.text) == (200, body)


@pytest.mark.parametrize(
    ("fault", "lengths"),
    [
        ({"kind": "count"}, [384, 384]),
        ({"kind": "count", "by": -3}, []),
        ({"kind": "count", "by": 2}, [384] * 5),
        ({"kind": "dimension"}, [8] * 3),
        ({"kind": "dimension", "dimensions": 385, "only": 1}, [384, 385, 384]),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["float", "base64"])
def test_vectors_that_do_not_fit(
    embedding_server: EmbeddingServer,
    fault: dict[str, Any],
    lengths: list[int],
    form: str,
) -> None:
    embedding_server.control(**fault)
    data = post(embedding_server, ["a", "b", "c"], form)
    assert [len(vector) for _, vector in data] == lengths
    assert embedding_server.counters()["embedded"] == {}


def post(
    server: EmbeddingServer, texts: list[str], form: str
) -> list[tuple[int, list[float]]]:
    """The indices and vectors of an answer, whatever is wrong with it."""
    url = f"{server.url}/embeddings"
    body = {"model": server.model, "input": texts, "encoding_format": form}
    answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {server.key}"})
    return [(item["index"], decode(item["embedding"])) for item in answer.json()["data"]]


def decode(vector: str | list[float]) -> list[float]:
    if isinstance(vector, list):
        return vector
    raw = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


@pytest.mark.parametrize("form", ["float", "base64"])
def test_nan(embedding_server: EmbeddingServer, form: str) -> None:
    embedding_server.control("nan", only=1)
    data = post(embedding_server, ["a", "b", "c"], form)
    assert [any(map(math.isnan, vector)) for _, vector in data] == [False, True, False]


def test_order(embedding_server: EmbeddingServer) -> None:
    plain = post(embedding_server, ["a", "b", "c"], "float")
    embedding_server.control("reverse")
    assert post(embedding_server, ["a", "b", "c"], "float") == plain[::-1]
    assert embedding_server.counters()["embedded"] == {"a": 2, "b": 2, "c": 2}
    embedding_server.control("index")
    assert [i for i, _ in post(embedding_server, ["a", "b", "c"], "float")] == [0, 0, 0]


def test_floats_for_base64(
    embedding_server: EmbeddingServer, client: openai.OpenAI
) -> None:
    plain = embed(client, ["a", "b"])
    embedding_server.control("floats")
    assert embed(client, ["a", "b"], encoding_format="base64") == plain


def test_connection_is_kept(
    embedding_server: EmbeddingServer, client: openai.OpenAI
) -> None:
    for _ in range(3):
        embed(client, "a")
    refuse(client, "", 400)
    refuse(client, "a", 404, model="b")
    embed(client, "b")
    counters = embedding_server.counters()
    assert (counters["requests"], counters["connections"]) == (6, 1)
    assert counters["embedded"] == {"a": 3, "b": 1}
    assert (counters["texts"], counters["tokens"]) == (4, 4)
    embedding_server.reset()
    counters = embedding_server.counters()
    assert not any(counters[name] for name in ("requests", "texts", "embedded", "asked"))


def test_body_waits_for_100_continue(embedding_server: EmbeddingServer) -> None:
    """As curl's do when they are long."""
    body = json.dumps({"model": embedding_server.model, "input": "a"}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        f"Authorization: Bearer {embedding_server.key}\r\nContent-Length: {len(body)}\r\n"
    )
    with socket.create_connection(("127.0.0.1", embedding_server.port), 20) as connection:
        connection.sendall(head.encode() + b"\r\n")
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_many_clients_at_once(
    embedding_server: EmbeddingServer, client: openai.OpenAI
) -> None:
    texts = [f"Step {number} of the plan" for number in range(48)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: embed(client, text)[0], texts))
    assert distance(found, embed(client, texts)) < 1e-5
    counters = embedding_server.counters()
    assert counters["embedded"] == dict.fromkeys(texts, 2)
    assert counters["at_work"] == 0


def test_outage(embedding_server: EmbeddingServer, client: openai.OpenAI) -> None:
    """It is away and comes back on the same port, and what it counted is kept."""
    embed(client, "a")
    embedding_server.control("stall")
    with ThreadPoolExecutor(1) as threads:
        cut = threads.submit(embed, client, "b")
        eventually(lambda: embedding_server.counters()["at_work"] == 1)
        embedding_server.stop()
        assert isinstance(cut.exception(), openai.APIConnectionError)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", embedding_server.port), 5)
    with pytest.raises(openai.APIConnectionError):
        embed(client, "c")
    embedding_server.stop()
    embedding_server.start()
    embedding_server.start()
    embed(client, "d")
    assert embedding_server.counters()["embedded"] == {"a": 1, "d": 1}
    embedding_server.stop()
    embedding_server.reset()
    embed(client, "e")


@pytest.mark.parametrize("end", [DAY, -DAY], ids=["valid", "expired"])
def test_tls(tmp_path: Path, end: timedelta) -> None:
    cert, cert_key = make_certificate(tmp_path, start=-2 * DAY, end=end)
    server = EmbeddingServer(cert=cert, cert_key=cert_key)
    try:
        assert server.url.startswith("https://")
        with (
            httpx.Client(verify=ssl.create_default_context(cafile=cert)) as http,
            connect(server, http_client=http) as client,
        ):
            if end > timedelta(0):
                embed(client, "a")
            else:
                with pytest.raises(openai.APIConnectionError) as caught:
                    embed(client, "a")
                assert "certificate has expired" in repr(caught.value.__cause__)
        with connect(server) as client, pytest.raises(openai.APIConnectionError):
            embed(client, "a")
    finally:
        server.close()


def test_server_ends_with_its_starter() -> None:
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    os.kill(pid, 0)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    eventually(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be reaped."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)],
            env=plain_environment(),  # with a sanitizer's run-time before it, ps hangs
            capture_output=True,
            text=True,
        ).stdout
        return not state.startswith("Z") and bool(state.strip())
    return False
