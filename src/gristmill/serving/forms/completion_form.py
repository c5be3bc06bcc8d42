"""Text completions as OpenAI tells them (https://platform.openai.com/docs/api-reference/completions)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from gristmill.generation.scheduler import Token
from gristmill.serving.forms.chat_form import token_text
from gristmill.serving.forms.form import Choice, Form, event, finite
from gristmill.tokenizer.encode import Tokenizer


class CompletionForm(Form):
    """`echo` begins with the prompts; log-probabilities are four lists of equal length.

    The last in them is the token that ended a text, if one did: lm-evaluation-harness asks for one token more than it
    scores, and leaves out the last.
    """

    kind, chunk_object = "cmpl", "text_completion"

    def __init__(
        self,
        model: str,
        choices: Sequence[Choice],
        *,
        tokenizer: Tokenizer,
        logprobs: bool,
        echo: bool,
        hidden: int,
        **told: Any,
    ) -> None:
        """`hidden`: how many tokens each prompt begins with that the client did not send."""
        super().__init__(model, choices, **told)
        self.tokenizer, self.logprobs, self.echo, self.hidden = tokenizer, logprobs, echo, hidden
        self.begun: set[int] = set()
        self.told: dict[int, list[dict[str, Any]]] = {choice.index: [] for choice in choices}
        self.written = dict.fromkeys(self.told, 0)  # characters

    def take(self, choice: Choice) -> str:
        text, tokens = choice.take()
        if self.echo and choice.index not in self.begun and (choice.tokens or choice.finish):
            self.begun.add(choice.index)
            made = choice.generation
            text = self.tokenizer.decode(made.tokens[self.hidden : made.prompt]) + text
            choice.said[:] = [text]
            tokens = [*self.prompt_tokens(choice), *tokens]
        if choice.last:
            tokens, choice.last = [*tokens, choice.last], None
        return self.piece(choice, text, tokens) if text or tokens else ""

    def prompt_tokens(self, choice: Choice) -> list[Token]:
        """The tokens of the prompt that the client sent; of the first nothing is known."""
        made = choice.generation
        scores = made.prompt_scores[max(0, self.hidden - 1) :]
        return [Token(made.tokens[0], float("nan"), {}), *scores] if not self.hidden else scores

    def piece(self, choice: Choice, text: str, tokens: Sequence[Token]) -> str:
        told = self.lists(choice.index, tokens) if self.logprobs else None
        if told:
            self.told[choice.index].append(told)
        return self.chunk(choice, text, told, None) if text or told else ""

    def chunk(self, choice: Choice, text: str, logprobs: dict[str, Any] | None, finish: str | None) -> str:
        """One event."""
        one = {"index": choice.index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return event({**self.about, "object": self.chunk_object, "choices": [one], **self.rest})

    def lists(self, index: int, tokens: Sequence[Token]) -> dict[str, Any]:
        """Log-probabilities in OpenAI's old form."""
        names, offsets = [token_text(self.tokenizer, token.token) for token in tokens], []
        for token in tokens:
            offsets.append(self.written[index])
            self.written[index] += len(self.tokenizer.decode([token.token]))
        unknown = [token.logprob != token.logprob for token in tokens]
        likeliest = [
            {token_text(self.tokenizer, other): finite(logprob) for other, logprob in token.likeliest.items()}
            | {name: finite(token.logprob)}
            for name, token in zip(names, tokens, strict=True)
        ]
        return {
            "tokens": names,
            "token_logprobs": [None if no else finite(t.logprob) for t, no in zip(tokens, unknown, strict=True)],
            "top_logprobs": [None if no else one for one, no in zip(likeliest, unknown, strict=True)],
            "text_offset": offsets,
        }

    def closing(self, choice: Choice) -> str:
        return self.chunk(choice, "", None, choice.finish)

    def whole(self) -> dict[str, Any]:
        lists = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        return {
            **self.about,
            "object": self.chunk_object,
            "choices": [
                {
                    "index": one.index,
                    "text": "".join(one.said),
                    "logprobs": {
                        name: list(chain.from_iterable(part[name] for part in self.told[one.index])) for name in lists
                    }
                    if self.logprobs
                    else None,
                    "finish_reason": one.finish,
                }
                for one in self.choices
            ],
            "usage": self.usage(),
        }
