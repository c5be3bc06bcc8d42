"""The body of a request for a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gristmill.serving.api_error import ApiError
from gristmill.serving.requests.chat_request import Part, text_of
from gristmill.serving.requests.request_fields import DEFAULTS, Count, Remembered, Schema


class Item(BaseModel):
    """An item of the input. Only messages of text are understood."""

    model_config = ConfigDict(strict=True)
    type: str | None = "message"
    role: str | None = None
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None


class TextFormat(BaseModel):
    """What the text must be: OpenAI's form of `response_format` here."""

    model_config = ConfigDict(strict=True)
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class TextField(BaseModel):
    """How the text is written."""

    model_config = ConfigDict(strict=True, extra="forbid")
    verbosity: Literal["medium"] | None = None
    format: TextFormat | None = None


class ResponsesRequest(Remembered):
    """A request for the next message."""

    defaults: ClassVar[dict[str, tuple[Any, ...]]] = {
        **DEFAULTS,
        "truncation": ("auto", "disabled"),
        "include": ([],),
    }
    input: str | Annotated[list[Item], Field(min_length=1, fail_fast=True)]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    text: TextField | None = None
    tools: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None

    def check(self) -> None:
        """Raise ApiError for what is not supported. Tools that a server would bring itself are none here."""
        super().check()
        if any(tool.get("type") == "function" for tool in self.tools or []):
            raise ApiError(400, "tools: functions are not supported", "tools", "unsupported_parameter")
        if (self.n or 1) > 1:
            raise ApiError(400, "n is not supported", "n", "unsupported_parameter")

    @property
    def format(self) -> TextFormat:
        """What the text must be."""
        return (self.text and self.text.format) or TextFormat()

    @property
    def form(self) -> Schema | None:
        """The JSON schema of the answer, if it must fit one. Raises ApiError where it is missing."""
        asked = self.format
        if asked.type == "json_schema" and asked.schema_ is None:
            raise ApiError(400, "text.format.schema is missing", "text.format.schema")
        return {"text": None, "json_object": {"type": "object"}, "json_schema": asked.schema_}[asked.type]

    def turns(self) -> list[dict[str, str]]:
        """The messages as the template takes them."""
        made = [{"role": "system", "content": self.instructions}] if self.instructions else []
        items = [Item(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return made + turns_of(items, "input")


def turns_of(items: Sequence[Item], name: str) -> list[dict[str, str]]:
    """Items as the template takes them. Raises ApiError for what is no message of text."""
    made = []
    for place, item in enumerate(items):
        if item.type not in (None, "message"):
            raise ApiError(400, f"{name}.{place}: {item.type} is not supported", name, "unsupported_parameter")
        said = text_of(item.content, ("input_text", "output_text", "text", "refusal"))
        made.append({"role": "system" if item.role == "developer" else item.role or "", "content": said})
    return made
