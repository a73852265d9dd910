"""Run records for the benchmarks: varied, and equal on every machine.

A record is an argument of `log_run`: 4.7 KB of JSON on average (0.5 to 64 KB), with ten
node logs, or fewer in small records. It has nested dicts and lists with the content of
real states: prose, code and JSON inside strings (quotes, newlines, backslashes), Chinese,
Japanese, Korean, Cyrillic, accents, emoji, floats with few and with seventeen digits,
integers beyond 2**53 (other encoders support 64 bits), None and booleans. No key is
redacted by default, so every encoder writes the same data.

The values come from `random.random()` only, whose sequence is the same in every Python.
"""
# ruff: noqa: RUF001  Cyrillic letters are meant

import json
import math
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from struct import pack, unpack
from typing import Any, TypeVar

_T = TypeVar("_T")

SEED = 20240611
DOUBLES = 1536


def _words(text: str) -> list[str]:
    return text.split()


_EPOCH = datetime(2024, 6, 11, 8, 30, tzinfo=UTC)
_ENGLISH = _words(
    "the graph retrieves three passages and ranks them before the model answers a "
    "question about shipping delays in northern ports while the planner decides which "
    "tool to call next and whether enough evidence has been found to stop searching"
)
_GERMAN = _words("für die Prüfung größerer Aufträge genügt später ein kürzerer Überblick")
_RUSSIAN = _words(
    "граф получает вопрос пользователя и передаёт его следующему узлу затем модель "
    "отвечает кратко и по существу"
)
_CJK = (
    "検索結果を要約する",
    "模型返回了三个候选答案",
    "次のノードへ状態を渡す",
    "查询向量数据库",
    "사용자의 질문을 분류합니다",
    "评估得分",
)
_EMOJI = ("🚀", "✅", "🔥", "👩‍💻", "📦", "🤖", "⚠️", "🧪")
_MARKED_UP = (
    'He said "wait", then left.\n',
    "def f(x):\n\treturn {'a': x}\n",
    '{"tool": "search", "args": {"q": "C:\\\\temp"}}\n',
    "| name | score |\n|---|---|\n| a/b | 0.5 |\n",
    '<a href="/docs?q=1&amp;n=2">more</a>\r\n',
)
_NODES = _words(
    "router retrieve grade_documents rewrite_question web_search generate reflect "
    "critic summarise finish"
)
_KEYS = _words(
    "question answer documents score source title page_content language draft history "
    "plan step_count confidence temperature next route retries citations url checks"
)


