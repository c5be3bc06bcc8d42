"""Functions that a model may call: how a call is written, held to, and read back from an answer.

In our own words the system's message lists them, a call stands in the assistant's turn and its result in the user's, in
marks as Hermes has them (https://github.com/NousResearch/Hermes-Function-Calling). A model by others has the words of
its own chat template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOOLS = "You can call these functions:\n", 'A call is <tool_call>{"name": …, "arguments": {…}}</tool_call>'
CALL, RESULT = ("<tool_call>", "</tool_call>"), ("<tool_response>", "</tool_response>")
# arguments as templates write them: a model goes on as it has read
SPACED = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
LETTERS = re.compile(r"[\w.-]*")


def listing(functions: Sequence[Mapping[str, Any]]) -> str:
    """What the system's message says of functions (`name`, `description`, `parameters`)."""
    return TOOLS[0] + "".join(as_json(one) + "\n" for one in functions) + TOOLS[1]


def call_text(name: str, arguments: str) -> str:
    """A call, with its arguments as JSON."""
    return f'{CALL[0]}{{"name": {json.dumps(name)}, "arguments": {arguments}}}{CALL[1]}'


def result_text(result: str) -> str:
    """What a call gave."""
    return f"{RESULT[0]}{result}{RESULT[1]}"


def as_json(value: Any) -> str:
    """A value as JSON; what JSON does not have, as a date in a table, as its text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message in our words: calls are text of the assistant's, results of the user's, functions of the system's."""
    made = {name: value for name, value in message.items() if name not in ("tools", "tool_calls", "tool_call_id")}
    for called in (call["function"] for call in message.get("tool_calls", ())):
        given = called["arguments"]
        made["content"] += call_text(called["name"], given if isinstance(given, str) else as_json(given))
    if message["role"] == "tool":
        made |= {"role": "user", "content": result_text(message["content"])}
    if tools := message.get("tools"):
        made["content"] = "\n\n".join(filter(None, (made["content"], listing([one["function"] for one in tools]))))
    return made


@dataclass(frozen=True)
class CallForm:
    """What a template writes around the name and the arguments of a call, and between two calls."""

    opens: str  # up to the name
    middle: str
    closes: str  # after the arguments' last brace
    gap: str | None  # None: an answer has one call

    @property
    def mark(self) -> str:
        """What shows that a call follows; empty where the answer is the call, as JSON."""
        return self.opens[: self.opens.index("{")].rstrip()

    def grammar(self, functions: Sequence[tuple[str, Mapping[str, Any]]], *, forced: bool, several: bool) -> str:
        """Answers with calls of functions (name, JSON schema of the arguments), as llguidance's grammar: text and
        calls, or calls alone where they are `forced`."""
        mark, head, end = self.mark, self.opens[len(self.mark) :], json.dumps(self.closes)
        several = several and self.gap is not None
        either = " | ".join(f"call{number}" for number in range(len(functions)))
        rules = [f"made: ({either}) {end}", "TEXT: /(.|\\n)*/"]
        for number, (name, schema) in enumerate(functions):
            held = json.dumps({**schema, "x-guidance": SPACED})
            rules.append(f"call{number}: {json.dumps(head + name + self.middle, ensure_ascii=False)} %json {held}")
        if not mark:  # what begins as an object is a call
            return "\n".join([f"start: made{' | OTHER' * (not forced)}", *rules, "OTHER: /([^{](.|\\n)*)?/"])
        opening = json.dumps(mark, ensure_ascii=False)
        rules.append(f"opened[lazy]: TEXT {opening}")
        if forced:
            more = (
                f" ({json.dumps(self.gap + mark, ensure_ascii=False)} made)*"
                if several and self.gap is not None
                else ""
            )
            return "\n".join([f"start: {opening} made{more}", *rules])
        return "\n".join([f"start: {'(opened made)* TEXT' if several else 'opened made | TEXT'}", *rules])


OURS = CallForm('<tool_call>{"name": "', '", "arguments": ', "}</tool_call>", "")


class Calls:
    """Tells an answer's text from its calls while it comes."""

    def __init__(self, form: CallForm = OURS) -> None:
        self.form, self.waiting, self.state, self.after_call, self.begun = form, "", "text", False, False
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
        if rest and not (self.after_call and not rest.strip()):
            yield "text", rest

    def in_text(self) -> tuple[str, str] | None:
        """The text before a call; what may begin one waits, and blanks between two calls are none."""
        opens, marked = self.form.opens, bool(self.form.mark)
        at = self.waiting.find(opens) if marked or not self.begun else -1
        found = at >= 0 if marked else at == 0  # without a mark, only a whole answer is a call
        if not found:
            ends = self.waiting.endswith if marked else self.waiting.__eq__
            may = (n for n in range(len(opens) - 1, 0, -1) if (marked or not self.begun) and ends(opens[:n]))
            at = len(self.waiting) - next(may, 0)
        text = self.waiting[:at]
        if blank := self.after_call and not text.strip():
            text = ""
            if not found:
                return None
        self.waiting = self.waiting[at:]
        self.after_call, self.begun = self.after_call and blank, self.begun or bool(text)
        if found:
            self.waiting, self.state = self.waiting.removeprefix(opens), "head"
        return ("text", text) if text else None

    def in_head(self) -> tuple[str, str] | None:
        """The name of what is called."""
        found = LETTERS.match(self.waiting)
        assert found
        if not self.waiting.startswith(self.form.middle, found.end()):
            return None
        self.waiting, self.state = self.waiting[found.end() + len(self.form.middle) :], "arguments"
        return "name", found[0]

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
        if self.waiting.startswith(self.form.closes):
            self.waiting, self.state = self.waiting[len(self.form.closes) :], "text"
            self.after_call = self.begun = True
