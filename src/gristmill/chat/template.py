"""The chat template (ChatML, or that of a model by others): turns are opened and closed by control tokens that no text
can produce.

A template is Jinja, as other tools have it, and renders a whole conversation with the functions that may be called.
What a text writes out like a control token is marked before, so that it is not taken for one afterwards. What the
assistant says is encoded apart from what opens its turn: its tokens do not depend on what is before it, and are those
that generation gives.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property, lru_cache
from os.path import commonprefix
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gristmill.chat.chatml import chatml, thinks_first
from gristmill.chat.tools import OURS, CallForm, as_text
from gristmill.errors import UserError
from gristmill.progress import warn
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import OVER, THOUGHT

SAID = re.compile("\ue001[0-9]\ue002")  # what stands for a text while a template is read
OPENS, MIDDLE = re.compile(r'[^{]*\{\s*"name":\s*"'), re.compile(r'",\s*"\w+":\s*')  # of a call as JSON
CLOSES = re.compile(r"\s*\}[^{]*")
MARK = "\ue000"  # stands after the first letter of what a text writes like a control token, and after itself
MARKED = re.compile(f"{MARK}({MARK}?)")
GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")  # transformers' own, which Jinja does not know
DAY = date(2024, 7, 26)  # what a template that writes the date is told: the same every day


FAULTS = (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)  # of others' templates
FIELDS = ("role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name")  # of a message, for a template


class Template:
    """A chat template, and what it writes around answers and calls.

    `call` is how it writes a call; None where it has a way of its own that no answer can be held to.
    """

    def __init__(self, source: str, tokenizer: Tokenizer, day: date = DAY) -> None:
        """`day`: what it writes where it writes a date. Raises ValueError or Jinja's TemplateError where a template is
        not of turns that `<|im_end|>`, or what does the same, ends."""
        self.source, self.tokenizer, self.day = source, tokenizer, day
        controls = [name for name in tokenizer.controls if name not in tokenizer.shown]
        self.known, self.marked = one_of(controls), one_of([*controls, MARK])
        numbers = zip(tokenizer.controls, range(len(tokenizer.pieces), tokenizer.vocab_size), strict=True)
        self.written = {name: [number] for name, number in numbers if name in controls}
        self.written |= {text: tokenizer.encode(text) for text in ("\n", "\n\n")}  # often between two of them
        after_user = self.around("user")[1]
        opening = cut(self.around("user", opened=True)[1], after_user)
        between, after = self.around("user", "assistant", "user")[1:3]
        before = cut(between, after_user)
        self.header = commonprefix([opening, before])  # noqa: RUF071  of characters
        if self.header not in (opening, before):  # it ends where a line or a control token does
            ends = [match.end() for match in self.known.finditer(self.header)]
            self.header = self.header[: max([self.header.rfind("\n") + 1, *ends])]
        if not self.known.search(self.header):
            raise ValueError("no control token opens its answers")
        if self.encode(after)[:1] != [tokenizer.im_end]:
            raise ValueError("its answers end with a token that is not known to end one")
        self.around("system", "user", "assistant")
        self.opener = self.encode(self.header)
        self.tells, self.call = self.told_of_calls()
        self.call = self.call if self.tells else OURS

    def around(self, *roles: str, opened: bool = False) -> list[str]:
        """What the template puts before, between and after what these roles say."""
        messages = [{"role": role, "content": f"\ue001{number}\ue002"} for number, role in enumerate(roles)]
        parts = SAID.split(self.raw(messages, None, opened))
        if len(parts) != len(roles) + 1:
            raise ValueError("it leaves out what someone says")
        return parts

    def alike(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        """Whether it surely writes each of the messages the same whatever follows."""
        return self.source == chatml(self.tokenizer) and not any(map(thinks_first, messages))

    def told_of_calls(self) -> tuple[bool, CallForm | None]:
        """Whether it tells of functions, calls and results, and how it writes a call."""

        def call(number: int) -> dict[str, Any]:
            called = {"name": f"fn{number}", "arguments": {f"key{number}": "value"}}
            return {"id": f"call{number:05}", "type": "function", "function": called}

        def answer(*calls: dict[str, Any]) -> tuple[str, str]:
            talk: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
            talk += [{"role": "assistant", "content": "", "tool_calls": list(calls)}]
            talk += [{"role": "tool", "content": f"gave{one['id']}", "tool_call_id": one["id"]} for one in calls]
            text = self.raw([*talk, {"role": "assistant", "content": "!"}], [tool], False)
            return text, self.known.split(text.split(self.header)[1])[0]

        described = {"name": "told0", "description": "d", "parameters": {"type": "object", "properties": {}}}
        tool = {"type": "function", "function": described}
        try:
            text, said = answer(call(1))
        except FAULTS:
            return False, None
        if not all(word in text for word in ("told0", "fn1", "key1", "gavecall00001")):
            return False, None
        form = form_of(said, "fn1", {"key1": "value"})
        try:
            two = answer(call(1), call(2))[1]
        except FAULTS:
            return True, form
        second = said.replace("fn1", "fn2").replace("key1", "key2")
        if form and two.startswith(said) and two.endswith(second) and len(two) >= 2 * len(said):
            form = replace(form, gap=two[len(said) : -len(second)])
        return True, form

    @cached_property
    def stops_thought(self) -> bool:
        """Whether it can be told that nothing is to be thought before an answer."""
        asks = [{"role": "user", "content": "?"}]
        return self.raw(asks, None, True) != self.raw(asks, None, True, thinks=False)

    @cached_property
    def drops_thought(self) -> bool:
        """Whether it leaves out what was thought before the last answer, too, as those of DeepSeek-R1 and QwQ do."""
        talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": f"{THOUGHT}\nwhy\n{OVER}\n\n!"}]
        return "why" not in self.raw(talk, None, False)

    def raw(self, messages: Any, tools: Any, opened: bool, thinks: bool = True) -> str:
        """What Jinja makes of it."""
        told = {"messages": messages, "tools": tools, "add_generation_prompt": opened}
        told |= {} if thinks else {"enable_thinking": False}
        return str(compiled(self.source).render(**told, strftime_now=self.day.strftime))

    def text(self, messages: Sequence[Mapping[str, Any]], *, opened: bool, thinks: bool = True) -> str:
        """A conversation with what may be called, as text in which only the template's control tokens are unmarked.

        Raises UserError where the template refuses it.
        """
        system = messages[0] if messages[0]["role"] == "system" else {}
        tools = system.get("tools") if self.tells else None
        told = messages if self.tells else [as_text(message) for message in messages]
        told = told[bool(tools and not system["content"]) :]
        given = [{name: message[name] for name in FIELDS if message.get(name) is not None} for message in told]
        given = self.mark(given)
        if given and thinks_first(given[-1]) and self.drops_thought:  # what it does not find, it cannot drop
            given[-1]["content"] = given[-1]["content"].replace(OVER, OVER[0] + MARK + OVER[1:])
        try:
            return self.raw(given, self.mark(tools), opened, thinks)
        except FAULTS as error:
            raise UserError(f"the model's own chat template refuses it: {error}", "mend or remove it") from error

    def mark(self, value: Any) -> Any:
        """A value whose texts hold no control token."""
        if isinstance(value, str):
            return self.marked.sub(lambda found: found[0][0] + MARK + found[0][1:], value)
        if isinstance(value, Mapping):
            return {self.mark(name): self.mark(one) for name, one in value.items()}
        return [self.mark(one) for one in value] if isinstance(value, (list, tuple)) else value

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of what `text` gives."""
        ids: list[int] = []
        for part in filter(None, self.known.split(text)):
            known = self.written.get(part)
            ids += known or self.tokenizer.encode(MARKED.sub(r"\1", part) if MARK in part else part)
        return ids

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, opened: bool, thinks: bool = True
    ) -> tuple[list[int], list[bool]]:
        """Token ids and mask, as the function `render` has them, of messages in any order; `thinks`: whether something
        may be thought in the turn that is opened, where the template can tell."""
        begin, *said = self.text(messages, opened=opened, thinks=thinks).split(self.header)
        answers = [message for message in messages if message["role"] == "assistant"]
        if len(said) != len(answers) + opened:
            raise UserError("the model's own chat template leaves out an answer", "mend or remove it")
        ids = self.encode(begin)
        mask = [False] * len(ids)
        for number, part in enumerate(said):
            ids += self.opener
            found = self.encode(part)
            spoken, size = number < len(answers) and bool(answers[number].get("weight", 1)), 0
            if number < len(answers):
                size = next((at for at, token in enumerate(found, 1) if token in self.tokenizer.stops), 0)
            mask += [False] * len(self.opener) + [spoken] * size + [False] * (len(found) - size)
            ids += found
        return ids, mask


