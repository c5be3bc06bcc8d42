"""Answers, one at a time and in order. A client that leaves stops its own, at whatever stage it is."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gristmill.serving.api_error import ApiError, as_api_error
from gristmill.serving.assistant import Reply
from gristmill.serving.chat_request import ChatRequest

MAX_WAITING = 32  # requests in the queue

T = TypeVar("T")
Begin = Callable[[], tuple[ChatRequest, Reply]]


class AnswerQueue:
    """Who waits for the model. One thread works on it: whoever leaves, no two steps are ever taken at a time."""

    def __init__(self) -> None:
        self.model = ThreadPoolExecutor(1, "model")
        self.reader = ThreadPoolExecutor(1, "reader")  # of requests: a long one holds up neither the loop nor the model
        self.turn = asyncio.Lock()
        self.inside = 0  # requests read, waiting or answered

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue. Raises ApiError where it is full."""
        if self.inside > MAX_WAITING:
            raise ApiError(429, "too many requests are waiting; try again soon", code="rate_limit_exceeded")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def read(self, work: Callable[[], T]) -> T:
        """What reading a request gives."""
        return await asyncio.get_running_loop().run_in_executor(self.reader, work)

    async def make(self, reply: Reply, put: Callable[[str], None]) -> None:
        """Give `put` the pieces of an answer as they come, once it is its turn.

        Being cancelled ends the answer with the step under way, and lets the next one begin after that step.
        """
        async with self.turn:
            loop, pieces = asyncio.get_running_loop(), iter(reply)
            try:
                while (piece := await loop.run_in_executor(self.model, next, pieces, None)) is not None:
                    if piece:
                        put(piece)
            finally:
                self.model.submit(pieces.close)


class Answer(Response):
    """A chat completion as a response: made while it is sent, given up as soon as the client has left."""

    media_type = "text/event-stream"

    def __init__(self, queue: AnswerQueue, begin: Begin, model: str) -> None:
        """`begin` reads the request (in a thread; it may raise ApiError or UserError); `model` is the name to give."""
        super().__init__()
        del self.headers["content-length"]
        self.queue, self.begin = queue, begin
        self.about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self.started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves first."""
        self.scope, self.receive, self.send = scope, receive, send
        answering, leaving = asyncio.create_task(self.answer()), asyncio.create_task(left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the server stops, and its patience is over
            if not self.started:
                raise
            await self.write(ApiError(503, "the server is stopping").content(), last=True)
        finally:
            gone = not answering.done()
            await cancel(answering, leaving)
        if not gone:
            answering.result()

    async def answer(self) -> None:
        """Make and send."""
        texts: asyncio.Queue[str | None] = asyncio.Queue()  # a slow reader holds up nobody else; an answer is not long
        with ExitStack() as place:
            place.enter_context(self.queue.place())
            asked, reply = await self.queue.read(self.begin)
            making = asyncio.create_task(self.queue.make(reply, texts.put_nowait))
            making.add_done_callback(lambda _: place.close())
            making.add_done_callback(lambda _: texts.put_nowait(None))
            try:
                pieces = collected(texts, making)
                await (self.stream(asked, reply, pieces) if asked.stream else self.whole(reply, pieces))
            finally:
                await cancel(making)

    async def whole(self, reply: Reply, pieces: AsyncIterator[str]) -> None:
        """Send it when it is complete."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join([piece async for piece in pieces])}
        if reply.annotations:
            message["annotations"] = reply.annotations
        choice = {"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}
        content = {**self.about, "object": "chat.completion", "choices": [choice], "usage": usage(reply)}
        await JSONResponse(content)(self.scope, self.receive, self.send)

    async def stream(self, asked: ChatRequest, reply: Reply, pieces: AsyncIterator[str]) -> None:
        """Send it as server-sent events while it is made. What fails before the first text is an ordinary error."""
        opening = {"role": "assistant", "content": ""}
        try:
            async for piece in pieces:
                if not self.started:
                    await self.write(self.chunk(opening))
                await self.write(self.chunk({"content": piece}))
        except Exception as error:
            if not self.started:
                raise
            logging.getLogger("uvicorn.error").exception("an answer failed while it was sent")
            return await self.write(as_api_error(error).content(), last=True)
        if not self.started:
            await self.write(self.chunk(opening))
        await self.write(self.chunk({"annotations": reply.annotations} if reply.annotations else {}, reply.finish))
        if asked.stream_options and asked.stream_options.include_usage:
            await self.write({**self.about, "object": "chat.completion.chunk", "choices": [], "usage": usage(reply)})
        await self.write("[DONE]", last=True)

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        """One part of a streamed completion."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**self.about, "object": "chat.completion.chunk", "choices": [choice]}

    async def write(self, content: dict[str, Any] | str, *, last: bool = False) -> None:
        """Send one event."""
        if not self.started:
            self.started = True
            await self.send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        data = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        await self.send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": not last})


async def collected(texts: asyncio.Queue[str | None], making: asyncio.Task[None]) -> AsyncIterator[str]:
    """The texts up to None; then raises what went wrong in making them."""
    while (text := await texts.get()) is not None:
        yield text
    await making


async def left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """End tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def usage(reply: Reply) -> dict[str, int]:
    """Tokens read and written."""
    read, written = reply.prompt_tokens, reply.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
