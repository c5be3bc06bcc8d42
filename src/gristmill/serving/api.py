"""The HTTP API: OpenAI's chat completions (https://platform.openai.com/docs/api-reference/chat), and a chat page.

One answer is made at a time; the others wait their turn. A client that goes away stops its answer.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from gristmill.errors import UserError
from gristmill.serving.assistant import MAX_TOKENS, Assistant, Reply

MAX_BODY = 1_000_000  # bytes of a request
MAX_WAITING = 32  # requests in the queue
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
UNSUPPORTED = ("tools", "functions", "logprobs", "audio", "modalities")


class ApiError(Exception):
    """An error in the shape that OpenAI's clients know."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def response(self) -> JSONResponse:
        """The HTTP response."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        content = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": content}, self.status)


class Part(BaseModel):
    """A piece of a message's content. Only text is understood."""

    type: str
    text: str = ""


class Message(BaseModel):
    """One message."""

    role: str
    content: str | list[Part]

    def plain(self) -> dict[str, str]:
        """The message as the chat template takes it."""
        if not isinstance(self.content, str) and any(part.type != "text" for part in self.content):
            raise ApiError(400, "only text content is supported", "messages")
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """What a stream should hold besides text."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of a chat completion request; unlike OpenAI's, temperature is 0 where it is not given."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: str = "gristmill"
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None


class Queue:
    """Lets one request at a time at the model, in order, and refuses more than may wait."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0

    async def __aenter__(self) -> None:
        self.waiting += 1
        try:
            await self.lock.acquire()
        finally:
            self.waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self.lock.release()

    def check(self) -> None:
        """Raise ApiError where the queue is full."""
        if self.waiting >= MAX_WAITING:
            raise ApiError(429, "too many requests are waiting; try again soon", code="rate_limit_exceeded")


def create_app(assistant: Assistant, *, api_key: str | None = None, loopback: bool = False) -> FastAPI:
    """The application. `loopback`: answer only requests that name this machine (against DNS rebinding)."""
    app = FastAPI(title="gristmill", docs_url=None, redoc_url=None, openapi_url=None)
    queue = Queue()
    card: dict[str, Any] = {"id": assistant.name, "object": "model", "created": int(time.time())}
    card |= {"owned_by": "gristmill", "examples": assistant.examples}  # the last is ours, for the chat page
    page = resources.files("gristmill.serving").joinpath("page.html").read_text(encoding="utf-8")

    @app.middleware("http")
    async def guard(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        host = request.headers.get("host", "")
        if (
            loopback
            and host.removesuffix(f":{host.rpartition(':')[2]}") not in LOOPBACK_NAMES
            and (host not in LOOPBACK_NAMES)
        ):
            return ApiError(403, "this server answers only to the names of this machine").response()
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if (
            api_key
            and request.url.path.startswith("/v1/")
            and not hmac.compare_digest(given.encode(), api_key.encode())
        ):
            return ApiError(401, "wrong or missing API key", code="invalid_api_key").response()
        response = await proceed(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(UserError)
    async def user_error(_: Request, error: UserError) -> JSONResponse:
        return ApiError(400, error.problem, "messages").response()

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return ApiError(error.status_code, str(error.detail)).response()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/")
    async def chat_page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
        headers = {
            "Content-Security-Policy": f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
        }
        return HTMLResponse(page.replace("NONCE", nonce), headers=headers)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        check_model(name)
        return card

    def check_model(name: str) -> None:
        if name not in (assistant.name, "gristmill"):
            raise ApiError(404, f"no model {name}; this server has {assistant.name}", "model", "model_not_found")

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        asked = parse(await read_body(request))
        check_model(asked.model)
        queue.check()
        reply = assistant.reply(
            [message.plain() for message in asked.messages],
            max_tokens=asked.max_completion_tokens or asked.max_tokens or MAX_TOKENS,
            temperature=asked.temperature or 0.0,
            top_p=asked.top_p or 1.0,
            seed=secrets.randbits(31) if asked.seed is None else asked.seed % 2**63,
            stop=[asked.stop] if isinstance(asked.stop, str) else asked.stop or [],
        )
        about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": assistant.name}
        if asked.stream:
            with_usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return StreamingResponse(events(queue, reply, about, with_usage), media_type="text/event-stream")
        parts = []
        async with queue:
            async for piece in pieces(reply):
                parts.append(piece)
                if await request.is_disconnected():
                    return Response(status_code=499)
        message = {"role": "assistant", "content": "".join(parts)}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}
        return JSONResponse({**about, "object": "chat.completion", "choices": [choice], "usage": usage(reply)})

    return app


async def read_body(request: Request) -> bytes:
    """The request's body, refused where it is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(413, f"the request is larger than {MAX_BODY} bytes")
    return body


def parse(body: bytes) -> ChatRequest:
    """The body as a request. Raises ApiError naming the first field that is wrong."""
    try:
        data = json.loads(body)
        asked = ChatRequest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or None
        raise ApiError(400, f"{field or 'body'}: {first['msg'].lower()}", field) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not valid JSON") from None
    if asked.n not in (None, 1):
        raise ApiError(400, "n: only one answer at a time is supported", "n")
    for name in UNSUPPORTED:
        if data.get(name):
            raise ApiError(400, f"{name} is not supported", name)
    return asked


async def pieces(reply: Reply) -> AsyncIterator[str]:
    """The reply's pieces, each made in a worker thread."""
    iterator = iter(reply)
    while (piece := await run_in_threadpool(next, iterator, None)) is not None:
        yield piece


async def events(queue: Queue, reply: Reply, about: dict[str, Any], with_usage: bool) -> AsyncIterator[str]:
    """A streamed completion as server-sent events."""

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return sse({**about, "object": "chat.completion.chunk", "choices": [choice]})

    async with queue:
        yield event({"role": "assistant", "content": ""})
        async for piece in pieces(reply):
            yield event({"content": piece})
    yield event({}, reply.finish)
    if with_usage:
        yield sse({**about, "object": "chat.completion.chunk", "choices": [], "usage": usage(reply)})
    yield "data: [DONE]\n\n"


def sse(content: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def usage(reply: Reply) -> dict[str, int]:
    """Tokens read and written."""
    read, written = reply.prompt_tokens, reply.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(assistant: Assistant, host: str = "127.0.0.1", port: int = 8000, api_key: str | None = None) -> None:
    """Serve until interrupted. Raises UserError where the address cannot be had."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}", "choose another with --port") from error
    shown = f"[{host}]" if ":" in host else host
    print(
        f"{assistant.name}: chat page http://{shown}:{listener.getsockname()[1]}/, API …/v1 (Ctrl-C stops)", flush=True
    )
    app = create_app(assistant, api_key=api_key, loopback=is_loopback(host))
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
