"""The assistant of a finished run: messages in, text out, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.chat.template import in_turns, template_of
from gristmill.errors import UserError
from gristmill.generation.answer_text import AnswerText
from gristmill.generation.engine import Engine, TooLong
from gristmill.generation.sampling_params import SamplingParams
from gristmill.generation.weight_type import WeightType
from gristmill.passages.search import Found
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.vocabulary_files import THOUGHT

ROOM = 0.25  # share of the context kept free for the answer when old turns are dropped
ASIDE = 0.25  # share of it for what is remembered
READS_ASIDE = 512  # tokens of a context; with a smaller one, a model makes nothing of it and forgets what it knows
NEVER = -100.0  # a token's bias, as OpenAI's API has it
MAX_TOKENS = 512  # of an answer, where the caller names no number

Messages = Sequence[Mapping[str, Any]]
Aside = Callable[[Messages, int], str]  # turns that are left out, and a number of tokens → what takes their place


class Reply:
    """One answer while it is made: iterate over it for its text; the rest is known once the text has ended."""

    annotations: Sequence[Mapping[str, Any]] = ()  # OpenAI's, of what it cites
    passages: Sequence[Found] = ()  # to be shown with it
    quoted: Sequence[Found] = ()  # those of them that it quotes
    dropped = 0  # messages that the model did not read
    thought = ""  # what the model thought before it answered, as far as that has come

    def __init__(
        self, tokens: Iterator[int], tokenizer: Tokenizer, prompt: int, limit: int, stop: Sequence[str]
    ) -> None:
        self.tokens, self.limit = tokens, limit
        self.prompt_tokens = prompt
        self.completion_tokens = 0
        self.finish = "length"  # "stop" where the model or a stop string ended it
        self.reader, self.said, self.ended = AnswerText(tokenizer, stop), list[str](), False

    def __iter__(self) -> Generator[str, None, None]:
        """Yield a piece of valid text for each token: bytes that are no whole character yet, or may begin a stop
        string, wait, and the piece may be empty. So an answer can be given up after any token. Each piece comes once.
        """
        for piece in () if self.ended else self.pieces():
            self.said.append(piece)
            yield piece

    def pieces(self) -> Iterator[str]:
        """What comes from now on."""
        text = self.reader
        for token in self.tokens:
            self.completion_tokens += 1
            piece = text.add(token)
            self.thought = text.thought
            if piece or not text.stopped:
                yield piece
            if text.stopped:
                self.finish, self.ended = "stop", True
                return
        self.ended = True
        if self.completion_tokens < self.limit:
            self.finish = "stop"
        if rest := text.end():
            yield rest

    def text(self) -> str:
        """The whole answer, whatever of it was read before."""
        for _ in self:
            pass
        return "".join(self.said)


class Assistant:
    """A chat model with its tokenizer, the name under which it is served, and questions to begin with.

    It keeps no conversation: every call gets all messages of one, `{"role": …, "content": text}` each, as a rule an
    optional system message first, then those of user and assistant in turn. One caller at a time.
    """

    def __init__(
        self, engine: Engine, name: str, examples: Sequence[str] = (), sure: float = 0.0, decline: str = ""
    ) -> None:
        """At temperature 0 an answer breaks off with `decline` where the likeliest token is less likely than `sure`."""
        self.engine, self.name, self.examples = engine, name, list(examples)
        self.doubt = engine.doubt(sure, decline) if sure else None

    def offered(self) -> list[str]:
        """Questions to begin with."""
        return self.examples

    @classmethod
    def load(
        cls,
        model: Path | str,
        tokenizer: Path | str,
        name: str = "",
        examples: Sequence[str] = (),
        weights: str = WeightType.FLOAT32,
        sure: float = 0.0,
        decline: str = "",
    ) -> Assistant:
        """The assistant that a model folder and its tokenizer's make, as `find_model` names them; by default its name
        is the model folder's. Raises UserError as `Engine.load`."""
        engine = Engine.load(model, tokenizer, weights=weights)
        return cls(engine, name or Path(model).resolve().name, examples, sure, decline)

    def reply(
        self,
        messages: Messages,
        *,
        max_tokens: int = MAX_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        aside: Aside | None = None,
        enable_thinking: bool = True,
    ) -> Reply:
        """Begin an answer of at most `max_tokens` tokens: iterate over it for its text, piece by piece, or take
        `reply(…).text()`. Temperature 0 takes the likeliest token each time; the same `seed` draws the same tokens. The
        answer ends before the first of the strings `stop`. What `aside` gives is added to the system's message. Without
        `enable_thinking` nothing is thought before the answer.

        Messages may come in any order: `in_turns` says what becomes of them. Raises UserError where one has no text,
        none is the user's, the last alone is longer than the context, or a model thinks that cannot be told not to.
        """
        prompt, dropped = self.fitted(messages, aside, enable_thinking)
        bias = {} if enable_thinking else self.silence
        params = SamplingParams(max_tokens, temperature, top_p=top_p, seed=seed, doubt=self.doubt, logit_bias=bias)
        tokens = self.engine.stream(prompt, params)
        limit = min(max_tokens, self.engine.context - len(prompt))
        reply = Reply(tokens, self.engine.tokenizer, len(prompt), limit, stop)
        reply.dropped = dropped
        return reply

    @property
    def can_be_silent(self) -> bool:
        """Whether it can answer without a thought: it has none, or its template can say so."""
        words = self.engine.tokenizer
        return THOUGHT not in words.shown or template_of(words).stops_thought

    @property
    def silence(self) -> dict[int, float]:
        """The bias with which no thought begins: a small model would begin one after an empty one."""
        shown = self.engine.tokenizer.shown
        return {shown[THOUGHT]: NEVER} if THOUGHT in shown else {}

    def prompt(self, messages: Messages) -> list[int]:
        """The token ids of `fitted`."""
        return self.fitted(messages)[0]

    def fitted(self, messages: Messages, aside: Aside | None = None, thinks: bool = True) -> tuple[list[int], int]:
        """Token ids of a conversation and of what opens the assistant's turn, and how many turns were left out: the
        oldest go first where the context is too short. What `aside` gives is added to the system's message.

        It is read from its end, and no further than it fits. Raises UserError as `reply` does.
        """
        messages = in_turns(messages)
        template, context = template_of(self.engine.tokenizer), self.engine.context
        if not thinks and not self.can_be_silent:
            raise UserError("this model's chat template cannot keep it from thinking", "leave out enable_thinking")
        first = int(messages[0]["role"] == "system")
        system, said = messages[:first], messages[first:]
        begins = [at for at, message in enumerate(said) if message["role"] == "user" or not at][::-1]

        def read(place: int) -> list[int]:
            return template.render([*system, *said[begins[place] :]], opened=True, thinks=thinks)[0]

        prompt, kept = read(0), 0
        if (size := len(prompt)) >= context:
            raise TooLong(f"the message is {size} tokens long, the model reads at most {context - 1}", "shorten it")
        room = min(int(context * ASIDE), context - 1 - size) if aside and context >= READS_ASIDE else 0
        short = sum(len(message["content"]) + 2 for message in said) < context
        step, over = len(begins) if short else 1, len(begins)
        while kept + 1 < over:  # further back by twice as much each time, then between what fits and what does not
            place = min(kept + step, over - 1) if over == len(begins) else (kept + over) // 2
            longer = read(place)
            if len(longer) + room > context * (1 - ROOM):
                over = place
            else:
                prompt, kept, step = longer, place, 2 * step
        dropped = said[: begins[kept]]
        if aside:
            empty: list[dict[str, Any]] = [{"role": "system", "content": ""}, {"role": "user", "content": ""}]
            with_system, without = (len(template.render(one, opened=True)[0]) for one in (empty, empty[1:]))
            if text := aside(dropped, room - (with_system - without)):
                told = "\n\n".join(filter(None, (*(one["content"] for one in system), text)))
                system = [{**(system[0] if system else {"role": "system"}), "content": told}]
                prompt = read(kept)
        return prompt, len(dropped)
