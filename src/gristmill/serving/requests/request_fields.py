"""What the bodies of requests have in common: how they are read, and how an answer is drawn."""

from __future__ import annotations

import json
import re
import secrets
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gristmill.generation.grammar import Grammar
from gristmill.generation.sampling_params import MOST_LIKELIEST, SamplingParams
from gristmill.serving.api_error import ApiError, valid
from gristmill.settings.descriptions import wrong_value

if TYPE_CHECKING:
    from gristmill.serving.requests.tool_fields import Offer

MAX_BODY = 1_000_000  # bytes of a request
MAX_REFUSED = 64_000_000  # bytes of a larger one that are read, so that a client which first sends all sees the refusal
MAX_STOPS = 4  # stop strings, as in OpenAI's API
MAX_CHOICES = 16  # of a request, all its prompts together
# what changes nothing in an answer; all else that is not understood is refused by name, unless it asks for nothing
WITHOUT_EFFECT = frozenset(
    ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
)
NOTHING: tuple[Any, ...] = (None, False, 0, "", [], {})
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "modalities": (["text"],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True,),
}

Integer = Annotated[int, BeforeValidator(lambda x: int(x) if isinstance(x, float) and x.is_integer() else x)]
Count = Annotated[Integer, Field(ge=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Likeliest = Annotated[Integer, Field(ge=0, le=MOST_LIKELIEST)]
UNION = re.compile(r"[A-Z]|\w+\[")  # a model, list[…], literal[…]
Schema = dict[str, Any]  # a JSON schema
Kind = TypeVar("Kind", bound="Body")


class Strict(BaseModel):
    """An object of JSON, whose values are of the types that it names."""

    model_config = ConfigDict(strict=True)


class StreamOptions(Strict):
    """What a stream should hold besides text."""

    include_usage: bool | None = False
    include_obfuscation: bool | None = False  # padding against who listens in; there is none


class Body(Strict):
    """What a client sends. Null is as if not given."""

    model_config = ConfigDict(extra="allow")

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        for name, value in (self.model_extra or {}).items():
            if name not in WITHOUT_EFFECT and value not in NOTHING and value not in DEFAULTS.get(name, ()):
                raise ApiError(400, f"{name} is not supported", name, "unsupported_parameter")


class Sampled(Body):
    """How an answer is drawn; unlike OpenAI's, temperature is 0 where it is not given."""

    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[Integer, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Integer | None = None
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    n: Count | None = None

    @property
    def stops(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def include_usage(self) -> bool:
        """Whether a stream should tell it."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        if len(self.stops) > MAX_STOPS:
            raise ApiError(400, f"stop: at most {MAX_STOPS} strings are supported", "stop")
        if (self.n or 1) > MAX_CHOICES:
            raise ApiError(400, f"n: at most {MAX_CHOICES} answers are given at a time", "n")
        if self.stream_options and not self.stream:
            raise ApiError(400, "stream_options are for streams", "stream_options")
        super().check()

    def params(self, vocabulary: int, max_tokens: int, logprobs: int, grammar: Grammar | None = None) -> SamplingParams:
        """How it is drawn. Raises ApiError for a bias on what is no token."""
        bias = {}
        for name, value in (self.logit_bias or {}).items():
            if not (name.isascii() and name.isdigit() and len(name) < 10 and int(name) < vocabulary):
                raise ApiError(400, f"logit_bias: no token has the number {name!r}", "logit_bias")
            bias[int(name)] = value
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.temperature or 0.0,
            top_k=max(0, self.top_k or 0),
            top_p=self.top_p or 1.0,
            min_p=self.min_p or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias=bias,
            seed=secrets.randbits(31) if self.seed is None else self.seed,
            grammar=grammar,
            logprobs=logprobs,
        )


class Named(Strict):
    """An object by its id."""

    id: str


class TemplateFields(Strict):
    """What the chat template is told, as vLLM has it: of that, whether something may be thought before the answer."""

    model_config = ConfigDict(extra="forbid")
    enable_thinking: bool | None = None


class Remembered(Sampled):
    """A request whose answer may use the memory; it does only where these ask for it."""

    chat_template_kwargs: TemplateFields | None = None
    conversation: str | Named | None = None  # OpenAI's: its messages come before these; it gets these and the answer
    memory: bool | None = None  # ours: facts and other conversations are used, "remember that …" is understood
    parallel_tool_calls: bool | None = None

    @property
    @abstractmethod
    def form(self) -> Schema | None:
        """The JSON schema of the answer, if it must fit one. Raises ApiError where it is missing."""

    @property
    @abstractmethod
    def offer(self) -> Offer | None:
        """What the answer may call. Raises ApiError for what cannot be called."""

    @abstractmethod
    def said(self) -> list[dict[str, Any]]:
        """The messages as the template takes them. Raises ApiError where they hold more than text."""

    def turns(self) -> list[dict[str, Any]]:
        """The same, with what may be called listed before the last."""
        said = self.said()
        listed = [{"role": "system", "content": "", "tools": self.offer.listed()}] if self.offer else []
        return [*said[:-1], *listed, said[-1]]

    @property
    def thinks(self) -> bool:
        """Whether something may be thought before the answer."""
        return not (self.chat_template_kwargs and self.chat_template_kwargs.enable_thinking is False)

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation."""
        return self.conversation.id if isinstance(self.conversation, Named) else self.conversation

    def check(self) -> None:
        """Raise ApiError for what is not supported."""
        super().check()
        if self.conversation and (self.n or 1) > 1:
            raise ApiError(400, "a conversation goes on with one answer: n must be 1", "n")


async def read_body(request: Request) -> bytes:
    """The request's body. Raises ApiError where it is too large, after most clients have sent it."""
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_REFUSED:
            break
        if size <= MAX_BODY:
            parts.append(chunk)
    if size > MAX_BODY:
        raise ApiError(413, f"the request is larger than {MAX_BODY} bytes")
    return b"".join(parts)


def parse(body: bytes, kind: type[Kind]) -> Kind:
    """The body as a request. Raises ApiError naming the first field that is wrong."""
    try:
        asked = kind.model_validate(in_unicode(json.loads(body, parse_constant=refuse_constant)))
    except ValidationError as error:
        raise refused(error, kind) from None
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of thousands of digits; nested too deep
        raise ApiError(400, "the body is no JSON that can be read") from None
    asked.check()
    return asked


def in_unicode(value: Any) -> Any:
    """A value of JSON without lone surrogates, which neither an answer nor a database can hold."""
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, dict):
        return {valid(name): in_unicode(one) for name, one in value.items()}
    return [in_unicode(one) for one in value] if isinstance(value, list) else value


def refuse_constant(name: str) -> Any:
    """Raise ValueError for NaN, Infinity and -Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)


def refused(error: ValidationError, kind: type[BaseModel], *where: int | str) -> ApiError:
    """What to say of the first field that is wrong in an object of some `kind` that stands at such a place."""
    first = error.errors(include_url=False)[0]
    # without the names that pydantic gives to the members of a union
    place = [part for part in first["loc"] if isinstance(part, int) or not (part == "str" or UNION.match(part))]
    field = ".".join(map(str, (*where, *place))) or None
    wrong = wrong_value(first, kind, place).replace("a table", "an object").replace("table", "object")  # as JSON has it
    return ApiError(400, f"{field or 'the body'}{wrong}", field)
