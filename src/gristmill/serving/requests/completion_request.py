"""The body of a text completion request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gristmill.serving.api_error import ApiError
from gristmill.serving.requests.request_fields import MAX_CHOICES, Body, Count, Integer, Likeliest, Sampled
from gristmill.tokenizer.encode import Tokenizer

Tokens = Annotated[list[Integer], Field(fail_fast=True)]
Texts = str | Annotated[list[str], Field(fail_fast=True)] | Tokens | Annotated[list[Tokens], Field(fail_fast=True)]


class CompletionRequest(Sampled):
    """A request to go on with texts, or with tokens."""

    prompt: Texts
    max_tokens: Annotated[Integer, Field(ge=0)] | None = None  # none: only the prompt is echoed
    echo: bool | None = None
    logprobs: Likeliest | None = None
    best_of: Count | None = None
    suffix: str | None = None

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        super().check()
        if self.best_of not in (None, self.n or 1):
            raise ApiError(400, "best_of is not supported", "best_of", "unsupported_parameter")
        if self.suffix:
            raise ApiError(400, "suffix is not supported", "suffix", "unsupported_parameter")
        if self.max_tokens == 0 and not self.echo:
            raise ApiError(400, "max_tokens: 0 without echo asks for nothing", "max_tokens")

    def prompts(self, tokenizer: Tokenizer) -> tuple[list[list[int]], int]:
        """The prompts as tokens, and how many each begins with that the client did not send. Raises ApiError."""
        return as_tokens(self.prompt, MAX_CHOICES // (self.n or 1), tokenizer, "prompt")


class EmbeddingRequest(Body):
    """A request for vectors of texts."""

    input: Texts
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None


def as_tokens(given: Texts, most: int, tokenizer: Tokenizer, name: str) -> tuple[list[list[int]], int]:
    """Texts as tokens, and how many each begins with that the client did not send.

    A text begins as a document does; tokens are taken as they are. Raises ApiError for numbers that are none.
    """
    listed: Any = given if isinstance(given, list) else [given]
    if listed and isinstance(listed[0], int):
        listed = [listed]
    if not 0 < len(listed) <= most:
        raise ApiError(400, f"{name}: 1 to {most} at a time", name)
    if isinstance(listed[0], str):
        return [[tokenizer.end_of_text, *tokenizer.encode(text)] for text in listed], 1
    if not all(0 <= token < tokenizer.vocab_size for one in listed for token in one):
        raise ApiError(400, f"{name}: tokens are numbers below {tokenizer.vocab_size}", name)
    return [list(one) for one in listed], 0
