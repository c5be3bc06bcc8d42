"""The body of a chat completion request."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from gristmill.serving.api_error import ApiError
from gristmill.serving.requests.request_fields import NOTHING, Count, Likeliest, Remembered, Schema, Strict
from gristmill.serving.requests.tool_fields import MOST_TOOLS, Offer, Tool, ToolCall, ToolChoice, offered


class Part(Strict):
    """A piece of a message's content. Only text is understood."""

    type: str
    text: str | None = None
    refusal: str | None = None


class Message(Strict):
    """One message. What was thought before an answer is read again where the model's template has it."""

    model_config = ConfigDict(extra="allow")
    reasoning_content: str | None = None
    role: str
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None

    def plain(self, place: int) -> dict[str, Any]:
        """The message as the chat template takes it. Raises ApiError where it holds more than text."""
        for name, value in (self.model_extra or {}).items():
            if value not in NOTHING and not (self.role == "tool" and name == "name" and isinstance(value, str)):
                raise ApiError(400, f"messages.{place}.{name} is not supported", "messages", "unsupported_parameter")
        if self.content is None and self.role != "assistant":
            raise ApiError(400, f"messages.{place}.content is missing", f"messages.{place}.content")
        made = {"role": "system" if self.role == "developer" else self.role, "content": text_of(self.content)}
        calls = {"tool_calls": [call.told() for call in self.tool_calls]} if self.tool_calls else {}
        named = {"tool_call_id": self.tool_call_id, "name": (self.model_extra or {}).get("name")}
        thought = {"reasoning_content": self.reasoning_content} if self.role == "assistant" else {}
        more = {**(named if self.role == "tool" else {}), **thought}
        return {**made, **calls, **{name: value for name, value in more.items() if value}}


def text_of(content: str | list[Part] | None, kinds: tuple[str, ...] = ("text", "refusal")) -> str:
    """The text of a message's content. Raises ApiError where it holds more."""
    if not isinstance(content, list):
        return content or ""
    if any(part.type not in kinds for part in content):
        raise ApiError(400, "only text content is supported", "messages")
    return "".join(part.text or part.refusal or "" for part in content)


class JsonSchema(Strict):
    """The form of an answer. `strict` or not, it is held to."""

    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    schema_: Annotated[Schema, Field(alias="schema")]


class ResponseFormat(Strict):
    """What an answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


def held_to(kind: str, schema: Schema | None, field: str) -> Schema | None:
    """The JSON schema that an answer of some kind must fit, if one. Raises ApiError where `field` should give it."""
    if kind == "json_schema" and schema is None:
        raise ApiError(400, f"{field} is missing", field)
    return {"text": None, "json_object": {"type": "object"}, "json_schema": schema}[kind]


class ChatRequest(Remembered):
    """A request for the next message of a conversation."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]  # a million wrong ones are one error
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Likeliest | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS, fail_fast=True)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None

    @property
    def form(self) -> Schema | None:
        """The JSON schema of the answer, if it must fit one. Raises ApiError where it is missing."""
        asked = self.response_format or ResponseFormat(type="text")
        schema = asked.json_schema.schema_ if asked.json_schema else None
        return held_to(asked.type, schema, "response_format.json_schema")

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs", "top_logprobs")
        if self.offer and self.form is not None:
            raise ApiError(400, "response_format is not supported together with tools", "response_format")

    @cached_property
    def offer(self) -> Offer | None:
        """What the answer may call."""
        choice = self.tool_choice.function if isinstance(self.tool_choice, ToolChoice) else self.tool_choice
        return offered([tool.function for tool in self.tools or []], choice, self.parallel_tool_calls)

    def said(self) -> list[dict[str, Any]]:
        """The messages as the template takes them."""
        return [message.plain(place) for place, message in enumerate(self.messages)]
