"""`/v1/embeddings`: texts as vectors (https://platform.openai.com/docs/api-reference/embeddings), each the mean of its
last hidden states, of length 1."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from gristmill.generation.decoder import PAGE, NativeDecoder, Rows
from gristmill.generation.engine import Engine
from gristmill.serving.answer import AnswerQueue
from gristmill.serving.requests.begin import Beginner
from gristmill.serving.requests.completion_request import EmbeddingRequest, as_tokens
from gristmill.serving.requests.request_fields import parse, read_body

MOST_TEXTS = 64  # of a request


def add_embeddings(app: FastAPI, beginner: Beginner, queue: AnswerQueue) -> None:
    """Give vectors of texts. One text of a request is read at a time, among the answers under way."""

    def read(body: bytes) -> tuple[EmbeddingRequest, list[list[int]]]:
        asked = parse(body, EmbeddingRequest)
        beginner.check_model(asked.model)
        engine = beginner.engine("reads a text", "input")
        return asked, as_tokens(asked.input, MOST_TEXTS, engine.tokenizer, "input")[0]

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> dict[str, Any]:
        body = await read_body(request)
        with queue.place():
            asked, texts = await queue.read(lambda: read(body))
            found = [await run_in_threadpool(embed, beginner.assistant.engine, tokens) for tokens in texts]
        base64 = asked.encoding_format == "base64"
        vectors = [b64encode(one.tobytes()).decode() if base64 else one.tolist() for one in found]
        count = sum(map(len, texts))
        queue.counts.update({"answered": 1, "prompt_tokens": count})
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)],
            "model": beginner.name,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }


def embed(engine: Engine, tokens: Sequence[int]) -> np.ndarray:
    """The vector of a text's tokens, float32 [D]. Other threads may generate meanwhile: a part of the text is read at a
    time. Raises TooLong for what does not fit."""
    engine.check([list(tokens)])
    decoder = engine.scheduler.decoder
    total = sum_in_c(engine, decoder, tokens) if isinstance(decoder, NativeDecoder) else sum_in_torch(engine, tokens)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-30), np.float32)


def sum_in_c(engine: Engine, decoder: NativeDecoder, tokens: Sequence[int]) -> np.ndarray:
    """The sum of the hidden states, by the C step."""
    scheduler, total = engine.scheduler, np.zeros(engine.config.width)
    table, pages = np.zeros(-(-len(tokens) // PAGE), np.uint64), list[int]()
    try:
        for start in range(0, len(tokens), decoder.rows):
            part = list(tokens[start : start + decoder.rows])
            count, places = len(part), list(range(start, start + len(part)))
            with scheduler.lock:
                while len(pages) * PAGE <= places[-1]:
                    pages.append(scheduler.pages.take())
                table[: len(pages)] = pages
                decoder.step(Rows(part, places, [table] * count, list(range(count))), count)
                total += decoder.hidden(count).sum(0)
    finally:
        with scheduler.lock:
            scheduler.pages.release(pages)
    return total


def sum_in_torch(engine: Engine, tokens: Sequence[int]) -> np.ndarray:
    """The same by PyTorch, where that is what generates."""
    import torch

    with engine.scheduler.lock, torch.inference_mode():
        hidden = engine.model.hidden(torch.tensor([list(tokens)], device=engine.device))
        return np.asarray(hidden[0].float().sum(0).cpu().numpy())
