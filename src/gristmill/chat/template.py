"""The one chat template (ChatML): turns are opened and closed by control tokens that no text can produce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.errors import UserError
from gristmill.tokenizer.encode import Tokenizer

# The same template for other tools; they do parse control tokens out of content, `render` does not. What lies between
# its marks `generation` is what `render` masks as learned (transformers' `return_assistant_tokens_mask` tells it).
JINJA = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def render(
    messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, *, generation_prompt: bool = False
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and a mask that is True on the assistant's words and the `<|im_end|>` after them.

    `generation_prompt` opens the assistant's next turn. Raises UserError for messages out of order or shape.
    """
    check(messages)
    ids: list[int] = []
    mask: list[bool] = []
    for message in messages:
        said, learned = turn(message, tokenizer)
        ids += said
        mask += learned
    if generation_prompt:
        ids += opening(tokenizer)
        mask += [False] * (len(ids) - len(mask))
    return ids, mask


def turn(message: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Token ids and mask of one message: they depend on no other."""
    newline = tokenizer.encode("\n")
    # role, newline and content are encoded as one text, as transformers does between two control tokens
    header = tokenizer.encode(f"{message['role']}\n")
    whole = tokenizer.encode(f"{message['role']}\n{message['content']}")
    said = [*whole, tokenizer.im_end]
    skip = len(header) if whole[: len(header)] == header else shared(header, whole)
    spoken = message["role"] == "assistant"
    mask = [False] * (1 + skip) + [spoken] * (len(said) - skip) + [False] * len(newline)
    return [tokenizer.im_start, *said, *newline], mask


def opening(tokenizer: Tokenizer) -> list[int]:
    """What opens the assistant's next turn."""
    return [tokenizer.im_start, *tokenizer.encode("assistant\n")]


def shared(header: list[int], whole: list[int]) -> int:
    """How many tokens two sequences begin with alike (content that begins with a line break merges into the header)."""
    count = 0
    while count < min(len(header), len(whole)) and header[count] == whole[count]:
        count += 1
    return count


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
