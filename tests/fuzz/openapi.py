"""What the API takes and gives, for tools that try it out: `python tests/fuzz/openapi.py > api.json`, then, in an
environment with schemathesis and while `gristmill serve RUN` runs, `schemathesis run api.json --url http://127.0.0.1:8000
--exclude-checks positive_data_acceptance` (a request of the right form may be too long for a model's context).
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from gristmill.serving.requests.chat_request import ChatRequest
from gristmill.serving.requests.completion_request import CompletionRequest, EmbeddingRequest
from gristmill.serving.requests.responses_request import ResponsesRequest
from gristmill.serving.tracing import TraceBody

TEXT = {"type": "string"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
            "properties": {
                "message": {"type": "string", "minLength": 1},
                "type": {"enum": ["invalid_request_error", "server_error"]},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
MODEL = {"type": "object", "required": ["id", "object", "created", "owned_by", "examples"]}
MODELS = {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": MODEL}}}
COMPLETION = {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"]}
RESPONSE = {"type": "object", "required": ["id", "object", "created_at", "model", "status", "output", "usage"]}
EMBEDDINGS = {"type": "object", "required": ["object", "data", "model", "usage"]}
TRACED = {"type": "object", "required": ["spans", "covered", "tokens"]}
POSTED: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "/v1/chat/completions": (ChatRequest, COMPLETION),
    "/v1/completions": (CompletionRequest, COMPLETION),
    "/v1/responses": (ResponsesRequest, RESPONSE),
    "/v1/embeddings": (EmbeddingRequest, EMBEDDINGS),
    "/v1/trace": (TraceBody, TRACED),
}


def gives(schema: dict[str, Any], *refusals: int) -> dict[str, Any]:
    """The responses of a path: the one that is meant, and errors."""
    answers = {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}
    for status in (403, *refusals):
        answers[str(status)] = {"description": "", "content": {"application/json": {"schema": ERROR}}}
    return answers


def description() -> dict[str, Any]:
    """The OpenAPI document."""
    posted: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for path, (kind, made) in POSTED.items():
        asked = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        parts |= asked.pop("$defs", {})
        answer = gives(made, 400, 404, 413, 429)
        answer["200"]["content"]["text/event-stream"] = {"schema": {"type": "object", "required": ["data"]}}
        body = {"required": True, "content": {"application/json": {"schema": asked}}}
        posted[path] = {"post": {"requestBody": body, "responses": answer}}
    for name in ("Message", "Item"):
        parts[name]["properties"]["role"] = {"enum": ["system", "developer", "user", "assistant", "tool"]}
    named = {"name": "model", "in": "path", "required": True, "schema": TEXT}
    page = {"200": {"description": "", "content": {"text/html": {"schema": TEXT}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "gristmill", "version": "1"},
        "paths": {
            "/": {"get": {"responses": page}},
            "/health": {"get": {"responses": gives({"const": {"status": "ok"}})}},
            "/v1/models": {"get": {"responses": gives(MODELS)}},
            "/v1/models/{model}": {"get": {"parameters": [named], "responses": gives(MODEL, 400, 404)}},
            "/metrics": {
                "get": {"responses": {"200": {"description": "", "content": {"text/plain": {"schema": TEXT}}}}}
            },
            **posted,
        },
        "components": {"schemas": parts},
    }


if __name__ == "__main__":
    print(json.dumps(description(), indent=2))
