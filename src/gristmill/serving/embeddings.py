"""`/v1/embeddings`: texts as vectors (https://platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from gristmill.generation.embedding import embed
from gristmill.serving.answer import AnswerQueue
from gristmill.serving.api_error import ApiError
from gristmill.serving.quoting import QuotingAssistant
from gristmill.serving.requests.begin import Beginner
from gristmill.serving.requests.completion_request import EmbeddingRequest, as_tokens
from gristmill.serving.requests.request_fields import parse, read_body

MOST_TEXTS = 64  # of a request


def add_embeddings(app: FastAPI, beginner: Beginner, queue: AnswerQueue) -> None:
    """Give vectors of texts. One text of a request is read at a time, among the answers under way."""

    def read(body: bytes) -> tuple[EmbeddingRequest, list[list[int]]]:
        asked = parse(body, EmbeddingRequest)
        beginner.check_model(asked.model)
        if isinstance(beginner.assistant, QuotingAssistant):
            raise ApiError(400, "this server quotes pages: it has no model that reads a text", "input")
        return asked, as_tokens(asked.input, MOST_TEXTS, beginner.assistant.engine.tokenizer, "input")[0]

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> dict[str, Any]:
        body = await read_body(request)
        with queue.place():
            asked, texts = await queue.read(lambda: read(body))
            found = [await run_in_threadpool(embed, beginner.assistant.engine, tokens) for tokens in texts]
        base64 = asked.encoding_format == "base64"
        vectors = [b64encode(one.tobytes()).decode() if base64 else one.tolist() for one in found]
        count = sum(map(len, texts))
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)],
            "model": beginner.name,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
