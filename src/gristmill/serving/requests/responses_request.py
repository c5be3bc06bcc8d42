"""The body of a request for a response."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from gristmill.serving.api_error import ApiError
from gristmill.serving.requests.chat_request import Part, held_to, text_of
from gristmill.serving.requests.request_fields import Count, Remembered, Schema, Strict, refused
from gristmill.serving.requests.tool_fields import MOST_TOOLS, Function, FunctionName, Offer, called, offered

TEXT = ("input_text", "output_text", "text", "refusal")  # parts that are read


class Item(Strict):
    """An item of the input: a message of text, a call of a function, what a call gave, or a thought before one."""

    type: str | None = "message"
    role: str | None = None
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None
    name: str = ""
    arguments: str = ""
    call_id: str = ""
    output: str | Annotated[list[Part], Field(fail_fast=True)] | None = None


class FunctionChoice(FunctionName):
    """The function that must be called."""

    type: Literal["function"] = "function"


class TextFormat(Strict):
    """What the text must be: OpenAI's form of `response_format` here."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class TextField(Strict):
    """How the text is written."""

    model_config = ConfigDict(extra="forbid")
    verbosity: Literal["medium"] | None = None
    format: TextFormat | None = None


class ResponsesRequest(Remembered):
    """A request for the next message."""

    input: str | Annotated[list[Item], Field(min_length=1, fail_fast=True)]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    text: TextField | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MOST_TOOLS, fail_fast=True)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Any = None  # repeated in the response

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        super().check()
        if (self.n or 1) > 1:
            raise ApiError(400, "n is not supported", "n", "unsupported_parameter")
        if self.offer and self.form is not None:
            raise ApiError(400, "text.format is not supported together with functions", "text.format")

    @cached_property
    def offer(self) -> Offer | None:
        """What the answer may call. Tools that a server would bring itself are none here."""
        functions = []
        for place, tool in enumerate(self.tools or []):
            if tool.get("type") == "function":
                try:
                    functions.append(Function.model_validate(tool))
                except ValidationError as error:
                    raise refused(error, Function, "tools", place) from None
        return offered(functions, self.tool_choice, self.parallel_tool_calls)

    @property
    def choice(self) -> str | dict[str, Any]:
        """What must be called, as the response repeats it."""
        chosen = self.tool_choice or ("auto" if self.offer else "none")
        return chosen if isinstance(chosen, str) else chosen.model_dump()

    @property
    def format(self) -> TextFormat:
        """What the text must be."""
        return (self.text and self.text.format) or TextFormat()

    @property
    def form(self) -> Schema | None:
        """The JSON schema of the answer, if it must fit one. Raises ApiError where it is missing."""
        return held_to(self.format.type, self.format.schema_, "text.format.schema")

    def said(self) -> list[dict[str, Any]]:
        """The messages as the template takes them."""
        made: list[dict[str, Any]] = [{"role": "system", "content": self.instructions}] if self.instructions else []
        items = [Item(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return [*made, *turns_of(items, "input")]


def turns_of(items: Sequence[Item], name: str) -> list[dict[str, Any]]:
    """Items as the template takes them. Raises ApiError for what is neither text nor a call of a function."""
    made: list[dict[str, Any]] = []
    thought: dict[str, Any] = {}
    for place, item in enumerate(items):
        if item.type == "reasoning":
            parts = item.content if isinstance(item.content, list) else []
            text = "".join(part.text or "" for part in parts if part.type == "reasoning_text")
            thought = {"reasoning_content": text} if text else {}
            continue
        if item.type == "function_call":
            call = {"type": "function", "id": item.call_id, "function": called(item.name, item.arguments)}
            made.append({"role": "assistant", "content": "", "tool_calls": [call], **thought})
        elif item.type == "function_call_output":
            made.append({"role": "tool", "content": text_of(item.output, TEXT), "tool_call_id": item.call_id})
        elif item.type in (None, "message"):
            role = "system" if item.role == "developer" else item.role or ""
            said = thought if role == "assistant" else {}
            made.append({"role": role, "content": text_of(item.content, TEXT), **said})
        else:
            raise ApiError(400, f"{name}.{place}: {item.type} is not supported", name, "unsupported_parameter")
        thought = {}
    return made
