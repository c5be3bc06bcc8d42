"""Where what was said stands in the training text, for whoever asks over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Request
from pydantic import Field

from gristmill.errors import UserError
from gristmill.serving.api_error import ApiError, busy
from gristmill.serving.requests.request_fields import Body, Integer, parse, read_body
from gristmill.tokenizer.encode import Tokenizer

if TYPE_CHECKING:  # which is loaded when somebody asks
    from gristmill.audit.trace.corpus_index import CorpusIndex

MAX_TEXT = 10_000  # characters: some seconds at worst
MOST_WAITING = 4
TrainingText = tuple["CorpusIndex", Tokenizer, Path | None]


class TraceBody(Body):
    """A text whose parts are looked for, and how many documents are named for each."""

    text: str
    documents: Annotated[Integer, Field(ge=1, le=20)] = 5

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        super().check()
        if len(self.text) > MAX_TEXT:
            raise ApiError(400, f"text: at most {MAX_TEXT:,} characters are traced", "text")


class Tracer:
    """Searches training text: an index, its tokenizer, and the documents that it was made of. One text at a time."""

    def __init__(self, opens: Callable[[], TrainingText]) -> None:
        """`opens` is called at the first question; it may raise UserError."""
        self.opens, self.waiting = opens, 0
        self.thread = ThreadPoolExecutor(1, "trace")

    @cached_property
    def opened(self) -> TrainingText:
        """The training text."""
        return self.opens()

    def trace(self, text: str, documents: int) -> dict[str, Any]:
        """The spans that the training text holds, how many characters they cover, and how many tokens it has."""
        from gristmill.audit.trace.spans import covered, trace

        index, tokenizer, corpus = self.opened
        spans = trace(index, tokenizer, text, corpus=corpus, documents=documents)
        told = [asdict(span) for span in spans]
        return {"object": "trace", "spans": told, "covered": covered(spans), "tokens": index.total}


def add_trace(app: FastAPI, tracer: Tracer) -> None:
    """Let users ask where a text is from."""

    @app.post("/v1/trace")
    async def trace(request: Request) -> dict[str, Any]:
        asked = parse(await read_body(request), TraceBody)
        if tracer.waiting >= MOST_WAITING:
            raise busy("texts wait to be traced")
        tracer.waiting += 1
        try:
            work = partial(tracer.trace, asked.text, asked.documents)
            return await asyncio.get_running_loop().run_in_executor(tracer.thread, work)
        except UserError as error:
            raise ApiError(404, f"{error.problem}: {error.remedy}", code="not_found") from error
        finally:
            tracer.waiting -= 1
