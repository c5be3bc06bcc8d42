"""Functions in requests (https://platform.openai.com/docs/guides/function-calling): what may be called, what was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from gristmill.chat.template import template_of
from gristmill.chat.tools import CallForm
from gristmill.errors import UserError
from gristmill.generation.engine import Engine
from gristmill.generation.grammar import Grammar
from gristmill.inputs.text_files import parse
from gristmill.serving.api_error import ApiError, mendable
from gristmill.serving.requests.request_fields import Strict

MOST_TOOLS = 128  # as in OpenAI's API
Name = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class Function(Strict):
    """What may be called. `strict` or not, its arguments fit their schema."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A function as a tool."""

    type: Literal["function"]
    function: Function


class Called(Strict):
    """What was called."""

    name: Name
    arguments: str


class ToolCall(Strict):
    """A call that the assistant made."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: Called

    def told(self) -> dict[str, Any]:
        """As the template takes it."""
        return {"type": "function", "function": called(self.function.name, self.function.arguments)} | (
            {"id": self.id} if self.id else {}
        )


class FunctionName(Strict):
    """A function by its name."""

    name: str


class ToolChoice(Strict):
    """The function that must be called."""

    type: Literal["function"] = "function"
    function: FunctionName


class Offer(NamedTuple):
    """The functions that an answer may call."""

    functions: Sequence[Function]
    forced: bool  # whether it must call one
    several: bool  # whether it may call more than one

    def listed(self) -> list[dict[str, Any]]:
        """As the template lists them."""
        fields = {"name", "description", "parameters"}
        functions = [one.model_dump(include=fields, exclude_none=True) for one in self.functions]
        return [{"type": "function", "function": function} for function in functions]

    def form(self, engine: Engine) -> CallForm:
        """How calls are written. Raises ApiError where the model's own template has a way of its own."""
        found = template_of(engine.tokenizer).call
        if found is None:
            told = "tools: this model's chat template writes calls in a way that is not known here"
            raise ApiError(400, told, "tools", "unsupported_parameter")
        return found

    def grammar(self, engine: Engine) -> Grammar:
        """What holds an answer to them. Raises ApiError for a schema that is none, and where that cannot be done."""
        try:
            form, grammars = self.form(engine), engine.grammars
        except UserError as error:
            raise mendable(error, "tools", "unsupported_parameter", before="tools: ") from None
        for place, one in enumerate(self.functions):
            try:
                grammars.json(one.parameters or NOTHING)
            except UserError as error:
                name = f"tools.{place}.function.parameters"
                raise mendable(error, name, before=f"{name} ({one.name}): ") from None
        schemas = [(one.name, one.parameters or NOTHING) for one in self.functions]
        text = form.grammar(schemas, forced=self.forced, several=self.several)
        return grammars.made(text, thoughts=not self.forced)


def called(name: str, arguments: str) -> dict[str, Any]:
    """A call as the template takes it: its arguments are an object, or the text that holds none."""
    made = parse(arguments)
    return {"name": name, "arguments": made if isinstance(made, dict) else arguments}


def offered(functions: Sequence[Function], choice: str | FunctionName | None, parallel: bool | None) -> Offer | None:
    """What may be called; None where nothing may. Raises ApiError for a choice of what is not there."""
    if len({one.name for one in functions}) < len(functions):
        raise ApiError(400, "tools: two functions have one name", "tools")
    if isinstance(choice, FunctionName):
        functions = [one for one in functions if one.name == choice.name]
        if not functions:
            raise ApiError(400, f"tool_choice: no tool is called {choice.name}", "tool_choice")
        return Offer(functions, forced=True, several=False)
    if choice == "required" and not functions:
        raise ApiError(400, "tool_choice: required, and there are no tools", "tool_choice")
    if not functions or choice == "none":
        return None
    forced = choice == "required"  # a small model would call until its answer is full, and so calls once if not asked
    return Offer(functions, forced, several=bool(parallel) if forced else parallel is not False)
