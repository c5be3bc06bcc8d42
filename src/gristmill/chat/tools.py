"""Functions that a model may call, as the chat template tells of them: all of it is text within turns.

The system's message lists them, a call stands in the assistant's turn and its result in the user's, in marks as Hermes
has them (https://github.com/NousResearch/Hermes-Function-Calling).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from gristmill.chat.template import CALL, RESULT, TOOLS, compiled, template_of
from gristmill.errors import UserError
from gristmill.tokenizer.encode import Tokenizer

HEAD = re.compile(r'\{"name": "([\w-]+)", "arguments": ')
NAME, ARGUMENTS = '{"name": ', ', "arguments": '


def listing(functions: Sequence[Mapping[str, Any]]) -> str:
    """What the system's message says of functions (`name`, `description`, `parameters`)."""
    return TOOLS[0] + "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in functions) + TOOLS[1]


def call_text(name: str, arguments: str) -> str:
    """A call, with its arguments as JSON."""
    return f"{CALL[0]}{NAME}{json.dumps(name)}{ARGUMENTS}{arguments}}}{CALL[1]}"


def result_text(result: str) -> str:
    """What a call gave."""
    return f"{RESULT[0]}{result}{RESULT[1]}"


def grammar(functions: Sequence[tuple[str, Mapping[str, Any]]], *, forced: bool, several: bool) -> str:
    """Answers with calls of functions (name, JSON schema of the arguments), as llguidance's grammar: text and calls, or
    calls alone where they are `forced`."""
    mark, end = json.dumps(CALL[0]), json.dumps("}" + CALL[1])
    either = " | ".join(f"call{number}" for number in range(len(functions)))
    rules = [f"made: ({either}) {end}", "TEXT: /(.|\\n)*/", f"opened[lazy]: TEXT {mark}"]
    for number, (name, schema) in enumerate(functions):
        held = json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}})
        rules.append(f"call{number}: {json.dumps(NAME + json.dumps(name) + ARGUMENTS)} %json {held}")
    if forced:
        return "\n".join([f"start: ({mark} made){'+' * several}", *rules])
    return "\n".join([f"start: {'(opened made)* TEXT' if several else 'opened made | TEXT'}", *rules])


@lru_cache(maxsize=4)
def check_carried(tokenizer: Tokenizer) -> None:
    """Raise UserError where a tokenizer's chat template says it in other words than these."""
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ask = {"role": "user", "content": "?"}
    given = [{"role": "system", "content": "s"}, ask, {"role": "assistant", "content": "", "tool_calls": [call]}]
    given += [{"role": "tool", "tool_call_id": "1", "content": "r"}]
    said = [{"role": "system", "content": f"s\n\n{listing([function])}"}, ask]
    said += [{"role": "assistant", "content": call_text("f", "{}")}, {"role": "user", "content": result_text("r")}]
    render = compiled(template_of(tokenizer).source).render
    try:
        tools = [{"type": "function", "function": function}]
        carried = render(messages=given, tools=tools) == render(messages=said, tools=None)
    except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError):
        carried = False
    if not carried or {*CALL, *RESULT} & {*tokenizer.controls}:
        raise UserError("this model's chat template tells of tools in its own way", "leave them out; vLLM reads it")


class Calls:
    """Tells an answer's text from its calls while it comes."""

    def __init__(self) -> None:
        self.waiting, self.state = "", "text"
        self.depth, self.quoted, self.escaped = 0, False, False  # of the arguments' JSON

    def add(self, text: str) -> Iterator[tuple[str, str]]:
        """What is certain now: pieces of "text", "name" at the beginning of a call, pieces of its "arguments"."""
        self.waiting += text
        while self.waiting:
            state, found = self.state, getattr(self, f"in_{self.state}")()
            if found:
                yield found
            if not found and state == self.state:
                return

    def end(self) -> Iterator[tuple[str, str]]:
        """What waits as text when no more comes."""
        rest, self.waiting = self.waiting if self.state == "text" else "", ""
        if rest:
            yield "text", rest

    def in_text(self) -> tuple[str, str] | None:
        """The text before a call; what may begin one waits."""
        at = self.waiting.find(CALL[0])
        if at < 0:
            at = len(self.waiting)
            at -= next(n for n in range(len(CALL[0]) - 1, -1, -1) if self.waiting.endswith(CALL[0][:n]))
        else:
            self.state = "head"
        text, self.waiting = self.waiting[:at], self.waiting[at:].removeprefix(CALL[0])
        return ("text", text) if text else None

    def in_head(self) -> tuple[str, str] | None:
        """The name of what is called."""
        found = HEAD.match(self.waiting)
        if not found:
            return None
        self.waiting, self.state = self.waiting[found.end() :], "arguments"
        return "name", found[1]

    def in_arguments(self) -> tuple[str, str] | None:
        """The arguments, up to the brace that closes them."""
        at = 0
        while at < len(self.waiting) and self.state == "arguments":
            letter, at = self.waiting[at], at + 1
            if self.quoted:
                self.quoted = self.escaped or letter != '"'
                self.escaped = letter == "\\" and not self.escaped
            elif letter == '"':
                self.quoted = True
            elif letter in "{}":
                self.depth += 1 if letter == "{" else -1
                self.state = "arguments" if self.depth else "tail"
        text, self.waiting = self.waiting[:at], self.waiting[at:]
        return "arguments", text

    def in_tail(self) -> None:
        """What closes a call."""
        tail = "}" + CALL[1]
        if self.waiting.startswith(tail):
            self.waiting, self.state = self.waiting[len(tail) :], "text"
