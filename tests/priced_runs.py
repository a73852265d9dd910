"""Runs with calls of models, as get_run gives them, and prices for them."""

from __future__ import annotations

from typing import Any

from runlog import prices

M = 10**6
"""With this many tokens, a price a million tokens is the cost."""

TABLE = {"m": {"input": 2, "output": 10}}
FULL = {
    "m": {
        "input": 1,
        "output": 2,
        "cache_read": 0.1,
        "cache_write": 1.25,
        "cache_write_1h": 3,
        "reasoning": 4,
        "audio_input": 8,
        "audio_output": 16,
    }
}


def tokens(given: int, got: int, inputs: Any = None, outputs: Any = None) -> Any:
    found: dict[str, Any] = {"input": given, "output": got, "total": given + got}
    if inputs is not None:
        found["input_details"] = inputs
    if outputs is not None:
        found["output_details"] = outputs
    return found


def call(used: Any = None, **others: Any) -> dict[str, Any]:
    """A model call as get_run gives it."""
    made = {
        "kind": "llm",
        "name": "ChatModel",
        "parent": None,
        "status": "completed",
        "error_type": None,
        "error_text": None,
        "started_at": "2025-06-01T12:00:00.000000Z",
        "duration_ms": 1.5,
        "tags": [],
        "metadata": {},
        "model": "m",
        "provider": "p",
        "params": {},
        "tools": None,
        "messages": [{"type": "human", "content": "hello"}],
        "prompt": None,
        "outputs": [{"type": "ai", "content": "hi"}],
        "finish_reason": "stop",
        "tokens": used,
        "streamed": False,
        "first_token_ms": None,
        "cached": False,
    }
    assert others.keys() <= made.keys() | {"tool_call_id", "args", "output"}
    return made | others


def tool(**others: Any) -> dict[str, Any]:
    return {"kind": "tool", "name": "weather", "parent": None, **others}


def log(node: str, *calls: Any, **others: Any) -> dict[str, Any]:
    """A node log with what cost looks at."""
    models = [one["model"] for one in calls if one.get("kind") == "llm"]
    return {
        "node": node,
        "started_at": "2025-06-01T12:00:00.000000Z",
        "llm_calls": len(models),
        "tokens": None,
        "models": sorted({name for name in models if name}),
        "calls": list(calls),
        **others,
    }


def run(*logs: Any, **metadata: Any) -> dict[str, Any]:
    return {"run_id": "r", "node_logs": list(logs), "metadata": metadata or None}


def total(*calls: Any, table: Any = None) -> Any:
    return prices.cost(run(log("n", *calls)), table or TABLE).total