def one_of(names: Iterable[str]) -> re.Pattern[str]:
    """Finds any of some texts, the longest first."""
    return re.compile(f"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})")


def form_of(text: str, name: str, arguments: dict[str, str]) -> CallForm | None:
    """How a call of one function is written, if the name comes first and all of it is a JSON object, perhaps between
    marks."""
    at, start = text.find(name), text.find("{", text.find(name))
    if at < 0 or start < 0:
        return None
    try:
        found, end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None
    opens, middle, closes = text[:at], text[at + len(name) : start], text[end:]
    json_object = OPENS.fullmatch(opens) and MIDDLE.fullmatch(middle) and CLOSES.fullmatch(closes)
    return CallForm(opens, middle, closes, None) if found == arguments and json_object else None


def cut(text: str, begin: str) -> str:
    """A text without its beginning. Raises ValueError where it has another."""
    if not text.startswith(begin):
        raise ValueError("its turns are not alike")
    return text[len(begin) :]


def to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, **more: Any) -> str:
    """What transformers' `tojson` gives."""
    told: dict[str, Any] = {"ensure_ascii": ensure_ascii, "indent": indent, "separators": separators, "default": str}
    return json.dumps(value, **told, **more)


@lru_cache(maxsize=4)
def compiled(source: str) -> Any:
    """A template with what transformers lets it use, in Jinja's sandbox: it is data of others."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = to_json
    sandbox.globals["raise_exception"] = refuse
    return sandbox.from_string(GENERATION.sub(lambda m: f"{m[1]}{'endif' if m[2] else 'if true'}{m[3]}", source))


@lru_cache(maxsize=4)
def template_of(tokenizer: Tokenizer) -> Template:
    """The template of a tokenizer's model: its own; ChatML where it has none, or (which is said) another kind."""
    if tokenizer.chat_template:
        try:
            return Template(tokenizer.chat_template, tokenizer)
        except FAULTS as error:
            told = f"           the model's own chat template cannot be used ({error}): ChatML takes its place"
            warn(told)
    return Template(chatml(tokenizer), tokenizer)


