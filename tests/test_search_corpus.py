"""The corpus of the search tests: an exact search finds the intended texts in it."""

from __future__ import annotations

from statistics import mean

import numpy as np
import openai
from fixtures_services import EmbeddingServer
from numpy.typing import NDArray
from search_corpus import QUESTIONS, SUBJECTS, TEXTS, precision

TOP = 5


def embed(server: EmbeddingServer, texts: list[str]) -> NDArray[np.float32]:
    with openai.OpenAI(api_key=server.key, base_url=server.url) as client:
        answer = client.embeddings.create(input=texts, model=server.model)
    return np.array([item.embedding for item in answer.data], np.float32)


def test_the_corpus_has_its_subjects_and_questions() -> None:
    assert len(TEXTS) == len({text for _, text in TEXTS}) == 200
    assert [len(texts) for texts in SUBJECTS.values()] == [20] * 10
    assert SUBJECTS.keys() == QUESTIONS.keys()
    assert [len(questions) for questions in QUESTIONS.values()] == [3] * 10
    assert all(20 < len(text) < 200 for _, text in TEXTS)


def test_exact_search_is_precise(embedding_server: EmbeddingServer) -> None:
    """Precision at 5 is 0.95 with this model; a guess would be right at 0.1."""
    asked = [(name, text) for name, texts in QUESTIONS.items() for text in texts]
    texts = [text for _, text in TEXTS]
    score = embed(embedding_server, [text for _, text in asked])
    order = np.argsort(-score @ embed(embedding_server, texts).T)[:, :TOP]
    found = {
        question: precision(subject, [texts[index] for index in row])
        for (subject, question), row in zip(asked, order, strict=True)
    }
    assert mean(found.values()) >= 0.9, found
    assert min(found.values()) >= 0.4, found
