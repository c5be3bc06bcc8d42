"""What requests ask for, begun: generations, and the form in which they will be told."""

from __future__ import annotations

from collections.abc import Callable

from gristmill.generation.answer_text import AnswerText
from gristmill.generation.sampling_params import SamplingParams
from gristmill.serving.api_error import ApiError, valid
from gristmill.serving.assistant import MAX_TOKENS, Assistant
from gristmill.serving.forms.chat_form import ChatForm
from gristmill.serving.forms.completion_form import CompletionForm
from gristmill.serving.forms.form import Choice, Form, Quotation
from gristmill.serving.forms.responses_form import ResponsesForm
from gristmill.serving.quoting import QuotingAssistant
from gristmill.serving.requests.chat_request import ChatRequest
from gristmill.serving.requests.completion_request import CompletionRequest
from gristmill.serving.requests.request_fields import Sampled, parse
from gristmill.serving.requests.responses_request import ResponsesRequest

COMPLETION_TOKENS = 16  # of a text completion where no number is given, as OpenAI has it


class Beginner:
    """Turns the body of a request into a form. Raises ApiError and UserError for what cannot be answered."""

    def __init__(self, assistant: Assistant) -> None:
        self.assistant, self.name = assistant, valid(assistant.name)

    def check_model(self, asked: str | None) -> None:
        """Raise ApiError for a model that is not here."""
        if asked not in (None, self.name, "gristmill"):
            raise ApiError(404, f"no model {asked}; this server has {self.name}", "model", "model_not_found")

    def answers(
        self, asked: Sampled, conversation: list[dict[str, str]], most: int, logprobs: int = 0
    ) -> tuple[list[Choice], int]:
        """The answers to a conversation, and how many of its turns are left out."""
        if isinstance(self.assistant, QuotingAssistant):
            if getattr(asked, "logprobs", None):
                raise ApiError(400, "logprobs is not supported: pages are quoted", "logprobs", "unsupported_parameter")
            reply = self.assistant.reply(conversation, stop=asked.stops)
            return [Quotation(number, reply.text(), reply.annotations) for number in range(asked.n or 1)], 0
        prompt, dropped = self.assistant.fitted(conversation)
        params = asked.params(self.assistant.engine.config.vocab_size, most, logprobs)
        return self.choices(asked, [prompt], params), dropped

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
                AnswerText(tokenizer, asked.stops),
            )
            for at, prompt in enumerate(prompts)
            for number in range(count)
        ]

    def chat(self, body: bytes) -> Form:
        """`/v1/chat/completions`."""
        asked = parse(body, ChatRequest)
        self.check_model(asked.model)
        most = asked.max_completion_tokens or asked.max_tokens or MAX_TOKENS
        choices, dropped = self.answers(asked, asked.conversation(), most, asked.top_logprobs or 0)
        return ChatForm(
            self.name,
            choices,
            stream=bool(asked.stream),
            dropped=dropped,
            include_usage=asked.include_usage,
            tokenizer=self.assistant.engine.tokenizer if asked.logprobs else None,
        )

    def completion(self, body: bytes) -> Form:
        """`/v1/completions`."""
        asked = parse(body, CompletionRequest)
        self.check_model(asked.model)
        if isinstance(self.assistant, QuotingAssistant):
            raise ApiError(400, "this server quotes pages: it has no model that goes on with a text", "prompt")
        prompts, hidden = asked.prompts(self.assistant.engine.tokenizer)
        most = COMPLETION_TOKENS if asked.max_tokens is None else asked.max_tokens
        params = asked.params(self.assistant.engine.config.vocab_size, most, asked.logprobs or 0)
        told, echo = asked.logprobs is not None, bool(asked.echo)
        return CompletionForm(
            self.name,
            self.choices(asked, prompts, params, scored=told and echo),
            stream=bool(asked.stream),
            include_usage=asked.include_usage,
            tokenizer=self.assistant.engine.tokenizer,
            logprobs=told,
            echo=echo,
            hidden=hidden,
        )

    def response(self, body: bytes) -> Form:
        """`/v1/responses`."""
        asked = parse(body, ResponsesRequest)
        self.check_model(asked.model)
        most = asked.max_output_tokens or asked.max_tokens or MAX_TOKENS
        choices, dropped = self.answers(asked, asked.conversation(), most)
        if dropped and (asked.model_extra or {}).get("truncation") == "disabled":
            raise ApiError(400, "the input is longer than the context", "input", "context_length_exceeded")
        echoed = {
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "temperature": asked.temperature or 0.0,
            "top_p": asked.top_p or 1.0,
            "metadata": (asked.model_extra or {}).get("metadata") or {},
            "text": {"format": {"type": "text"}},
            "truncation": (asked.model_extra or {}).get("truncation") or "auto",
        }
        return ResponsesForm(self.name, choices, stream=bool(asked.stream), dropped=dropped, echoed=echoed)

    def ways(self) -> dict[str, Callable[[bytes], Form]]:
        """The paths that answer, each with what begins the answer."""
        return {
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.completion,
            "/v1/responses": self.response,
        }
