"""The HTTP API, in OpenAI's shape (https://platform.openai.com/docs/api-reference), and a chat page."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gristmill.errors import UserError
from gristmill.serving.answer import Answer, AnswerQueue
from gristmill.serving.api_error import ApiError, as_api_error, valid
from gristmill.serving.assistant import Assistant
from gristmill.serving.chat_page import add_page
from gristmill.serving.embeddings import add_embeddings
from gristmill.serving.forms.form import Form
from gristmill.serving.guard import Guard
from gristmill.serving.memory.memory_routes import add_memory_routes
from gristmill.serving.memory.memory_store import MemoryStore
from gristmill.serving.metrics import metrics
from gristmill.serving.requests.begin import Beginner
from gristmill.serving.requests.request_fields import read_body
from gristmill.serving.tracing import Tracer, add_trace

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/models")  # always there
STARTED_WITH = ("/v1/memory", "/v1/conversations", "/v1/trace", "/v1/passages")  # there where a server has the thing


def create_app(
    assistant: Assistant,
    memory: MemoryStore | None = None,
    tracer: Tracer | None = None,
    *,
    api_keys: Sequence[str] = (),
    loopback: bool = False,
    host: str = "",
) -> FastAPI:
    """The application. `api_keys`: whose requests are answered, a user each; everybody's where there are none.
    `loopback`: answer only requests that name this machine, of which `host` is one name."""
    app = FastAPI(title="gristmill", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, api_keys=api_keys, loopback=loopback, name=host)
    add_error_handlers(app)
    add_page(app)
    queue, beginner, name = AnswerQueue(assistant), Beginner(assistant, memory), valid(assistant.name)
    about: dict[str, Any] = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "gristmill"}

    def card() -> dict[str, Any]:
        return {**about, "examples": list(map(valid, assistant.offered()))}  # ours, for the chat page

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def figures() -> Response:
        return Response(metrics(queue), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [card()]}

    @app.get("/v1/models/{asked:path}")
    def model(asked: str) -> dict[str, Any]:
        beginner.check_model(asked)
        return card()

    if pages := beginner.pages:
        about["passages"] = True

        @app.get("/v1/passages")
        def passages(
            question: Annotated[list[str], Query(min_length=1)], limit: Annotated[int, Query(ge=1, le=100)] = 5
        ) -> list[dict[str, Any]]:
            return pages.find(question, limit)  # the last of a person's questions in a conversation

    if memory:
        about["memory"] = True
        add_memory_routes(app, memory, queue)

    if tracer:
        about["trace"] = True
        add_trace(app, tracer)

    add_embeddings(app, beginner, queue)
    app.post("/v1/chat/completions", response_model=None)(answering(queue, beginner.chat))
    app.post("/v1/completions", response_model=None)(answering(queue, beginner.completion, "prompt"))
    app.post("/v1/responses", response_model=None)(answering(queue, beginner.response, "input"))
    return app


def answering(
    queue: AnswerQueue, begin: Callable[[bytes, str], Form], field: str = "messages"
) -> Callable[[Request], Awaitable[Response]]:
    """The route on which `begin` reads a request's body for a user, who asks with a `field`."""

    def begun(body: bytes, user: str) -> Form:
        try:
            return begin(body, user)
        except UserError as error:
            raise as_api_error(error, field) from error

    async def answer(request: Request) -> Response:
        body = await read_body(request)
        return Answer(queue, partial(begun, body, request.state.user))

    return answer


def add_error_handlers(app: FastAPI) -> None:
    """Answer everything that goes wrong in OpenAI's shape."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        return as_api_error(error).response()

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        path, headers, told = request.url.path, dict(error.headers or {}), str(error.detail)
        if error.status_code == 404:
            told = f"this server has no {path}; it has {', '.join(PATHS)}"
            if path.startswith(STARTED_WITH):
                told = f"this server was started without what {path} needs: gristmill serve --help"
        elif error.status_code == 405:
            told = f"{path} takes {headers.get('allow') or headers.get('Allow')}, not {request.method}"
        return ApiError(error.status_code, told, headers=headers).response()

    async def malformed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return ApiError(400, f"{first['loc'][-1]}: {first['msg']}", str(first["loc"][-1])).response()

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    app.add_exception_handler(ApiError, known)
    app.add_exception_handler(UserError, known)
    app.add_exception_handler(Exception, known)  # and uvicorn logs it with its traceback
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(ClientDisconnect, gone)
