"""Conversations as token rows with a loss mask, and the order in which training sees them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gristmill.chat.conversations import TooLong
from gristmill.chat.layouts import Messages
from gristmill.chat.template import render
from gristmill.document import read_documents
from gristmill.errors import UserError
from gristmill.model.loss import IGNORE, rounded_up, token_logprobs
from gristmill.model.ops import Branches
from gristmill.model.transformer import Transformer
from gristmill.processes import SIZE
from gristmill.tokenizer.encode import Tokenizer

STORY_REQUESTS = (
    "Tell me a story.",
    "Tell me a story about {title}.",
    "Please tell me about {title}.",
    "Continue this: {opening}",
    "What happens next? {opening}",
)
EXCERPT = 700  # characters of a document that answer a request
WIDTH = 64  # rows are as wide as a multiple of it: so that they come in few shapes (see `kernels.fast_products`)
OPENING = 120  # characters of it that a request quotes


@dataclass(frozen=True)
class Example:
    """One rendered conversation."""

    ids: np.ndarray  # int64 [T]
    mask: np.ndarray  # bool [T]: True where the token counts in the loss

    def held_out(self, share: float) -> bool:
        """Whether it only measures, by a hash of its tokens."""
        digest = hashlib.blake2b(self.ids.tobytes(), digest_size=4).digest()
        return int.from_bytes(digest, "big") / 2**32 < share


class Packed(NamedTuple):
    """Examples in as few rows as hold them, P of T tokens, blind to each other."""

    inputs_PT: Tensor
    targets_PT: Tensor  # IGNORE where a token does not count
    starts_PT: Tensor  # where each token's example begins
    weights_PT: Tensor  # one over the tokens that count in its example


def packed(examples: Sequence[Example]) -> Packed:
    """Inputs and targets of some examples."""
    rows, width = in_rows([len(example.ids) - 1 for example in examples])
    inputs, targets, starts = (np.zeros((len(rows), width), np.int64) for _ in range(3))
    weights = np.zeros((len(rows), width), np.float32)
    targets[:] = IGNORE
    for row, chosen in enumerate(rows):
        at = 0
        for example in (examples[index] for index in chosen):
            end = at + len(example.ids) - 1
            inputs[row, at:end], starts[row, at:] = example.ids[:-1], at
            targets[row, at:end] = np.where(example.mask[1:], example.ids[1:], IGNORE)
            weights[row, at:end] = example.mask[1:] / max(1, example.mask[1:].sum())
            at = end
        starts[row, at:] = at
    return Packed(*map(torch.from_numpy, (inputs, targets, starts, weights)))


def in_rows(lengths: Sequence[int]) -> tuple[list[list[int]], int]:
    """Which of some things go into which row, the longest first and each where it fits first; and the rows' width."""
    width = rounded_up(max(lengths), WIDTH)
    rows, free = list[list[int]](), list[int]()
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = next((row for row, room in enumerate(free) if room >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(width)
        rows[row].append(index)
        free[row] -= lengths[index]
    return rows, width


@dataclass(frozen=True)
class Answers:
    """B answers of at most A tokens to prompts, in P rows of T: prompts, each with answers to it that are blind to each
    other. So each prompt is read once, and everything is computed as if prompt and answer stood alone (prefix sharing,
    arXiv:2506.05433).
    """

    ids_PT: Tensor
    positions_PT: Tensor
    mask: Branches
    tokens_BA: Tensor  # of the answers, in order
    places_BA: Tensor  # where each is predicted, in the flattened rows; where it is read is the place after
    mask_BA: Tensor  # 1 on an answer's tokens, 0 after its end

    def hidden(self, model: Transformer) -> Tensor:
        """Last hidden states, [P · T, D]."""
        return model.hidden(self.ids_PT, positions_BT=self.positions_PT, mask=self.mask).flatten(0, 1)

    def last(self) -> Tensor:
        """Where each answer's last token is read, in the flattened rows, [B]."""
        return self.places_BA.gather(1, self.mask_BA.sum(1, keepdim=True).long() - 1)[:, 0] + 1

    def logprobs(
        self, model: Transformer, hidden_ND: Tensor, temperature: float = 1.0, never: int | None = None
    ) -> Tensor:
        """Log-probability of each token, [B, A]; 0 after an answer's end. Under a temperature, and with a token that is
        never said, they are those of the engine that samples so."""
        said = self.mask_BA.bool()
        index = self.places_BA[said]
        count = len(index)
        filled = F.pad(index, (0, rounded_up(count, 64) - count))
        hidden = hidden_ND[filled] if temperature == 1 else hidden_ND[filled] / temperature
        targets = F.pad(self.tokens_BA[said], (0, len(filled) - count))
        found = token_logprobs(hidden, model.unembedding, targets, never)[:count]
        return found.new_zeros(said.shape).masked_scatter(said, found)

    def sums(self, values_BA: Tensor) -> Tensor:
        """The sum of each answer's values, [B]."""
        return (values_BA * self.mask_BA).sum(1)

    def means(self, values_BA: Tensor) -> Tensor:
        """The mean of each answer's values, [B]."""
        return self.sums(values_BA) / self.mask_BA.sum(1).clamp(min=1)


def fork(prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]], device: torch.device) -> Answers:
    """Lay out the answers to each prompt, of a token or more each; they are numbered in order."""
    groups = [
        [prompt[:-1], *(prompt[-1:] + answer for answer in group)]
        for prompt, group in zip(prompts, answers, strict=True)
    ]
    rows, width = in_rows([sum(map(len, pieces)) for pieces in groups])
    ids, positions, starts, firsts, kept = (np.zeros((len(rows), width), np.int64) for _ in range(5))
    said = [answer for group in answers for answer in group]
    numbers = np.cumsum([0, *map(len, answers)])  # of each group's first answer
    tokens, places = (np.zeros((len(said), max(map(len, said))), np.int64) for _ in range(2))
    spoken = np.zeros(tokens.shape, np.float32)
    for row, chosen in enumerate(rows):
        at = 0
        for group in chosen:
            begun = len(groups[group][0])
            firsts[row, at:], kept[row, at:] = at, at + begun
            for place, piece in enumerate(groups[group]):
                end = at + len(piece)
                ids[row, at:end], starts[row, at:] = piece, at
                positions[row, at:end] = np.arange(len(piece)) + (begun if place else 0)
                if place:
                    number, own = numbers[group] + place - 1, slice(0, len(piece) - 1)
                    tokens[number, own], spoken[number, own] = piece[1:], 1
                    places[number, own] = row * width + np.arange(at, end - 1)
                at = end
        starts[row, at:] = firsts[row, at:] = kept[row, at:] = at  # what fills the row up
    ids_PT, positions_PT, *seen = (
        torch.from_numpy(array).to(device) for array in (ids, positions, starts, firsts, kept)
    )
    said_BA = (torch.from_numpy(array).to(device) for array in (tokens, places, spoken))
    return Answers(ids_PT, positions_PT, Branches(*seen), *said_BA)


