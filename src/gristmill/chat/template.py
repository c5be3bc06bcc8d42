"""The chat template (ChatML, or that of a model by others): turns are opened and closed by control tokens that no text
can produce.

A template is Jinja, as other tools have it. What it puts around what each role says is read off once, by rendering a
few conversations; then text and template are encoded apart: the tokens of an answer do not depend on what is before it,
and are those that generation gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gristmill.errors import UserError
from gristmill.progress import console
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import CONTROL

# ChatML; a conversation begins as a document does. Other tools parse control tokens out of content, `render` does not.
# What lies between its marks `generation` is what is learned (transformers' `return_assistant_tokens_mask` tells it).
TOOLS = "You can call these functions:\n", 'A call is <tool_call>{"name": …, "arguments": {…}}</tool_call>'
CALL, RESULT = ("<tool_call>", "</tool_call>"), ("<tool_response>", "</tool_response>")
JINJA = (
    "{{ '<|endoftext|>' }}{% if tools %}{{ '<|im_start|>system\\n' }}{% if messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] + '\\n\\n' }}{% endif %}{{ 'You can call these functions:\\n' }}{% for tool in tools %}"
    "{{ tool['function'] | tojson }}{{ '\\n' }}{% endfor %}"
    """{{ 'A call is <tool_call>{"name": …, "arguments": {…}}</tool_call><|im_end|>' }}{{ '\\n' }}{% endif %}"""
    "{% for message in messages %}{% if not (tools and loop.first and message['role'] == 'system') %}"
    "{{ '<|im_start|>' + ('user' if message['role'] == 'tool' else message['role']) + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{% if message['content'] %}{{ message['content'] }}{% endif %}"
    "{% if message['tool_calls'] %}{% for call in message['tool_calls'] %}"
    """{{ '<tool_call>{"name": "' + call['function']['name'] + '", "arguments": ' }}"""
    "{% if call['function']['arguments'] is string %}{{ call['function']['arguments'] }}"
    "{% else %}{{ call['function']['arguments'] | tojson }}{% endif %}{{ '}</tool_call>' }}"
    "{% endfor %}{% endif %}{{ '<|im_end|>' }}{% endgeneration %}"
    "{% elif message['role'] == 'tool' %}{{ '<tool_response>' + message['content'] + '</tool_response><|im_end|>' }}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SAID = re.compile("\ue000[0-9]\ue001")  # what stands for a text while a template is read
GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")  # transformers' own, which Jinja does not know
DAY = "26 Jul 2024"  # what a template that writes the date is told: the same every day


class Template:
    """What stands before and after what each role says, as token ids."""

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        """Raises ValueError or Jinja's TemplateError where a template is not of turns that `<|im_end|>`, or what does
        the same, ends."""
        self.source = source
        (first, after_user), (_, middle, last) = self.around("user"), self.around("user", "assistant", "user")[:3]
        after = self.around("user", "assistant")[-1]
        before_user, before = cut(last, after, ""), cut(middle, after_user, "")
        begins, between, _ = self.around("system", "user")
        opening = cut(self.around("user", opened=True)[-1], after_user, "")
        texts = [cut(first, "", before_user), begins, cut(between, "", before_user)]
        whole = [begins, between, after_user + before, after + before_user, after_user + opening]
        if self.around("system", "user", "assistant", "user", opened=True) != whole:
            raise ValueError("its turns are not alike")
        controls = dict(zip(tokenizer.controls, range(len(tokenizer.pieces), tokenizer.vocab_size), strict=True))
        known = re.compile(f"({'|'.join(map(re.escape, sorted(controls, key=len, reverse=True)))})")

        def encode(text: str) -> list[int]:
            parts = known.split(text)
            found = [[controls[part]] if part in controls else tokenizer.encode(part) for part in parts]
            return [token for part in found for token in part]

        self.plain, self.begins, after_system = map(encode, texts)  # without and with what the system says
        self.before = {"user": encode(before_user), "assistant": encode(before)}
        self.after = {"system": after_system, "user": encode(after_user), "assistant": encode(after)}
        self.opening = encode(opening)
        if self.after["assistant"][:1] != [tokenizer.im_end]:
            raise ValueError("its answers end with a token that is not known to end one")

    def around(self, *roles: str, opened: bool = False) -> list[str]:
        """What the template puts before, between and after what these roles say."""
        messages = [{"role": role, "content": f"\ue000{number}\ue001"} for number, role in enumerate(roles)]
        made = compiled(self.source).render(messages=messages, add_generation_prompt=opened, tools=None)
        parts = SAID.split(made)
        if len(parts) != len(roles) + 1:
            raise ValueError("it leaves out what someone says")
        return parts


def cut(text: str, begin: str, end: str) -> str:
    """A text without its beginning and end. Raises ValueError where it has others."""
    if not (text.startswith(begin) and text.endswith(end) and len(text) >= len(begin) + len(end)):
        raise ValueError("its turns are not alike")
    return text[len(begin) : len(text) - len(end)]


@lru_cache(maxsize=4)
def compiled(source: str) -> Any:
    """A template with what transformers lets it use, in Jinja's sandbox: it is data of others."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    sandbox.globals |= {"raise_exception": refuse, "strftime_now": lambda _: DAY}
    return sandbox.from_string(GENERATION.sub(lambda m: f"{m[1]}{'endif' if m[2] else 'if true'}{m[3]}", source))