class _Maker:
    """Draws values from one seeded sequence."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def pick(self, items: Sequence[_T]) -> _T:
        return items[self.below(len(items))]

    def text(self, size: int) -> str:
        """Text of about `size` bytes of UTF-8, of one of six kinds."""
        kind = self._random()
        words: Sequence[str] = _ENGLISH
        glue, extra, extra_share = " ", _ENGLISH, 0.0
        if kind > 0.93:
            extra, extra_share = list(_EMOJI), 0.15
        elif kind > 0.86:
            words = _RUSSIAN
        elif kind > 0.79:
            words, glue = _CJK, "、"
        elif kind > 0.74:
            words = _GERMAN
        elif kind > 0.62:
            extra, extra_share = list(_MARKED_UP), 0.25
        parts: list[str] = []
        used = 0
        while used < size:
            source = extra if self._random() < extra_share else words
            part = self.pick(source)
            parts.append(part)
            used += len(part.encode()) + len(glue.encode())
        return glue.join(parts)

    def integer(self) -> int:
        kind = self._random()
        if kind < 0.7:
            return self.below(2000) - 200
        if kind < 0.9:
            return self.below(2**40)
        big = 2**53 + self.below(2**31) * 2**31 + self.below(2**31)
        return big if kind < 0.95 else -big

    def real(self) -> float:
        kind = self._random()
        if kind < 0.5:
            return round(self._random() * 100, 1 + self.below(4))
        if kind < 0.9:
            return self._random()
        return (self._random() - 0.5) * 10.0 ** (self.below(80) - 40)

    def normal(self) -> float:
        radius = math.sqrt(-2.0 * math.log(1.0 - self._random()))
        return radius * math.cos(2.0 * math.pi * self._random())

    def value(self, size: int, depth: int = 0) -> Any:
        """A value of about `size` bytes of JSON."""
        if size < 28 or depth > 6:
            return self._scalar(size)
        kind = self._random()
        if kind < 0.45:
            return self.text(size)
        if kind < 0.75:
            return self.mapping(size, depth + 1)
        if kind < 0.85:
            return [self.real() for _ in range(max(1, size // 14))]
        items = 1 + self.below(6)
        return [self.value(size // items, depth + 1) for _ in range(items)]

    def mapping(self, size: int, depth: int = 0) -> dict[str, Any]:
        """A dict of about `size` bytes, with up to seven keys."""
        fields = min(2 + self.below(6), max(1, size // 30))
        start = self.below(len(_KEYS))
        share = max(1, size // fields - 14)
        return {
            _KEYS[(start + i) % len(_KEYS)]: self.value(share, depth)
            for i in range(fields)
        }

    def _scalar(self, size: int) -> Any:
        kind = self._random()
        if kind < 0.35:
            return self.integer()
        if kind < 0.6:
            return self.real()
        if kind < 0.75:
            return self.pick((None, True, False))
        return self.text(min(size, 12))

    def node_log(self, step: int, size: int, started: datetime) -> dict[str, Any]:
        """A node log; `size` is that of its inputs and outputs in bytes."""
        return {
            "node": _NODES[step % len(_NODES)],
            "status": "completed",
            "step": step + 1,
            "attempt": 1 if self._random() < 0.9 else 2,
            "parent": None if self._random() < 0.8 else "research",
            "inputs": self.mapping(size // 2),
            "outputs": self.mapping(size - size // 2),
            "started_at": started.isoformat(),
            "duration_ms": round(self._random() * 900, 3),
        }

    def record(self, number: int) -> dict[str, Any]:
        """A run record of 0.5 to 64 KB: log-normal, and one in 200 near the largest."""
        size = 3050.0 * math.exp(0.95 * self.normal())
        if number % 200 == 199:
            size = 66_000.0
        size = min(max(size, 450.0), 66_000.0)
        nodes = 10 if size >= 2000 else max(1, int(size / 350))
        free = max(120, int(size) - 330 - nodes * 190)
        inputs, outputs = int(free * 0.3), int(free * 0.3)
        started = _EPOCH + timedelta(seconds=number * 7, microseconds=self.below(10**6))
        failed = self._random() < 0.05
        return {
            "wpk_id": self.pick(("support-agent", "rag-pipeline", "отчёты", "nightly")),
            "run_id": f"{self.below(2**32):08x}-{number:06d}",
            "inputs": self.mapping(inputs),
            "outputs": {"text": self.text(outputs // 2), **self.mapping(outputs // 2)},
            "status": "failed" if failed else "completed",
            "duration_ms": self.below(60_000),
            "node_logs": [
                self.node_log(
                    i,
                    max(60, (free - inputs - outputs) // nodes),
                    started + timedelta(milliseconds=37 * i),
                )
                for i in range(nodes)
            ],
            "thread_id": f"thread-{self.below(500)}",
            "error_type": "ValueError" if failed else None,
            "error_text": 'no passage matches "ports"' if failed else None,
            "metadata": {"tags": ["bench", "seq:1"], "llm_calls": self.below(9)},
            "started_at": started.isoformat(),
        }


def records(count: int = 400, seed: int = SEED) -> list[dict[str, Any]]:
    """`count` run records with distinct run_ids; equal arguments, equal records."""
    maker = _Maker(seed)
    return [maker.record(i) for i in range(count)]


def doubles(lists: int, *, float32: bool = False, seed: int = SEED) -> list[list[float]]:
    """Lists of 1,536 normally distributed doubles, as an embedding has.

    With float32 each is rounded to a float and widened again, as numpy's tolist() and
    most embedding servers give them.
    """
    maker = _Maker(seed)
    made = [[maker.normal() for _ in range(DOUBLES)] for _ in range(lists)]
    if float32:
        form = f"<{DOUBLES}f"
        made = [list(unpack(form, pack(form, *values))) for values in made]
    return made


def texts(sizes: Sequence[int], seed: int = SEED) -> list[str]:
    """A text of about that many bytes, for each size."""
    maker = _Maker(seed)
    return [maker.text(size) for size in sizes]


def describe(items: Sequence[Any]) -> dict[str, float]:
    """The sizes in bytes of the items as compact JSON in UTF-8."""
    sizes = [
        len(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode())
        for item in items
    ]
    return {
        "items": len(sizes),
        "mean_bytes": round(mean(sizes), 1),
        "median_bytes": median(sizes),
        "min_bytes": min(sizes),
        "max_bytes": max(sizes),
    }


if __name__ == "__main__":
    runs = records()
    print(json.dumps({"seed": SEED, **describe(runs)}, indent=2))
    if "--show" in sys.argv[1:]:
        print(json.dumps(runs[1], indent=2, ensure_ascii=False))
