"""Answers, made together. A client that leaves stops its own, at whatever stage it is."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gristmill.generation.scheduler import SLOTS
from gristmill.serving.api_error import ApiError, as_api_error, busy
from gristmill.serving.assistant import Assistant
from gristmill.serving.forms.form import Form
from gristmill.serving.worker import Order, Worker

MAX_INSIDE = SLOTS + 32  # requests that are read, waiting or answered

T = TypeVar("T")


class AnswerQueue:
    """Who is inside, and the threads that work for them."""

    def __init__(self, assistant: Assistant) -> None:
        self.worker = Worker(assistant)
        self.reader = ThreadPoolExecutor(1, "reader")  # of requests: a long one holds up neither the loop nor the model
        self.inside = 0
        self.counts: Counter[str] = Counter()  # requests by outcome, tokens read and written

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place inside. Raises ApiError where there is none."""
        if self.inside >= MAX_INSIDE:
            self.counts["refused"] += 1
            raise busy("requests are waiting")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def read(self, work: Callable[[], T]) -> T:
        """What reading a request gives."""

        def read() -> T:
            try:
                return work()
            except StopIteration as error:  # which no future takes: its client would wait for ever
                raise RuntimeError("StopIteration") from error

        return await asyncio.get_running_loop().run_in_executor(self.reader, read)


class Answer(Response):
    """The response to a request: made while it is sent, given up as soon as the client has left."""

    media_type = "text/event-stream"

    def __init__(self, queue: AnswerQueue, begin: Callable[[], Form]) -> None:
        """`begin` reads the request (in a thread; it may raise ApiError or UserError)."""
        super().__init__()
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-cache"
        self.queue, self.begin = queue, begin
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
            await self.write(self.form.failure(ApiError(503, "the server is stopping").content()), last=True)
        finally:
            gone = not answering.done()
            self.queue.counts["left"] += gone
            await cancel(answering, leaving)
        if not gone:
            answering.result()

    async def answer(self) -> None:
        """Make and send."""
        with ExitStack() as place:
            place.enter_context(self.queue.place())
            self.form = await self.queue.read(self.begin)
            choices = self.form.choices
            made = [choice.made for choice in choices if choice.made]
            eager = self.form.streams or any(choice.text.stop for choice in choices if choice.made)
            order = Order(made, eager, place.pop_all().close)
            self.queue.worker.submit(order)
            try:
                await (self.stream(order) if self.form.streams else self.whole(order))
                self.count("answered")
            except asyncio.CancelledError:
                await self.keep()
                raise
            except Exception:
                self.count("failed")
                raise
            finally:
                self.queue.worker.cancel(order.generations)
                order.finished()

    async def keep(self) -> None:
        """Let the answer be kept, if it is to be."""
        if self.form.keep:
            await self.queue.read(self.form.end)

    def count(self, outcome: str) -> None:
        """Count a request and its tokens."""
        usage = self.form.usage()
        counts = {outcome: 1, "prompt_tokens": usage["prompt_tokens"], "tokens": usage["completion_tokens"]}
        self.queue.counts.update(counts)

    async def events(self, order: Order) -> AsyncIterator[str]:
        """What is new, in one text each time, until all is told."""
        form, left_over = self.form, list(self.form.choices)
        while left_over:
            await order.fresh.wait()
            order.fresh.clear()
            made = []
            for choice in left_over:
                made.append(form.take(choice))
                if choice.stopped:
                    self.queue.worker.cancel([choice.generation])
                if choice.finish and form.streams:
                    made.append(form.closing(choice))
            left_over = [choice for choice in left_over if not choice.finish]
            if any(choice.generation.error for choice in left_over):  # which comes after what was made before
                order.fresh.set()
            if not left_over:  # whoever reads the last word finds it kept
                await self.keep()
            yield "".join(made)

    async def whole(self, order: Order) -> None:
        """Send it when it is complete."""
        async for _ in self.events(order):
            pass
        await JSONResponse(self.form.whole())(self.scope, self.receive, self.send)

    async def stream(self, order: Order) -> None:
        """Send it as server-sent events while it is made. What fails before the first text is an ordinary error."""
        opening = self.form.opening()
        try:
            async for text in self.events(order):
                if text:
                    await self.write(text if self.started else opening + text)
        except Exception as error:
            if not self.started:
                raise
            logging.getLogger("uvicorn.error").exception("an answer failed while it was sent")
            self.queue.counts["failed"] += 1
            return await self.write(self.form.failure(as_api_error(error).content()), last=True)
        await self.write(self.form.ending(), last=True)

    async def write(self, text: str, *, last: bool = False) -> None:
        """Send events."""
        if not self.started:
            self.started = True
            await self.send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self.send({"type": "http.response.body", "body": text.encode(), "more_body": not last})


async def left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """End tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
