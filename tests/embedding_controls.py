"""What the embedding server of the tests is told to do wrong, and what it counts."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from minilm import Array

KINDS = {
    "status", "quota", "stall", "close", "truncate", "garbage", "count", "dimension",
    "nan", "floats", "reverse", "index",
}  # fmt: skip


ERRORS = {
    400: ("The server refuses this input.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("Country, region, or territory not supported", "request_forbidden", None),
    413: ("Maximum content size limit exceeded", "server_error", None),
    429: (
        "Rate limit reached for requests. Please try again later.",
        "requests",
        "rate_limit_exceeded",
    ),
    500: (
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
        None,
    ),
    503: ("The engine is currently overloaded.", "server_error", None),
}
QUOTA = "You exceeded your current quota, please check your plan and billing details."


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


class RefusedError(Exception):
    """A request that gets an error, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        error = {"message": message, "type": kind, "param": param, "code": code}
        self.answer = Answer(status, encode({"error": error}))


@dataclass
class Answer:
    """What is sent, and what it means for the counters."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    """Those whose vectors are in the body."""
    tokens: int = 0
    cut: bool = False
    """Half of the body is sent, and the connection is closed."""


@dataclass
class Fault:
    """What is done wrong to the next requests."""

    kind: str
    """One of KINDS.

    status: an error of `status`, with `retry_after`. quota: 429 for want of money.
    stall: the answer waits `seconds`, or until it is released. close: there is none.
    truncate: half of it comes. garbage: `body`, with 200. count: `by` more vectors.
    dimension: vectors of `dimensions`. nan: vectors with a NaN. floats: whatever the
    encoding_format. reverse: the last one comes first. index: each says it is the first.
    """
    count: int | None = 1
    """How many requests; None: all of them until it is cleared."""
    containing: str = ""
    """Only requests in which one of the texts contains this."""
    status: int = 500
    retry_after: float | str | None = None
    seconds: float | None = None
    body: str = "<html>Bad gateway</html>"
    by: int = -1
    dimensions: int = 8
    only: int | None = None
    """The index of the one vector that has dimension or nan; None: all."""


class Controls:
    """The faults to come, and the counters.

    Orders, as a JSON object: {"fault": {"kind": ..., ...}} adds one, after those that
    are there; {"release": true} ends the stalls of now; {"clear": true} also drops all
    faults; {"reset": true} also sets the counters to 0 (and the service listens again).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._released = threading.Event()
        self._zero()

    def _zero(self) -> None:
        self._sums = Counter[str]()
        self._statuses = Counter[int]()
        self._done = Counter[str]()
        self._asked = Counter[str]()
        self._embedded = Counter[str]()
        self._most_at_once = 0
        self._last: dict[str, Any] = {}

    def obey(self, order: dict[str, Any]) -> None:
        fault = Fault(**order["fault"]) if "fault" in order else None
        if fault is not None and fault.kind not in KINDS:
            raise ValueError(f"no kind of fault: {fault.kind}")
        with self._lock:
            if fault is not None:
                self._faults.append(fault)
            if order.get("clear") or order.get("reset"):
                self._faults.clear()
            if order.get("reset"):
                at_work = self._sums["at_work"]
                self._zero()
                self._sums["at_work"] = at_work
            if order.keys() & {"release", "clear", "reset"}:
                self._released.set()
                self._released = threading.Event()

    def counters(self) -> dict[str, Any]:
        """requests; those at_work, and the most_at_once; connections; gone: requests
        that got no answer, as the client hung up or by a fault; the number of answers by
        their statuses; faults, by kind; the texts and tokens that were embedded; asked
        and embedded: how often for each text; the last request's path, headers and body
        but for the input.

        A text is embedded when its vector has been sent, whole and right, to a client
        that was still there.
        """
        names = ("requests", "at_work", "connections", "texts", "tokens", "gone")
        with self._lock:
            return {name: self._sums[name] for name in names} | {
                "most_at_once": self._most_at_once,
                "statuses": dict(self._statuses),
                "faults": dict(self._done),
                "asked": dict(self._asked),
                "embedded": dict(self._embedded),
                "last": self._last,
            }

    def connected(self) -> None:
        with self._lock:
            self._sums["connections"] += 1

    def begin(
        self, texts: list[str], last: dict[str, Any]
    ) -> tuple[Fault | None, threading.Event]:
        """Count a request; return what to do wrong to it, and what ends a stall."""
        with self._lock:
            self._sums["requests"] += 1
            self._sums["at_work"] += 1
            self._most_at_once = max(self._most_at_once, self._sums["at_work"])
            self._asked.update(texts)
            self._last = last
            fault = self._take(texts)
            if fault is not None:
                self._done[fault.kind] += 1
            return fault, self._released

    def _take(self, texts: list[str]) -> Fault | None:
        for fault in self._faults:
            if any(fault.containing in text for text in texts or [""]):
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count <= 0:
                        self._faults.remove(fault)
                return fault
        return None

    def end(self, answer: Answer | None) -> None:
        """Count an answer that is about to be sent; None: the client has gone."""
        with self._lock:
            self._sums["at_work"] -= 1
            if answer is None:
                self._sums["gone"] += 1
            else:
                self._count(answer, 1)

    def lost(self, answer: Answer) -> None:
        """The answer could not be sent after all."""
        with self._lock:
            self._count(answer, -1)
            self._sums["gone"] += 1

    def _count(self, answer: Answer, sign: int) -> None:
        self._statuses[answer.status] += sign
        self._sums["tokens"] += sign * answer.tokens
        self._sums["texts"] += sign * len(answer.texts)
        for text in answer.texts:
            self._embedded[text] += sign


def fail(fault: Fault) -> Answer | None:
    """The answer of a fault that needs none of the model; None: it isn't such a fault."""
    if fault.kind == "garbage":
        return Answer(200, fault.body.encode())
    if fault.kind == "quota":
        name = "insufficient_quota"
        return RefusedError(429, QUOTA, kind=name, code=name).answer
    if fault.kind != "status":
        return None
    message, kind, code = ERRORS.get(fault.status, ("It failed.", "server_error", None))
    answer = RefusedError(fault.status, message, kind=kind, code=code).answer
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def spoil_vectors(vectors: list[Array], fault: Fault) -> list[Array]:
    """Vectors as no server should give them."""
    chosen = range(len(vectors)) if fault.only is None else [fault.only]
    for index in chosen:
        if fault.kind == "dimension":
            vectors[index] = np.resize(vectors[index], fault.dimensions)
        elif fault.kind == "nan":
            vectors[index] = vectors[index].copy()
            vectors[index][-1] = np.nan
    if fault.kind == "count":
        vectors = (
            vectors[: fault.by] if fault.by < 0 else vectors + vectors[:1] * fault.by
        )
    return vectors
