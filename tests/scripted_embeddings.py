"""Answers in the shape of OpenAI's embeddings, with vectors that a test can foresee.

The vector of a text has four numbers: its bytes, its first byte, its last byte, 0.5. A
text with BAD in it is refused. Words behind "emb", joined by dots, change that:

    numbers     arrays of numbers, whatever encoding_format is asked for
    shuffled    the vectors in another order than the texts
    slash       base64 with its slashes escaped
    max20       texts of more than 20 bytes are refused as too long
    most3       more than 3 texts are refused with 413
    refuse      everything is refused
    noindex     without "index"
    nan inf words cut lengths few many twice none empty nojson deep   what can't be right
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from typing import Any


def vector(text: str) -> list[float]:
    data = text.encode()
    return [len(data), data[0] if data else 0, data[-1] if data else 0, 0.5]


def refuse(status: int, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"message": message, "type": "invalid"}}).encode()


def refusal(words: list[str], texts: list[str]) -> tuple[int, bytes] | None:
    """The answer, if the texts are not taken."""
    most = next((int(word[4:]) for word in words if word.startswith("most")), 10**9)
    longest = next((int(word[3:]) for word in words if word.startswith("max")), 10**9)
    if "refuse" in words:
        return refuse(400, "This model does not support specifying that.")
    if len(texts) > most:
        return refuse(413, "request entity is larger than I like")
    if any("BAD" in text for text in texts):
        return refuse(422, "the content filter does not like this")
    if any(len(text.encode()) > longest for text in texts):
        return refuse(400, f"This model's maximum context length is {longest} tokens")
    return None


def spoil(words: list[str], vectors: list[list[float]]) -> None:
    """What makes the vectors wrong."""
    if "nan" in words:
        vectors[-1][1] = math.nan
    if "inf" in words:
        vectors[-1][1] = math.inf
    if "lengths" in words:
        vectors[-1].append(1)
    if "empty" in words:
        vectors[0].clear()


def pack(words: list[str], values: list[float]) -> Any:
    """A vector as it is sent."""
    if "numbers" in words:
        return values
    if "words" in words:
        return ["a", "b"]
    text = base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return text[:-1] if "cut" in words else text


def members(words: list[str], data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The elements of "data", as many as there are to be."""
    if "shuffled" in words:
        data = data[1::2] + data[::2]
    if "few" in words:
        data = data[:-1]
    if "many" in words:
        data = [*data, data[-1]]
    if "twice" in words:
        data[-1]["index"] = data[0]["index"]
    if "noindex" in words:
        for item in data:
            del item["index"]
    if "none" in words:
        for item in data:
            del item["embedding"]
    return data


def answer(options: str, body: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer to a request."""
    words = options.split(".")
    request = json.loads(body)
    texts: list[str] = request["input"]
    if refused := refusal(words, texts):
        return refused
    vectors = [vector(text)[: request.get("dimensions")] for text in texts]
    spoil(words, vectors)
    data = [
        {"object": "embedding", "index": i, "embedding": pack(words, values)}
        for i, values in enumerate(vectors)
    ]
    result = json.dumps(
        {"object": "list", "data": members(words, data), "model": request["model"]}
    )
    if "slash" in words:
        result = re.sub("/", r"\\/", result)
    if "nojson" in words:
        result = result[:-1]
    if "deep" in words:
        result = "[" * 100_000
    return 200, result.encode()
