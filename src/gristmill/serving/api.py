"""The HTTP API: OpenAI's chat completions (https://platform.openai.com/docs/api-reference/chat), and a chat page."""

from __future__ import annotations

import secrets
import time
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gristmill.errors import UserError
from gristmill.serving.answer import Answer, AnswerQueue
from gristmill.serving.api_error import ApiError, as_api_error, valid
from gristmill.serving.assistant import MAX_TOKENS, Assistant, Reply
from gristmill.serving.chat_request import ChatRequest, parse, read_body
from gristmill.serving.guard import Guard
from gristmill.serving.quoting import QuotingAssistant


def create_app(assistant: Assistant, *, api_key: str | None = None, loopback: bool = False, host: str = "") -> FastAPI:
    """The application. `loopback`: answer only requests that name this machine, of which `host` is one name."""
    app = FastAPI(title="gristmill", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, api_key=api_key, loopback=loopback, name=host)
    add_error_handlers(app)
    queue, name = AnswerQueue(), valid(assistant.name)
    card: dict[str, Any] = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "gristmill"}
    card["examples"] = [valid(example) for example in assistant.examples]  # ours, for the chat page
    page = resources.files("gristmill.serving").joinpath("page.html").read_text(encoding="utf-8")

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

    @app.get("/v1/models/{asked:path}")
    async def model(asked: str) -> dict[str, Any]:
        check_model(asked)
        return card

    def check_model(asked: str) -> None:
        if asked not in (name, "gristmill"):
            raise ApiError(404, f"no model {asked}; this server has {name}", "model", "model_not_found")

    if isinstance(assistant, QuotingAssistant):
        card["passages"] = True

        @app.get("/v1/passages")
        def passages(question: str, limit: Annotated[int, Query(ge=1, le=100)] = 5) -> list[dict[str, Any]]:
            return assistant.find(question, limit)

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        body = await read_body(request)

        def begin() -> tuple[ChatRequest, Reply]:
            asked = parse(body)
            check_model(asked.model)
            return asked, begin_reply(assistant, asked)

        return Answer(queue, begin, name)

    return app


def begin_reply(assistant: Assistant, asked: ChatRequest) -> Reply:
    """Begin the answer to a request. Raises ApiError and UserError for messages that cannot be answered."""
    return assistant.reply(
        [message.plain() for message in asked.messages],
        max_tokens=asked.max_completion_tokens or asked.max_tokens or MAX_TOKENS,
        temperature=asked.temperature or 0.0,
        top_p=asked.top_p or 1.0,
        seed=secrets.randbits(31) if asked.seed is None else asked.seed,
        stop=asked.stops,
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer everything that goes wrong in OpenAI's shape."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        return as_api_error(error).response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return ApiError(error.status_code, str(error.detail), headers=dict(error.headers or {})).response()

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    app.add_exception_handler(ApiError, known)
    app.add_exception_handler(UserError, known)
    app.add_exception_handler(Exception, known)  # and uvicorn logs it with its traceback
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, gone)