def render(
    messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, *, generation_prompt: bool = False
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and a mask that is True on the assistant's words and the `<|im_end|>` after them,
    but for answers of weight 0.

    What may be called is `tools` of the system's message, as OpenAI has them. `generation_prompt` opens the assistant's
    next turn. Raises UserError for messages out of order or shape, and where a model's own template refuses them.
    """
    check(messages)
    return template_of(tokenizer).render(messages, opened=generation_prompt)


def with_answer(
    prompt: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], tokenizer: Tokenizer
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt, the assistant's turn opened, and of an answer with what ends it. Raises UserError as
    `render`."""
    before, _ = render(prompt, tokenizer, generation_prompt=True)
    whole, mask = render([*prompt, {**answer, "weight": 1}], tokenizer)
    end = len(mask) - mask[::-1].index(True)
    if whole[: len(before)] != before:
        raise UserError("the model's own chat template tells of the prompt otherwise after an answer", "remove it")
    return before, whole[len(before) : end]


APART = "an answer that the template writes otherwise once more follows is learned apart"


def lessons(
    messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, most: int = sys.maxsize
) -> list[tuple[list[int], list[bool]]]:
    """What is learned of a conversation: rows of token ids and mask as `render` gives them. Each answer is in one mask,
    where what is before it and its own tokens are those that generation has. Raises UserError as `render`.

    As a rule there is one row. Templates leave out what was thought before earlier answers, as Qwen3's: such an answer
    is learned in a row that ends with it, and is read without its thought in those of later ones (as tinker-cookbook's
    renderers have it: one row as long as each turn extends what was before it). Where a row would have more than `most`
    tokens, that row is all that comes.
    """
    ids, mask = render(messages, tokenizer)
    learned = [at for at, one in enumerate(messages) if one["role"] == "assistant" and one.get("weight", 1)]
    if template_of(tokenizer).alike(messages) or learned == [len(messages) - 1]:
        return [(ids, mask)]
    rows = [(ids, [False] * len(ids))]
    for end in reversed(learned):
        before = [{**one, "weight": 0} if one["role"] == "assistant" else one for one in messages[:end]]
        ids, mask = render([*before, {**messages[end], "weight": 1}], tokenizer)
        if len(ids) > most:
            return [(ids, mask)]
        begin, stop = mask.index(True), len(mask) - mask[::-1].index(True)
        row = next((row for row in rows if row[0][:stop] == ids[:stop]), None)
        if row is None:
            rows.append(row := (ids, [False] * len(ids)))
        row[1][begin:stop] = mask[begin:stop]
    return [row for row in rows if any(row[1])]


def exchange(said: str, answer: str) -> list[dict[str, Any]]:
    """What the user says, and the assistant's answer."""
    return [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]


def text_of(content: Any) -> str:
    """The text of a message: one, or several parts."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text", part.get("refusal")) if isinstance(part, Mapping) else part for part in parts]
    for part, text in zip(parts, texts, strict=True):
        if part is not None and not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise UserError(f"a message has content of type {kind!r}", "only text can be read")
    return "".join(filter(None, texts))


def written(message: Any) -> Any:
    """A message whose content is one text, if it is one in parts or only calls; a developer's is the system's."""
    if not isinstance(message, Mapping):
        return message
    content = message.get("content")
    if isinstance(content, list) or (content is None and message.get("tool_calls")):
        message = {**message, "content": text_of(content)}
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def check_shape(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError unless there are messages, each of which has a text."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise UserError("a conversation has no messages", "give at least one user message")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise UserError("a message has no text content", 'each message is {"role": …, "content": "text"}')


def check(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError unless messages are an optional system one, then user and assistant in turn; what tools gave, in
    answers to the assistant, is one turn of the user's."""
    check_shape(messages)
    roles = [message.get("role") for message in messages]
    said = roles[1:] if roles[0] == "system" else roles
    turns = [role for at, role in enumerate(said) if not (at and role == said[at - 1] == "tool")]
    expected = [("user", "assistant")[index % 2] for index in range(len(turns))]
    if [("user" if role == "tool" and at else role) for at, role in enumerate(turns)] != expected or not turns:
        raise UserError(f"the roles are {roles}", "an optional system message, then user and assistant in turn")


def in_turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages in any order as the template has them: what the system says is one message at the beginning, and so is
    what user or assistant says in a row. The assistant may come first. What is said twice in a row counts once. A text
    may come in parts, and an answer that only calls may have none, as OpenAI has them.

    Raises UserError where a message has no text or another role, or none is the user's.
    """
    if isinstance(messages, str | Mapping):
        told = "a text" if isinstance(messages, str) else "a single message"
        raise UserError(f"messages are a list, not {told}", 'give [{"role": "user", "content": "text"}]')
    if isinstance(messages, Sequence):
        messages = [written(message) for message in messages]
    check_shape(messages)
    made: list[dict[str, Any]] = []
    for message in sorted(messages, key=lambda message: message.get("role") != "system"):
        role, text = message.get("role"), message["content"]
        if role not in ("system", "user", "assistant", "tool"):
            raise UserError(f"no role is called {role!r}", "roles are system, developer, user, assistant and tool")
        if not made or role == "tool" or made[-1]["role"] != role:
            made.append({**message, "content": [text]})
            continue
        last = made[-1]
        if last["content"][-1] != text:
            last["content"].append(text)
        for name in ("tools", "tool_calls"):
            if message.get(name):
                last[name] = [*last.get(name, ()), *message[name]]
    if not any(message["role"] == "user" for message in made):
        raise UserError("no message is the user's", "give one whose role is user")
    return [{**message, "content": "\n\n".join(filter(None, message["content"]))} for message in made]
