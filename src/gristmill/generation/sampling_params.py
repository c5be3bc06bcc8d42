"""How the tokens of one answer are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gristmill.errors import UserError
from gristmill.generation.grammar import Grammar

MOST_LIKELIEST = 20  # alternatives that are told of a token, at most


@dataclass(frozen=True)
class Doubt:
    """Where an answer breaks off: instead of a token with which it would be less probable as a whole, what was thought
    before it included, something else is said. How probable its tokens are tells whether it is made up (Varshney et
    al. 2023, arXiv:2307.03987)."""

    below: float  # probability of all tokens so far
    says: tuple[int, ...]  # token ids
    thought: tuple[int, int] = (-1, -1)  # tokens that begin and end what is thought, where nothing breaks off
    at_once: tuple[int, ...] = ()  # the same, where nothing is said before it
    blank: frozenset[int] = frozenset()  # tokens that say nothing


@dataclass(frozen=True)
class SamplingParams:
    """How one answer is drawn; by default the likeliest token each time. Integers may be of any size.

    In this order: logits change by `logit_bias` and penalties, are divided by the temperature, and are cut by `top_k`,
    `top_p` and `min_p`. Raises UserError for what is no number of the right kind.
    """

    max_tokens: int = 512  # at most; the model's context is a limit of its own
    temperature: float = 0.0  # 0 takes the likeliest token
    top_k: int = 0  # only so many of the likeliest tokens; 0: all
    top_p: float = 1.0  # only the fewest tokens that have this share together (arXiv:1904.09751)
    min_p: float = 0.0  # only tokens that have this share of the likeliest one's (arXiv:2407.01082)
    presence_penalty: float = 0.0  # taken from the logits of tokens that the answer has, as in OpenAI's API
    frequency_penalty: float = 0.0  # the same, once for each time
    repetition_penalty: float = (
        1.0  # logits of tokens of prompt and answer over it, below 0 times it (arXiv:1909.05858)
    )
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # token → what is added to its logit
    seed: int = 0  # the same one draws the same tokens, whatever else is generated at the time
    stop_ids: tuple[int, ...] = ()  # tokens that end the answer, besides the tokenizer's own
    grammar: Grammar | None = None  # the form that the answer must have
    doubt: Doubt | None = None  # at temperature 0, of an answer that may have any form
    logprobs: int = 0  # of each token, so many of the likeliest in its place are told, too

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"):
            if math.isnan(getattr(self, name)):
                raise UserError(f"{name} = {getattr(self, name)} is no number", "give 0 or more")
        for name in ("top_p", "min_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} = {getattr(self, name)} is no share", "give a number from 0 to 1")
        for name in ("max_tokens", "top_k"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} = {getattr(self, name)} is below 0", "give 0 or more")
        if self.temperature < 0:
            raise UserError(f"temperature = {self.temperature} is below 0", "give 0 (the likeliest token) or more")
        if not self.repetition_penalty > 0:
            raise UserError(f"repetition_penalty = {self.repetition_penalty}", "give more than 0; 1 changes nothing")
        if not 0 <= self.logprobs <= MOST_LIKELIEST:
            raise UserError(f"logprobs = {self.logprobs}", f"give at most {MOST_LIKELIEST}")
