"""Conversations as ChatGPT and Claude export them (`conversations.json`).

ChatGPT's are a tree of messages, of which the branch that was shown last is read; Claude's are a list. Neither format
is published: these are the fields that exports of 2023 to 2025 have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gristmill.errors import UserError

APART = ("thoughts", "reasoning_recap", "user_editable_context", "model_editable_context", "thinking")  # not said
ONLY_TEXT = "only text can be learned from"


def exported(record: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The messages of a record, in OpenAI's layout; None where it is no export. Raises UserError where one calls a tool
    of the service, whose results are not learned."""
    if isinstance(record.get("mapping"), Mapping):
        return list(of_tree(record["mapping"], record.get("current_node")))
    if isinstance(record.get("chat_messages"), list):
        return [of_list(fields(message)) for message in record["chat_messages"]]
    return None


def of_tree(nodes: Mapping[str, Any], last: Any) -> Iterator[dict[str, Any]]:
    """The messages on the way to a node of ChatGPT's; where it is none of them, to the last one without children."""
    left, at, branch = dict(nodes), str(last), list[Mapping[str, Any]]()
    if at not in left:
        at = next((name for name in reversed(left) if not fields(left[name]).get("children")), "")
    while at in left:
        node = fields(left.pop(at))  # once: what others wrote may go round
        at = str(node.get("parent"))
        branch.append(fields(node.get("message")))
    for message in reversed(branch):
        author, content, about = (fields(message.get(name)) for name in ("author", "content", "metadata"))
        role, kind = author.get("role"), content.get("content_type")
        if kind in APART or about.get("is_visually_hidden_from_conversation"):
            continue
        if role == "tool" or message.get("recipient") not in (None, "all"):
            tool = author.get("name") if role == "tool" else message["recipient"]
            raise UserError(f"a message calls {tool!r}, a tool of ChatGPT's", ONLY_TEXT)
        parts = content["parts"] if isinstance(content.get("parts"), list) else [content.get("text")]
        if any(parts):
            parts = [{"type": one.get("content_type"), **one} if isinstance(one, Mapping) else one for one in parts]
            yield {"role": role, "content": parts}


def of_list(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message of Claude's, with the text of the files that were given with it."""
    said, files = (message.get(name) or [] for name in ("content", "attachments"))
    parts = said if isinstance(said, list) and said else [message.get("text")]
    parts = [part for part in parts if fields(part).get("type") not in APART]
    given = (fields(file).get("extracted_content") for file in (files if isinstance(files, list) else []))
    return {"role": message.get("sender"), "content": [*parts, *(f"\n\n{text}" for text in given if text)]}


def fields(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}
