"""What requests ask for, begun: generations, and the form in which they will be told."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from gristmill.chat.tools import CallForm, as_text
from gristmill.errors import UserError
from gristmill.generation.answer_text import AnswerText
from gristmill.generation.engine import Engine
from gristmill.generation.grammar import Grammar
from gristmill.generation.sampling_params import SamplingParams
from gristmill.serving.api_error import ApiError, mendable, valid
from gristmill.serving.assistant import MAX_TOKENS, Assistant
from gristmill.serving.forms.chat_form import ChatForm
from gristmill.serving.forms.completion_form import CompletionForm
from gristmill.serving.forms.form import Choice, Form, Quotation
from gristmill.serving.forms.responses_form import ResponsesForm
from gristmill.serving.memory.memory_store import MemoryStore
from gristmill.serving.memory.session import Session
from gristmill.serving.quoting import QuotingAssistant
from gristmill.serving.requests.chat_request import ChatRequest
from gristmill.serving.requests.completion_request import CompletionRequest
from gristmill.serving.requests.request_fields import Remembered, Sampled, Schema, parse
from gristmill.serving.requests.responses_request import ResponsesRequest

COMPLETION_TOKENS = 16  # of a text completion where no number is given, as OpenAI has it


class Beginner:
    """Turns the body of a request into a form. Raises ApiError and UserError for what cannot be answered."""

    def __init__(self, assistant: Assistant, memory: MemoryStore | None = None) -> None:
        self.assistant, self.memory, self.name = assistant, memory, valid(assistant.name)
        self.pages = assistant if isinstance(assistant, QuotingAssistant) else None  # where they answer, no model does

    def check_model(self, asked: str | None) -> None:
        """Raise ApiError for a model that is not here."""
        if asked not in (None, self.name, "gristmill"):
            raise ApiError(404, f"no model {asked}; this server has {self.name}", "model", "model_not_found")

    def engine(self, does: str, field: str) -> Engine:
        """What generates. Raises ApiError where pages are quoted instead: of a `field` that asks for more."""
        if self.pages:
            raise ApiError(400, f"this server quotes pages: it has no model that {does}", field)
        return self.assistant.engine

    def session(self, asked: Remembered, messages: list[dict[str, Any]], user: str) -> Session | None:
        """The request's use of the memory, if it asks for any."""
        if not (asked.conversation or asked.memory):
            return None
        if self.memory is None:
            name = "conversation" if asked.conversation else "memory"
            raise ApiError(400, f"{name} is not supported: this server keeps none", name, "unsupported_parameter")
        return Session(self.memory, user, messages, asked.conversation_id, bool(asked.memory))

    def answers(
        self, asked: Remembered, messages: list[dict[str, Any]], most: int, user: str, logprobs: int | None = None
    ) -> tuple[list[Choice], dict[str, Any]]:
        """The answers to a conversation, and how they are told; `logprobs`: of how many likeliest tokens besides, None
        where none are asked for."""
        session, dropped = self.session(asked, messages, user), 0
        form, offer = asked.form, asked.offer
        held = form is not None or bool(offer and offer.forced)
        messages = session.messages if session else messages
        reply = session.answer(pages=self.pages is not None) if session and not held else None
        wanted = {"logprobs": logprobs is not None, "response_format": form is not None, "tools": offer is not None}
        for name, given in wanted.items():
            if given and (self.pages or (reply is not None and name == "logprobs")):
                raise ApiError(400, f"{name} is not supported: no model answers", name, "unsupported_parameter")
        if reply is not None:
            choices: list[Choice] = [Quotation(number, reply, ()) for number in range(asked.n or 1)]
        elif self.pages:
            quoted = self.pages.reply(list(map(as_text, messages)), stop=asked.stops)
            if session and not quoted.quoted:
                quoted.supplement(session.facts_said())
            choices = [Quotation(number, quoted.text(), quoted.annotations) for number in range(asked.n or 1)]
        else:
            tokenizer = self.assistant.engine.tokenizer
            grammar = offer.grammar(self.assistant.engine) if offer else self.grammar(form)
            aside = partial(session.aside, tokenizer=tokenizer) if session and session.memory else None
            if not asked.thinks and not self.assistant.can_be_silent:
                name = "chat_template_kwargs.enable_thinking"
                told = f"{name}: this model's chat template cannot keep it from thinking"
                raise ApiError(400, told, name, "unsupported_parameter")
            prompt, dropped = self.assistant.fitted(messages, aside, asked.thinks)
            params = asked.params(self.assistant.engine.config.vocab_size, most, logprobs or 0, grammar)
            if not asked.thinks:
                params = replace(params, logit_bias={**params.logit_bias, **self.assistant.silence})
            choices = self.choices(asked, [prompt], replace(params, doubt=self.assistant.doubt))
        notes = {**({"dropped_messages": dropped} if dropped else {}), **(session.notes if session else {})}
        return choices, {"stream": bool(asked.stream), "notes": notes, "keep": session.keep if session else None}

    def grammar(self, schema: Schema | None) -> Grammar | None:
        """What holds an answer to a schema. Raises ApiError where that cannot be done."""
        try:
            return None if schema is None else self.assistant.engine.grammars.json(schema)
        except UserError as error:
            raise mendable(error, "response_format", before="response_format: ") from None

    def calls(self, asked: Remembered) -> CallForm | None:
        """How the answer writes calls, if it may make any."""
        return asked.offer.form(self.assistant.engine) if asked.offer else None

    def choices(
        self, asked: Sampled, prompts: list[list[int]], params: SamplingParams, scored: bool = False
    ) -> list[Choice]:
        """The answers to each prompt."""
        count, tokenizer = asked.n or 1, self.assistant.engine.tokenizer
        return [
            Choice(
                at * count + number,
                at,
                self.assistant.engine.begin(prompt, params, at * count + number, scored),
                AnswerText(tokenizer, asked.stops, raw=isinstance(asked, CompletionRequest)),
            )
            for at, prompt in enumerate(prompts)
            for number in range(count)
        ]

    def chat(self, body: bytes, user: str) -> Form:
        """`/v1/chat/completions`."""
        asked = parse(body, ChatRequest)
        self.check_model(asked.model)
        most = asked.max_completion_tokens or asked.max_tokens or MAX_TOKENS
        logprobs = asked.top_logprobs or 0 if asked.logprobs else None
        choices, told = self.answers(asked, asked.turns(), most, user, logprobs)
        return ChatForm(
            self.name,
            choices,
            include_usage=asked.include_usage,
            tokenizer=self.assistant.engine.tokenizer if asked.logprobs else None,
            calls=self.calls(asked),
            **told,
        )

    def completion(self, body: bytes, _: str) -> Form:
        """`/v1/completions`."""
        asked = parse(body, CompletionRequest)
        self.check_model(asked.model)
        engine = self.engine("goes on with a text", "prompt")
        prompts, hidden = asked.prompts(engine.tokenizer)
        most = COMPLETION_TOKENS if asked.max_tokens is None else asked.max_tokens
        params = asked.params(engine.config.vocab_size, most, asked.logprobs or 0)
        told, echo = asked.logprobs is not None, bool(asked.echo)
        return CompletionForm(
            self.name,
            self.choices(asked, prompts, params, scored=told and echo),
            stream=bool(asked.stream),
            include_usage=asked.include_usage,
            tokenizer=engine.tokenizer,
            logprobs=told,
            echo=echo,
            hidden=hidden,
        )

    def response(self, body: bytes, user: str) -> Form:
        """`/v1/responses`."""
        asked = parse(body, ResponsesRequest)
        self.check_model(asked.model)
        most = asked.max_output_tokens or asked.max_tokens or MAX_TOKENS
        choices, told = self.answers(asked, asked.turns(), most, user)
        if "dropped_messages" in told["notes"] and asked.truncation == "disabled":
            raise ApiError(400, "the input is longer than the context", "input", "context_length_exceeded")
        echoed = {
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "temperature": asked.temperature or 0.0,
            "top_p": asked.top_p or 1.0,
            "metadata": asked.metadata or {},
            "text": {"format": asked.format.model_dump(by_alias=True, exclude_none=True)},
            "truncation": asked.truncation or "auto",
            "tools": asked.tools or [],
            "tool_choice": asked.choice,
            "parallel_tool_calls": bool(asked.offer and asked.offer.several),
        }
        return ResponsesForm(self.name, choices, echoed=echoed, calls=self.calls(asked), **told)
