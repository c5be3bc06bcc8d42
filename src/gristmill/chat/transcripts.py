"""Conversations written as plain text: `Q: … A: …`, `Human: … Assistant: …`, `### Instruction: … ### Response: …`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

Messages = list[dict[str, str]]
MARKS = (  # how the user's and the assistant's turns begin; a text keeps to one pair
    ("q", "a"),
    ("question", "answer"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("### human", "### assistant"),
    ("### instruction", "### response"),
)
SYSTEM = "system"
BEGINS = re.compile(rf"\s*(?:{SYSTEM}|{'|'.join(user for user, _ in MARKS)}):", re.IGNORECASE)


def transcript(text: str) -> Messages | None:
    """The turns of a text that begins with a mark, without the blanks around each; None where it begins otherwise.

    A mark counts at the beginning of a line; where the text begins with an empty line, after an empty line only, as
    HH-RLHF has them (arXiv:2204.05862).
    """
    if not BEGINS.match(text):
        return None
    gap = r"(?:^\s*|\n[^\S\n]*\n)" if text.startswith("\n\n") else r"(?:^|\n)[^\S\n]*"
    for user, assistant in MARKS:
        roles = {user: "user", assistant: "assistant", SYSTEM: "system"}
        parts = re.split(rf"{gap}({'|'.join(roles)}):", text, flags=re.IGNORECASE)
        said = [(roles[mark.lower()], part.strip()) for mark, part in zip(parts[1::2], parts[2::2], strict=True)]
        if not parts[0].strip() and any(role == "user" for role, _ in said):
            return [{"role": role, "content": part} for role, part in said]
    return None


DAMAGED = "\ufffd"  # in place of a line that is no text


def passages(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The records of a text file, each with the number of its first line: where it begins with a mark, a new one begins
    with every mark of the user (or system) after an empty line; else every line is one."""
    marked, first, held, empty = None, 1, list[str](), True
    for number, line in enumerate(lines, 1):
        if marked is None and line.strip(DAMAGED).strip():  # a line that is damaged does not tell
            marked = bool(BEGINS.match(line))
        if held and (not marked or (empty and BEGINS.match(line))):
            yield first, "".join(held).strip()
            held = []
        empty = not line.strip()
        if held or not empty:
            first = first if held else number
            held.append(line)
    if held:
        yield first, "".join(held).strip()
