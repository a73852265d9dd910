"""How a run of pytest -n shares the tests among its workers, and what they build once.

A worker gets a few neighbouring tests at a time, and the next ones when it has come to
their end. Modules with servers that are dear to start stay together, and long tests are
handed out first: none of them is left to run alone at the end.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from xdist.scheduler import LoadScopeScheduling

T = TypeVar("T")

LOCKS = Path(__file__).resolve().parent.parent / "build" / "locks"

PIECE = 6
"""How many tests a worker gets at a time."""

GROUPS = {
    "milvus": ["milvus", "search_quality", "search_errors", "milvus_faults"],
    "outbox": ["outbox", "search", "search_document", "pgvector", "embedding_server"],
    "outbox faults": ["torture/test_outbox_faults"],
    "browser": ["web_browser"],
    "clusters": ["torture/test_clusters"],
    "replicas": ["torture/test_replicas"],
    "providers": [
        "providers",
        "providers_prompts",
        "providers_failing",
        "provider_server",
    ],
}
"""Modules that one worker runs, as their servers or libraries take seconds to start."""

TOGETHER = {
    f"tests/{name}.py" if "/" in name else f"tests/test_{name}.py": group
    for group, names in GROUPS.items()
    for name in names
}

LONG = ["tests/test_c.py", "tests/torture/", "tests/test_handler_stress.py"]
"""Beginnings of the names of tests. Some take many seconds, so each is its own piece."""


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Have no other process of this checkout do what has this name meanwhile."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def begin_elsewhere(modules: Sequence[T]) -> list[T]:
    """The modules in an order in which no other worker imports them.

    In a fresh clone pytest rewrites each module's assertions, which takes longer than all
    else that is done before the first test. So each worker rewrites some of the modules,
    and finds the others rewritten when it comes to them.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = len(modules) * worker // count
    return [*modules[first:], *modules[:first]]


def place_in_line(nodeid: str) -> int:
    """Where a test stands: what stays together, then the long ones, then the rest."""
    if nodeid.partition("::")[0] in TOGETHER:
        return 0
    for place, beginning in enumerate(LONG, 1):
        if nodeid.startswith(beginning):
            return place
    return len(LONG) + 1


def pieces(nodeids: Sequence[str]) -> dict[str, str]:
    """The name of each test's piece."""
    found: dict[str, str] = {}
    count: dict[str, int] = {}
    for nodeid in nodeids:
        module = nodeid.partition("::")[0]
        if module in TOGETHER:
            found[nodeid] = TOGETHER[module]
        elif nodeid.startswith(tuple(LONG)):
            found[nodeid] = nodeid
        else:
            number = count[module] = count.get(module, -1) + 1
            found[nodeid] = f"{module} {number // PIECE}"
    return found


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out pieces, in the order in which the tests were collected."""

    def __init__(self, config: Any, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)
        self._pieces: dict[str, str] = {}

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Take note of what a worker has collected, which is the same for all."""
        self._pieces = self._pieces or pieces(collection)
        super().add_node_collection(node, collection)

    def _split_scope(self, nodeid: str) -> str:
        return self._pieces[nodeid]
