"""Conversations as token rows with a loss mask, and the order in which training sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gristmill.chat.conversations import TooLong
from gristmill.chat.layouts import Messages
from gristmill.chat.template import render
from gristmill.document import read_documents
from gristmill.errors import UserError
from gristmill.model.loss import IGNORE, padded, rounded_up
from gristmill.model.transformer import Transformer
from gristmill.tokenizer.encode import Tokenizer

STORY_REQUESTS = (
    "Tell me a story.",
    "Tell me a story about {title}.",
    "Please tell me about {title}.",
    "Continue this: {opening}",
    "What happens next? {opening}",
)
EXCERPT = 700  # characters of a document that answer a request
OPENING = 120  # characters of it that a request quotes


@dataclass(frozen=True)
class Example:
    """One rendered conversation."""

    ids: np.ndarray  # int64 [T]
    mask: np.ndarray  # bool [T]: True where the token counts in the loss


def batch_of(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Inputs and targets of some examples, [B, T] each."""
    return padded([example.ids for example in examples], [example.mask for example in examples])


@dataclass(frozen=True)
class Answers:
    """B answers to P prompts, in rows of T tokens: a prompt, then its answers, none of which sees the others.

    So each prompt is read once, and everything is computed as if prompt and answer stood alone (prefix sharing,
    arXiv:2506.05433).
    """

    ids_PT: Tensor
    targets_PT: Tensor  # IGNORE but where an answer's token is to be predicted
    positions_PT: Tensor
    mask: Tensor  # [P, 1, T, T], True where attention is allowed
    answer_PT: Tensor  # whose token is to be predicted
    last: tuple[Tensor, Tensor]  # row and column where each answer's last token is read

    def hidden(self, model: Transformer) -> Tensor:
        """Last hidden states, [P, T, D]."""
        return model.hidden(self.ids_PT, positions_BT=self.positions_PT, mask=self.mask)

    def mean(self, values_PT: Tensor, borne_PT: Tensor) -> Tensor:
        """Mean over each answer's tokens that are borne, [B]."""
        zeros, owner = values_PT.new_zeros(len(self.last[0])), self.answer_PT[borne_PT]
        count = zeros.index_add(0, owner, torch.ones_like(owner, dtype=zeros.dtype))
        return zeros.index_add(0, owner, values_PT[borne_PT]) / count.clamp(min=1)


def fork(prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]], device: torch.device) -> Answers:
    """Lay out the answers to each prompt, which end with `<|im_end|>`; they are numbered in order."""
    parts = [
        [prompt[:-1], *(prompt[-1:] + answer for answer in group)]
        for prompt, group in zip(prompts, answers, strict=True)
    ]
    width = rounded_up(max(sum(map(len, row)) for row in parts))
    ids, positions, branch, owner = (np.zeros((len(parts), width), np.int64) for _ in range(4))
    targets, last, number = np.full_like(ids, IGNORE), [], 0
    for row, pieces in enumerate(parts):
        at, shared = 0, len(pieces[0])
        for place, piece in enumerate(pieces):
            end = at + len(piece)
            ids[row, at:end], branch[row, at:end] = piece, place
            positions[row, at:end] = np.arange(len(piece)) + (shared if place else 0)
            if place:
                targets[row, at : end - 1], owner[row, at:end] = piece[1:], number
                last.append((row, end - 1))
                number += 1
            at = end
    seen = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    seen &= np.tri(width, dtype=bool)
    rows, columns = np.array(last).T

    def on(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Answers(on(ids), on(targets), on(positions), on(seen[:, None]), on(owner), (on(rows), on(columns)))


def token_logprobs(model: Transformer, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
    """Log-probability of each target, [B, T]; 0 where the target is IGNORE."""
    borne = targets_BT != IGNORE
    (index,) = borne.flatten().nonzero(as_tuple=True)
    filled = F.pad(index, (0, rounded_up(len(index), 64) - len(index)))
    hidden, targets = hidden_BTD.flatten(0, 1)[filled], targets_BT.flatten()[filled]
    found = -F.cross_entropy(model.logits(hidden), targets, reduction="none", ignore_index=IGNORE)[: len(index)]
    return found.new_zeros(targets_BT.shape).masked_scatter(borne, found)


def example_of(messages: Messages, tokenizer: Tokenizer, context: int) -> Example:
    """A conversation, rendered. Raises TooLong where the model cannot read it whole."""
    ids, mask = render(messages, tokenizer)
    if len(ids) > context + 1:
        raise TooLong(len(ids), context + 1)
    return Example(np.asarray(ids, np.int64), np.asarray(mask, bool))


class Order:
    """Which examples a step takes: a new permutation each epoch, a pure function of (seed, step)."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, min(batch, count), seed
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
