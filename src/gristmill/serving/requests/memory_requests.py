"""The bodies of requests about what is remembered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gristmill.serving.api_error import ApiError
from gristmill.serving.requests.request_fields import Body
from gristmill.serving.requests.responses_request import Item, turns_of

MOST_ITEMS = 20  # at a time, as OpenAI has it
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class FactBody(Body):
    """A fact, in a request."""

    text: str


class ItemsBody(Body):
    """Messages for a conversation."""

    items: Annotated[list[Item], Field(max_length=MOST_ITEMS, fail_fast=True)] | None = None

    def said(self) -> list[tuple[str, str, str]]:
        """Role, text and status of each. Raises ApiError where one is none of user or assistant."""
        turns = turns_of(self.items or [], "items")
        for one in turns:
            if one["role"] not in ("user", "assistant"):
                raise ApiError(400, f"items: {one['role']} is not kept: user and assistant are", "items")
        return [(one["role"], one["content"], "completed") for one in turns]


class ConversationBody(ItemsBody):
    """What a conversation is called, in OpenAI's way (`metadata.title`), and what it begins with."""

    metadata: Metadata | None = None
