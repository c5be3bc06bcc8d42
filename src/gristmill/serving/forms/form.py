"""Answers as they are told: what each API makes of what is generated."""

from __future__ import annotations

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gristmill.chat.tools import Calls
from gristmill.generation.answer_text import AnswerText
from gristmill.generation.scheduler import Generation, Token

LEAST = -9999.0  # what is told of a log-probability of -inf, which JSON does not have


class Choice:
    """One answer of a request, while it is made."""

    annotations: Sequence[Mapping[str, Any]] = ()  # OpenAI's, of what it cites
    made: Generation | None  # what is still to be generated, if anything

    def __init__(self, index: int, prompt: int, generation: Generation, text: AnswerText) -> None:
        """`prompt`: the number of its prompt among the request's."""
        self.index, self.prompt, self.generation, self.text = index, prompt, generation, text
        self.made = generation
        self.finish: str | None = None  # "stop" where the model or a stop string ended it, else "length"
        self.said: list[str] = []
        self.tokens = 0  # without the one that ended it
        self.last: Token | None = None  # that one
        self.thinking = 0  # of them, those of a thought
        self.told = 0  # characters of it

    def thought(self) -> str:
        """What was thought since the last call."""
        new = self.text.thought[self.told :]
        self.told += len(new)
        return new

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended it."""
        return self.made is not None and self.text.stopped

    def take(self) -> tuple[str, list[Token]]:
        """The text and the tokens that came since the last call. Raises what went wrong, once all that came before is
        taken."""
        done, made, pieces, tokens = self.generation.done, self.generation.made, list[str](), list[Token]()
        while made and not self.text.stopped:
            token = made.popleft()
            if token.token not in self.generation.stops:
                pieces.append(self.text.add(token.token))
                tokens.append(token)
                self.thinking += self.text.thinking
            else:
                self.last = token
        if self.text.stopped:
            self.finish = "stop"
        elif done:
            if self.generation.error:
                if not tokens:
                    raise self.generation.error
                return "".join(pieces), tokens
            pieces.append(self.text.end())
            self.finish = "length" if self.generation.end is None else "stop"
        self.tokens += len(tokens)
        self.said.append(text := "".join(pieces))
        return text, tokens


class Quotation(Choice):
    """An answer that is complete already, and what it cites."""

    def __init__(self, index: int, text: str, annotations: Sequence[Mapping[str, Any]]) -> None:
        self.index, self.prompt, self.whole, self.annotations = index, 0, text, annotations
        self.made = self.finish = None
        self.said, self.tokens, self.thinking = [], 0, 0

    def thought(self) -> str:
        """None."""
        return ""

    def take(self) -> tuple[str, list[Token]]:
        """All of it."""
        self.finish = "stop"
        self.said.append(self.whole)
        return self.whole, []


class Form(ABC):
    """How one API tells an answer, whole and as a stream of events."""

    kind = ""  # what ids begin with
    chunk_object = ""  # what each event of a stream says that it is

    def __init__(
        self,
        model: str,
        choices: Sequence[Choice],
        *,
        stream: bool,
        include_usage: bool = False,
        notes: Mapping[str, Any] = MappingProxyType({}),
        keep: Callable[[str, str | None], None] | None = None,
    ) -> None:
        """`include_usage`: a stream tells it last; `notes`: what is told besides, as what was left out of the history;
        `keep` gets the answer and its end."""
        self.choices, self.streams, self.notes, self.keep = choices, stream, notes, keep
        self.id = f"{self.kind}-{uuid.uuid4().hex}"
        self.about: dict[str, Any] = {"id": self.id, "created": int(time.time()), "model": model}
        self.rest: dict[str, Any] = {"usage": None} if include_usage else {}  # of every event but the last

    def opening(self) -> str:
        """The events that begin a stream."""
        return ""

    @abstractmethod
    def piece(self, choice: Choice, text: str, tokens: Sequence[Token]) -> str:
        """The events for a piece of text."""

    @abstractmethod
    def closing(self, choice: Choice) -> str:
        """The events that end a choice."""

    def ending(self) -> str:
        """The events that end a stream."""
        last = {**self.about, "object": self.chunk_object, "choices": [], "usage": self.usage()} if self.rest else None
        return (event(last) if last else "") + event("[DONE]")

    def failure(self, error: dict[str, Any]) -> str:
        """The event that tells of a failure, after which nothing comes."""
        return event(error)

    def take(self, choice: Choice) -> str:
        """What is new of a choice, as events of a stream; whatever the form keeps for the whole."""
        text, tokens = choice.take()
        return self.piece(choice, text, tokens) if text or tokens or choice.finish else ""

    @abstractmethod
    def whole(self) -> dict[str, Any]:
        """The answer as one object."""

    def usage(self) -> dict[str, Any]:
        """Tokens read and written, as OpenAI counts them."""
        prompts = {one.prompt: one.made for one in self.choices if one.made}.values()
        read = sum(one.prompt for one in prompts)
        written, thought = sum(one.tokens for one in self.choices), sum(one.thinking for one in self.choices)
        return counted(read, written, sum(one.shared for one in prompts), thought)

    def end(self) -> None:
        """Let the answer be kept, as far as it came, if it is to be."""
        keep, self.keep = self.keep, None
        text, finish = "".join(self.choices[0].said), self.choices[0].finish
        if keep and (text or finish):
            keep(text, finish)


def parts(choice: Choice, text: str, reader: Calls | None) -> Iterator[tuple[str, str]]:
    """What a text adds to an answer, in the kinds of `Calls.add`: all is text where nothing may be called."""
    if reader is None:
        yield from [("text", text)] * bool(text)
        return
    yield from reader.add(text)
    if choice.finish:
        yield from reader.end()


def counted(read: int, written: int, shared: int, thought: int) -> dict[str, Any]:
    """Usage; `shared` tokens of the prompt had been read for an earlier request, `thought` of those written are not
    said."""
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": shared},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def event(content: dict[str, Any] | str, name: str = "") -> str:
    """A server-sent event."""
    data = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return f"event: {name}\ndata: {data}\n\n" if name else f"data: {data}\n\n"


def finite(logprob: float) -> float:
    """A log-probability as JSON can have it."""
    return max(LEAST, logprob)
