"""The body of a text completion request."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gristmill.serving.api_error import ApiError
from gristmill.serving.requests.request_fields import MAX_CHOICES, Count, Integer, Likeliest, Sampled
from gristmill.tokenizer.encode import Tokenizer

Tokens = Annotated[list[Integer], Field(fail_fast=True)]


class CompletionRequest(Sampled):
    """A request to go on with texts, or with tokens."""

    prompt: str | Annotated[list[str], Field(fail_fast=True)] | Tokens | Annotated[list[Tokens], Field(fail_fast=True)]
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
        """The prompts as tokens, and how many each begins with that the client did not send.

        A text begins as a document does; tokens are taken as they are. Raises ApiError for numbers that are none.
        """
        given = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if given and isinstance(given[0], int):
            given = [given]
        if not 0 < len(given) * (self.n or 1) <= MAX_CHOICES:
            raise ApiError(400, f"prompt: 1 to {MAX_CHOICES} answers are given at a time", "prompt")
        if isinstance(given[0], str):
            texts = [str(text) for text in given]
            return [[tokenizer.end_of_text, *tokenizer.encode(text)] for text in texts], 1
        prompts = [list(one) for one in given if not isinstance(one, (str, int))]
        if not all(0 <= token < tokenizer.vocab_size for prompt in prompts for token in prompt):
            raise ApiError(400, f"prompt: tokens are numbers below {tokenizer.vocab_size}", "prompt")
        return prompts, 0