@lru_cache(maxsize=4)
def template_of(tokenizer: Tokenizer) -> Template:
    """The template of a tokenizer's model: its own; ChatML where it has none, or (which is said) another kind."""
    if tokenizer.chat_template:
        try:
            return Template(tokenizer.chat_template, tokenizer)
        except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            told = f"           the model's own chat template cannot be used ({error}): ChatML takes its place"
            console.print(told, style="yellow", markup=False, soft_wrap=True)
    names = tokenizer.controls
    shown = {tokenizer.end_of_text: CONTROL[0], tokenizer.im_start: CONTROL[1], tokenizer.im_end: CONTROL[2]}
    source = JINJA
    for token, name in shown.items():
        source = source.replace(name, names[token - len(tokenizer.pieces)])
    return Template(source, tokenizer)


def render(
    messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, *, generation_prompt: bool = False
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and a mask that is True on the assistant's words and the `<|im_end|>` after them,
    but for answers of weight 0.

    `generation_prompt` opens the assistant's next turn. Raises UserError for messages out of order or shape.
    """
    check(messages)
    ids = beginning(messages, tokenizer)
    mask = [False] * len(ids)
    for message in messages[messages[0]["role"] == "system" :]:
        said, learned = turn(message, tokenizer)
        ids += said
        mask += learned
    if generation_prompt:
        ids += opening(tokenizer)
        mask += [False] * (len(ids) - len(mask))
    return ids, mask


def beginning(messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer) -> list[int]:
    """What a conversation begins with: what its system message says is part of that."""
    template = template_of(tokenizer)
    if messages[0]["role"] != "system":
        return list(template.plain)
    return [*template.begins, *tokenizer.encode(messages[0]["content"]), *template.after["system"]]


def turn(message: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Token ids and mask of one message of user or assistant: they depend on no other."""
    template, role = template_of(tokenizer), message["role"]
    before, said, after = template.before[role], tokenizer.encode(message["content"]), template.after[role]
    spoken = role == "assistant" and bool(message.get("weight", 1))
    mask = [False] * len(before) + [spoken] * (len(said) + 1) + [False] * (len(after) - 1)
    return [*before, *said, *after], mask


def opening(tokenizer: Tokenizer) -> list[int]:
    """What opens the assistant's next turn."""
    return list(template_of(tokenizer).opening)


def exchange(said: str, answer: str) -> list[dict[str, Any]]:
    """What the user says, and the assistant's answer."""
    return [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]


def check_shape(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError unless there are messages, each of which has a text."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise UserError("a conversation has no messages", "give at least one user message")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise UserError("a message has no text content", 'each message is {"role": …, "content": "text"}')


def check(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError unless messages are an optional system one, then user and assistant in turn."""
    check_shape(messages)
    roles = [message.get("role") for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if turns != [("user", "assistant")[index % 2] for index in range(len(turns))] or not turns:
        raise UserError(f"the roles are {roles}", "an optional system message, then user and assistant in turn")


def in_turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Messages in any order as the template has them: what the system says is one message at the beginning, and so is
    what one of the others says in a row. The assistant may come first. What is said twice in a row counts once.

    Raises UserError where a message has no text or another role, or none is the user's.
    """
    check_shape(messages)
    made: list[tuple[str, list[str]]] = []
    for message in sorted(messages, key=lambda message: message.get("role") != "system"):
        role, text = message.get("role"), message["content"]
        if role not in ("system", "user", "assistant"):
            raise UserError(f"no role is called {role!r}", "roles are system, user and assistant")
        if not made or made[-1][0] != role:
            made.append((role, [text]))
        elif made[-1][1][-1] != text:
            made[-1][1].append(text)
    if not any(role == "user" for role, _ in made):
        raise UserError("no message is the user's", "give one whose role is user")
    return [{"role": role, "content": "\n\n".join(texts)} for role, texts in made]
