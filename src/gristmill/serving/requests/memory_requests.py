"""The bodies of requests about what is remembered, and the fields by which an answer uses it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gristmill.serving.api_error import ApiError
from gristmill.serving.requests.request_fields import Body, Sampled

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class Named(BaseModel):
    """An object by its id."""

    model_config = ConfigDict(strict=True)
    id: str


class Remembered(Sampled):
    """A request whose answer may use the memory; it does only where these ask for it."""

    conversation: str | Named | None = (
        None  # OpenAI's: its messages come before these, and it gets these and the answer
    )
    memory: bool | None = None  # ours: facts and other conversations are used, "remember that …" is understood

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation."""
        return self.conversation.id if isinstance(self.conversation, Named) else self.conversation

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        super().check()
        if self.conversation and (self.n or 1) > 1:
            raise ApiError(400, "a conversation goes on with one answer: n must be 1", "n")


class FactBody(Body):
    """A fact, in a request."""

    text: str


class ConversationBody(Body):
    """What a conversation is called, in OpenAI's way: `metadata.title`."""

    metadata: Metadata | None = None
