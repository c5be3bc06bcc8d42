"""The body of a chat completion request."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gristmill.serving.api_error import ApiError
from gristmill.settings.descriptions import wrong_value

MAX_BODY = 1_000_000  # bytes of a request
MAX_REFUSED = 64_000_000  # bytes of a larger one that are read, so that a client which first sends all sees the refusal
MAX_STOPS = 4  # stop strings, as in OpenAI's API
UNSUPPORTED = (
    *("tools", "functions", "logprobs", "top_logprobs", "audio", "modalities"),
    *("frequency_penalty", "presence_penalty", "logit_bias", "response_format"),
)
DEFAULTS = ({"type": "text"}, ["text"])  # of response_format and modalities: nothing is asked for

Integer = Annotated[int, BeforeValidator(lambda x: int(x) if isinstance(x, float) and x.is_integer() else x)]
Count = Annotated[Integer, Field(ge=1)]


class Part(BaseModel):
    """A piece of a message's content. Only text is understood."""

    model_config = ConfigDict(strict=True)
    type: str
    text: str = ""


class Message(BaseModel):
    """One message."""

    model_config = ConfigDict(strict=True)
    role: str
    content: str | Annotated[list[Part], Field(fail_fast=True)]

    def plain(self) -> dict[str, str]:
        """The message as the chat template takes it. Raises ApiError where it holds more than text."""
        if not isinstance(self.content, str) and any(part.type != "text" for part in self.content):
            raise ApiError(400, "only text content is supported", "messages")
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """What a stream should hold besides text."""

    model_config = ConfigDict(strict=True)
    include_usage: bool = False


class ChatRequest(BaseModel):
    """A request; unlike OpenAI's, temperature is 0 where it is not given."""

    model_config = ConfigDict(strict=True)
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]  # a million wrong ones are one error
    model: str = "gristmill"
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Integer | None = None
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    n: Integer | None = None

    @property
    def stops(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


async def read_body(request: Request) -> bytes:
    """The request's body. Raises ApiError where it is too large, after most clients have sent it."""
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_REFUSED:
            break
        if size <= MAX_BODY:
            parts.append(chunk)
    if size > MAX_BODY:
        raise ApiError(413, f"the request is larger than {MAX_BODY} bytes")
    return b"".join(parts)


def parse(body: bytes) -> ChatRequest:
    """The body as a request. Raises ApiError naming the first field that is wrong."""
    try:
        data = json.loads(body, parse_constant=refuse_constant)
        asked = ChatRequest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = field_place(first["loc"])
        field = ".".join(map(str, place)) or None
        wrong = wrong_value(first, ChatRequest, place)  # in JSON a table is an object
        wrong = wrong.replace("a table", "an object").replace("tables", "objects")
        raise ApiError(400, f"{field or 'the body'}{wrong}", field) from None
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of thousands of digits; nested too deep
        raise ApiError(400, "the body is no JSON that can be read") from None
    if asked.n not in (None, 1):
        raise ApiError(400, "n: only one answer at a time is supported", "n")
    if len(asked.stops) > MAX_STOPS:
        raise ApiError(400, f"stop: at most {MAX_STOPS} strings are supported", "stop")
    for name in UNSUPPORTED:
        if data.get(name) and data[name] not in DEFAULTS:
            raise ApiError(400, f"{name} is not supported", name)
    return asked


def refuse_constant(name: str) -> Any:
    """Raise ValueError for NaN, Infinity and -Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)


def field_place(location: tuple[int | str, ...]) -> list[int | str]:
    """Where pydantic found something wrong, without the names that it gives to the members of a union."""
    return [part for part in location if part != "str" and not str(part).startswith("list[")]
