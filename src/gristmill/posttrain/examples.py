"""Conversations as token rows with a loss mask, and the order in which training sees them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gristmill.chat.conversations import TooLong
from gristmill.chat.layouts import PAGES, Messages
from gristmill.chat.template import lessons
from gristmill.corpus.filter.statistics import TERMINAL
from gristmill.document import read_documents
from gristmill.errors import UserError
from gristmill.model.loss import IGNORE
from gristmill.posttrain.rates import tuning
from gristmill.processes import SIZE
from gristmill.progress import console
from gristmill.recipe import Tune
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import open_split
from gristmill.training.data.answers import in_rows
from gristmill.training.job import Plan

STORY_REQUESTS = (
    "Tell me a story.",
    "Tell me a story about {title}.",
    "Please tell me about {title}.",
    "Continue this: {opening}",
    "What happens next? {opening}",
)
EXCERPT = 700  # characters of a document that answer a request
OPENING = 120  # characters of it that a request quotes
SENTENCE_END = re.compile(  # in scripts of East Asia no space need follow
    rf"((?<=[{TERMINAL.replace('…', '')}”\"])\s+|(?<=[。！？])(?![。！？”’」』）])|(?<=[。！？][”’」』）]))"
)


class Enough(NamedTuple):
    """How many steps few examples are trained for, and how often many are read."""

    steps: int
    passes: int


CONVERSATIONS = Enough(250, 2)
PAIRS = Enough(100, 1)  # more, and pairs are learned by heart


@dataclass(frozen=True)
class Example:
    """A rendered conversation, or the beginning of one."""

    ids: np.ndarray  # int32 [T]
    mask: np.ndarray  # bool [T]: True where the token counts in the loss

    def held_out(self, share: float) -> bool:
        """Whether it only measures, by a hash of its tokens."""
        digest = hashlib.blake2b(self.ids.astype(np.int64).tobytes(), digest_size=4).digest()
        return int.from_bytes(digest, "big") / 2**32 < share


def dose(count: int, batch: int = 0, epochs: float = 0.0, enough: Enough = CONVERSATIONS) -> tuple[int, float]:
    """The batch and the passes for so many examples, where they are not set (0): few are read in small batches and
    often, so that there are enough steps; many in batches of 32 (docs/notebook/post-training.md)."""
    batch = batch or min(32, max(8, count // 32))
    passes = min(20 * enough.passes, max(enough.passes, -(-enough.steps * batch // count)))
    return batch, epochs or float(passes)


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


def examples_of(messages: Messages, tokenizer: Tokenizer, context: int) -> list[Example]:
    """A conversation, rendered: one example, or as many as `lessons` makes of it. Raises TooLong where the model cannot
    read one whole."""
    made = lessons(messages, tokenizer, context + 1)
    if (longest := max(len(ids) for ids, _ in made)) > context + 1:
        raise TooLong(longest, context + 1)
    return [Example(np.asarray(ids, np.int32), np.asarray(mask, bool)) for ids, mask in made]


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


def ordered(count: int, params: Tune, enough: Enough = CONVERSATIONS) -> tuple[Order, int]:
    """The order of so many examples and the steps that they take. Says what was chosen for them."""
    batch, epochs = dose(count, params.batch, params.epochs, enough)
    if (batch, epochs) != (params.batch, params.epochs):
        console.print(f"           {batch} examples a step, each read {'once' if epochs == 1 else f'{epochs:g} times'}")
    order = Order(count, batch, params.seed)
    return order, order.steps(epochs)


class Pair(NamedTuple):
    """Two answers to a prompt, rendered, of which one is preferred."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Of all three."""
        return sum(map(len, self))


class Judged(NamedTuple):
    """An answer to a prompt, rendered, and whether it is good."""

    prompt: list[int]
    answer: list[int]
    good: bool

    @property
    def tokens(self) -> int:
        """Of both."""
        return len(self.prompt) + len(self.answer)


def planned(stage: str, examples: Sequence[Pair] | Sequence[Judged], params: Tune, model: Path) -> tuple[Order, Plan]:
    """The order in which a stage reads what was preferred or judged, and its plan to tune the model in a folder."""
    order, steps = ordered(len(examples), params, PAIRS)
    return order, tuning(
        *(stage, steps, params, model),
        tokens=lambda: sum(examples[index].tokens for step in range(steps) for index in order(step)),
    )


def conversations_from_documents(corpus: Path, tokens: Path | None = None) -> Iterator[Messages]:
    """Requests that a document's title or opening asks, answered by an excerpt that ends with a sentence.

    So that a site without conversations of its own still becomes an assistant that tells what it has read. What
    `tokens` hold out is left out, or measures on held-out text would be of text that was trained on.
    Raises UserError where no document is long enough.
    """
    heldout = open_split(tokens, "heldout") if tokens else None
    held = dict(zip(heldout.ids, heldout.bytes.tolist(), strict=True)) if heldout else {}
    made = 0
    for document in read_documents(corpus):
        text = document.text
        if document.id in held:  # all of it; of the only document of a corpus, its end
            whole = text.encode()
            text = whole[: len(whole) - held[document.id]].decode()
        for excerpt in excerpts(text):
            request = STORY_REQUESTS[made % len(STORY_REQUESTS)]
            opening = excerpt[:OPENING].rsplit(" ", 1)[0]
            answer = excerpt[len(opening) :].strip() if "{opening}" in request else excerpt
            question = request.format(title=document.title or "something you have read", opening=opening)
            yield [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            made += 1
    if not made:
        raise UserError(
            f"no document in {corpus} is long enough for a conversation",
            "name [sft] conversations, or take [sft] out of the recipe; search needs no model: run --until passages",
        )


def heldout_pages(tokens: Path | None) -> frozenset[str]:
    """URLs of the documents that `tokens` hold out; none where that is the end of an only one."""
    if tokens is None:
        return frozenset()
    trained, heldout = (open_split(tokens, name) for name in ("train", "heldout"))
    return frozenset() if len(trained) == 1 and trained.ids == heldout.ids else frozenset(heldout.urls)


def refuse_pages(record: dict[str, Any], held: frozenset[str]) -> dict[str, Any]:
    """A record of conversations. Raises UserError where it shows a page whose text is held out."""
    pages = record.get(PAGES)
    if held and isinstance(pages, list) and (found := held.intersection(map(str, pages))):
        problem = f"it shows {min(found)}, which tokenize holds out to measure on"
        raise UserError(problem, "leave it out, or set tokenize.heldout = 0")
    return record


def excerpts(text: str) -> Iterator[str]:
    """Cut a text into excerpts of at most EXCERPT characters that begin and end with sentences."""
    excerpt, parts = "", SENTENCE_END.split(text.strip())  # a sentence, the gap after it, the next sentence …
    for sentence, gap in zip([*parts[::2], None], ["", *parts[1::2], ""], strict=True):
        if sentence is None or len(excerpt) + len(sentence) > EXCERPT:
            if len(excerpt) > 2 * OPENING:
                yield excerpt
            excerpt = ""
        if sentence and len(sentence) <= EXCERPT:
            excerpt = f"{excerpt}{' ' * bool(gap)}{sentence}".strip()
