"""Chat completions as OpenAI tells them (https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from gristmill.chat.tools import CallForm, Calls
from gristmill.generation.scheduler import Token
from gristmill.serving.forms.form import Choice, Form, event, finite, parts
from gristmill.tokenizer.encode import Tokenizer


class ChatForm(Form):
    """The role first, then text, then an empty delta with the reason of the end; usage if asked for. What was thought
    is `reasoning_content`, as DeepSeek and vLLM have it."""

    kind, chunk_object = "chatcmpl", "chat.completion.chunk"

    def __init__(
        self, model: str, choices: Sequence[Choice], *, tokenizer: Tokenizer | None, calls: CallForm | None, **told: Any
    ) -> None:
        """`tokenizer`: of the tokens whose log-probabilities are told, None where none are; `calls`: how functions are
        called, if they may be."""
        super().__init__(model, choices, **told)
        self.tokenizer = tokenizer
        self.told: dict[int, list[dict[str, Any]]] = {choice.index: [] for choice in choices}
        self.texts: dict[int, list[str]] = {choice.index: [] for choice in choices}
        self.thoughts: dict[int, list[str]] = {choice.index: [] for choice in choices}
        self.calls: dict[int, list[dict[str, Any]]] = {choice.index: [] for choice in choices}
        self.readers = {choice.index: Calls(calls) for choice in choices} if calls else {}
        about = json.dumps({**self.about, "object": self.chunk_object}, ensure_ascii=False)
        self.head = f'data: {about[:-1]}, "choices": [{{"index": '
        self.tail = f', "finish_reason": null}}]{", " + json.dumps(self.rest)[1:-1] if self.rest else ""}}}\n\n'

    def opening(self) -> str:
        deltas = ({"role": "assistant", "content": "", "refusal": None} for _ in self.choices)
        return "".join(self.chunk(one.index, delta, None) for one, delta in zip(self.choices, deltas, strict=True))

    def chunk(self, index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None) -> str:
        """One event before the end."""
        content = f'"delta": {json.dumps(delta, ensure_ascii=False)}, "logprobs": {json.dumps(logprobs)}'
        return f"{self.head}{index}, {content}{self.tail}"

    def piece(self, choice: Choice, text: str, tokens: Sequence[Token]) -> str:
        told = None
        if self.tokenizer:
            entries = [entry(self.tokenizer, token) for token in tokens]
            self.told[choice.index] += entries
            told = {"content": entries, "refusal": None}
        deltas = list(self.deltas(choice, text)) or ([{"content": ""}] if tokens and self.tokenizer else [])
        logprobs = (told, *[None] * len(deltas))
        return "".join(self.chunk(choice.index, delta, one) for delta, one in zip(deltas, logprobs, strict=False))

    def deltas(self, choice: Choice, text: str) -> Iterator[dict[str, Any]]:
        """What a text adds to the message: thoughts, text, and calls of functions."""
        calls = self.calls[choice.index]
        if thought := choice.thought():
            self.thoughts[choice.index].append(thought)
            yield {"reasoning_content": thought}
        for kind, part in parts(choice, text, self.readers.get(choice.index)):
            if kind == "text":
                self.texts[choice.index].append(part)
                yield {"content": part}
            elif kind == "name":
                called = {"name": part, "arguments": ""}
                calls.append({"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": called})
                yield {"tool_calls": [{"index": len(calls) - 1, **calls[-1], "function": dict(called)}]}
            else:
                calls[-1]["function"]["arguments"] += part
                yield {"tool_calls": [{"index": len(calls) - 1, "function": {"arguments": part}}]}

    def finish(self, choice: Choice) -> str | None:
        """Why a choice ended."""
        return "tool_calls" if self.calls[choice.index] and choice.finish == "stop" else choice.finish

    def message(self, choice: Choice) -> dict[str, Any]:
        """The whole message of a choice."""
        text, calls = "".join(self.texts[choice.index]), self.calls[choice.index]
        content = {"content": (text or None) if calls else text, "refusal": None}
        if thoughts := self.thoughts[choice.index]:
            content["reasoning_content"] = "".join(thoughts).rstrip()
        return {"role": "assistant", **content, **({"tool_calls": calls} if calls else {}), **cited(choice)}

    def closing(self, choice: Choice) -> str:
        end = {"index": choice.index, "delta": cited(choice), "logprobs": None, "finish_reason": self.finish(choice)}
        return event({**self.about, "object": self.chunk_object, "choices": [end], **self.rest, **self.notes})

    def whole(self) -> dict[str, Any]:
        return {
            **self.about,
            "object": "chat.completion",
            "choices": [
                {
                    "index": one.index,
                    "message": self.message(one),
                    "finish_reason": self.finish(one),
                    "logprobs": {"content": self.told[one.index], "refusal": None} if self.tokenizer else None,
                }
                for one in self.choices
            ],
            "usage": self.usage(),
            **self.notes,
        }


def cited(choice: Choice) -> dict[str, Any]:
    """What an answer cites, if anything."""
    return {"annotations": choice.annotations} if choice.annotations else {}


def entry(tokenizer: Tokenizer, token: Token) -> dict[str, Any]:
    """A token's log-probability, and those of the likeliest ones."""

    def named(number: int, logprob: float) -> dict[str, Any]:
        piece = tokenizer.token_bytes(number)
        return {"token": token_text(tokenizer, number), "logprob": finite(logprob), "bytes": list(piece) or None}

    return {**named(*token[:2]), "top_logprobs": [named(*one) for one in token.likeliest.items()]}


def token_text(tokenizer: Tokenizer, number: int) -> str:
    """A token as text: bytes that are no text are shown as such, as OpenAI does."""
    piece = tokenizer.token_bytes(number)
    if not piece:
        return tokenizer.controls[number - len(tokenizer.pieces)]
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