def example_of(messages: Messages, tokenizer: Tokenizer, context: int) -> Example:
    """A conversation, rendered. Raises TooLong where the model cannot read it whole."""
    ids, mask = render(messages, tokenizer)
    if len(ids) > context + 1:
        raise TooLong(len(ids), context + 1)
    return Example(np.asarray(ids, np.int64), np.asarray(mask, bool))


class Order:
    """Which examples a step takes: a new permutation each epoch, a pure function of (seed, step). Of these, each of
    torchrun's processes takes every SIZE-th. Raises UserError where one would have none."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, min(batch, count), seed
        if self.batch < SIZE:
            raise UserError(f"{SIZE} processes have a step of {self.batch} to share", "raise batch, or start fewer")
        self.epoch, self.order = -1, np.empty(0, np.int64)

    def steps(self, epochs: float) -> int:
        """How many batches that many epochs take."""
        return max(1, round(epochs * self.count / self.batch))

    def __call__(self, step: int) -> list[int]:
        """The example numbers of a step."""
        chosen = []
        for index in range(step * self.batch, (step + 1) * self.batch):
            epoch, place = divmod(index, self.count)
            if epoch != self.epoch:
                self.epoch = epoch
                self.order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
            chosen.append(int(self.order[place]))
        return chosen


def conversations_from_documents(corpus: Path) -> Iterator[Messages]:
    """Requests that a document's title or opening asks, answered by an excerpt that ends with a sentence.

    So that a site without conversations of its own still becomes an assistant that tells what it has read.
    Raises UserError where no document is long enough.
    """
    made = 0
    for document in read_documents(corpus):
        for excerpt in excerpts(document.text):
            request = STORY_REQUESTS[made % len(STORY_REQUESTS)]
            opening = excerpt[:OPENING].rsplit(" ", 1)[0]
            answer = excerpt[len(opening) :].strip() if "{opening}" in request else excerpt
            question = request.format(title=document.title or "something you have read", opening=opening)
            yield [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            made += 1
    if not made:
        raise UserError(f"no document in {corpus} is long enough for a conversation", "name [sft] conversations")


def excerpts(text: str) -> Iterator[str]:
    """Cut a text into excerpts of at most EXCERPT characters that begin and end with sentences."""
    excerpt = ""
    for sentence in [*re.split(r"(?<=[.!?”\"])\s+", text.strip()), None]:
        if sentence is None or len(excerpt) + len(sentence) > EXCERPT:
            if len(excerpt) > 2 * OPENING:
                yield excerpt
            excerpt = ""
        if sentence and len(sentence) <= EXCERPT:
            excerpt = f"{excerpt} {sentence}".strip()
