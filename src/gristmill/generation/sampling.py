"""Drawing tokens from logits (`sampling.c`): each answer has its own settings and random numbers, so that what it gets
does not depend on the answers next to it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gristmill import native
from gristmill.generation.sampling_params import SamplingParams
from gristmill.native import POINTER, SIZE

FLOAT = float(np.finfo(np.float32).max)
IN_PROMPT = 1
FAILURES = {-1: "the model's logits are no numbers", -2: "no token may come next"}  # in the place of a token


class Draw(ctypes.Structure):
    """How one answer is drawn, and how far it has come, as C has it."""

    _fields_ = (
        ("temperature", ctypes.c_double),
        *((name, ctypes.c_uint64) for name in ("key", "drawn")),
        *((name, ctypes.c_float) for name in ("top_p", "min_p", "presence", "frequency", "repetition")),
        ("top_k", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("bias", "seen", "allowed")),
    )


ROW = (POINTER, SIZE, SIZE, SIZE, ctypes.c_int32)
SAMPLE = native.Function("gm_sample", None, *ROW, *(POINTER,) * 3, SIZE, *(POINTER,) * 3)
SCORE = native.Function("gm_score", None, *ROW[:-1], *(POINTER,) * 2, SIZE, *(POINTER,) * 3)


class Sampler:
    """The drawing of one answer. `number` tells answers apart that share a seed."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int], vocabulary: int, number: int = 0) -> None:
        self.params, self.grammar = params, params.grammar.copy() if params.grammar else None
        self.thinking = self.begun = False  # begun: whether anything is said
        self.logprob = 0.0  # nats, of all tokens so far
        self.draw = Draw(
            min(params.temperature, FLOAT),
            *(key_of(params.seed, number), 0),
            *(min(params.top_p, FLOAT), min(params.min_p, FLOAT)),
            *(params.presence_penalty, params.frequency_penalty, params.repetition_penalty),
            max(0, min(params.top_k, vocabulary)),
        )
        self.address = ctypes.addressof(self.draw)
        penalties = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1
        if penalties or params.logit_bias:
            self.bias, self.seen = np.zeros(vocabulary, np.float32), np.zeros(vocabulary, np.uint8)
            self.seen[np.asarray(prompt, np.int64)] = IN_PROMPT
            for token, bias in params.logit_bias.items():
                self.bias[token] = bias
            self.draw.bias, self.draw.seen = self.bias.ctypes.data, self.seen.ctypes.data

    def allow(self, tokens: np.ndarray | None) -> None:
        """Let only these tokens come from now on: a bit each, uint32 [⌈V / 32⌉]; None: all."""
        self.allowed = tokens
        self.draw.allowed = None if tokens is None else tokens.ctypes.data

    def prepare(self) -> None:
        """Let only those come that go on with the form of the answer. Raises BadGrammar where that cannot be known."""
        if self.grammar:
            self.allow(self.grammar.allowed())

    def doubtful(self, token: int, logprob: float, ends: bool, room: int) -> bool:
        """Whether the answer is to break off before a token, of this log-probability (nats), which `ends` the answer or
        not, where `room` more fit. A thought is in doubt only where it comes to no end."""
        doubt = None if self.params.temperature or self.grammar else self.params.doubt
        if doubt is None or token in doubt.thought:
            return False
        if self.thinking:
            return ends or room < len(doubt.says) + 3
        return not ends and math.exp(self.logprob + logprob) < doubt.below

    def take(self, token: int, logprob: float) -> None:
        """This token came, of this log-probability (nats)."""
        self.logprob += logprob
        if self.grammar and token >= 0:
            self.grammar.accept(token)
        if doubt := self.params.doubt:
            if token in doubt.thought:
                self.thinking = token == doubt.thought[0]
            self.begun = self.begun or not (self.thinking or token in doubt.blank or token in doubt.thought)

    def breaks_off(self) -> tuple[int, ...]:
        """What takes the place of what is in doubt: the end of a thought, if one is under way, and the words."""
        doubt = self.params.doubt
        assert doubt is not None
        words = doubt.says if self.begun or not doubt.at_once else doubt.at_once
        return (doubt.thought[1], *words) if self.thinking else words


class Drawn(NamedTuple):
    """What was drawn, a row each."""

    tokens: list[int]
    logprobs: list[float]  # nats, under the model as it is
    likeliest: list[dict[int, float]]  # the likeliest tokens in order, with theirs; empty where none were asked for


def key_of(seed: int, number: int) -> int:
    """What the random numbers of an answer begin from, 64 bits."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xD1342543DE82EF95) % 2**64


def sample(
    logits: np.ndarray, vocabulary: int, banned: int, samplers: Sequence[Sampler], told: Told | None = None
) -> Drawn:
    """Draw the next token of each sampler from its row of `logits` (float32 [rows, at least `vocabulary`], contiguous).

    The token `banned` never comes: its logits become -inf. Where none can be drawn, its place has one of `FAILURES`.
    `told`: room for as many rows or more, which is used where no likeliest tokens are asked for.
    """
    rows, stride = logits.shape
    wanted = [sampler.params.logprobs for sampler in samplers]
    if told is None or any(wanted):
        told = Told(rows, vocabulary, max(wanted))
    how = (ctypes.c_void_p * rows)(*[sampler.address for sampler in samplers])
    SAMPLE(logits.ctypes.data, rows, stride, vocabulary, banned, ctypes.addressof(how), *told.pointers)
    return told.drawn(wanted)


def score(logits: np.ndarray, vocabulary: int, targets: Sequence[int], likeliest: int) -> Drawn:
    """The log-probabilities of tokens that are given, a row each, in the form of what was drawn."""
    rows, stride = logits.shape
    told = Told(rows, vocabulary, likeliest)
    told.tokens[:] = targets
    SCORE(logits.ctypes.data, rows, stride, vocabulary, *told.pointers)
    return told.drawn([likeliest] * rows)


class Told:
    """Where C writes tokens and log-probabilities, of each row's token and of its `most` likeliest ones."""

    def __init__(self, rows: int, vocabulary: int, most: int) -> None:
        self.most, self.tokens, self.logprobs = most, np.empty(rows, np.int32), np.empty(rows, np.float32)
        self.others, self.values = np.empty((rows, most), np.int32), np.empty((rows, most), np.float32)
        self.items = np.empty(3 * vocabulary, np.int32)  # scratch
        row = self.tokens.ctypes.data, self.logprobs.ctypes.data
        self.pointers = *row, most, self.others.ctypes.data, self.values.ctypes.data, self.items.ctypes.data

    def drawn(self, wanted: Sequence[int]) -> Drawn:
        """What stands there of the first rows, with the first `wanted` of each row's likeliest."""
        rows = len(wanted)
        likeliest: list[dict[int, float]] = [{}] * rows
        if self.most:
            told = zip(self.others.tolist(), self.values.tolist(), wanted, strict=True)
            likeliest = [dict(zip(tokens[:count], values[:count], strict=True)) for tokens, values, count in told]
        return Drawn(self.tokens[:rows].tolist(), self.logprobs[:rows].tolist(), likeliest)
