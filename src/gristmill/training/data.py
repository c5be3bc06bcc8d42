"""Batches of tokens: which tokens step N sees is a pure function of (seed, N)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gristmill.errors import UserError
from gristmill.model.transformer import Transformer
from gristmill.tokenizer.shards import Split

IGNORE = -100  # target that bears no loss


class TokenBatches:
    """Fixed-length rows cut from one long token stream, in a new random order and offset each epoch."""

    def __init__(self, tokens: np.ndarray, context: int, batch: int, seed: int) -> None:
        self.tokens, self.context, self.batch, self.seed = tokens, min(context, len(tokens) - 1), batch, seed
        if self.context < 1:
            raise UserError("the training tokens are fewer than two", "give more text")
        self.rows = max(1, (len(tokens) - 1) // self.context - 1)  # an epoch; one row is lost to the offset
        self.epoch, self.order, self.offset = -1, np.empty(0, np.int64), 0

    def steps(self, epochs: float) -> int:
        """How many batches that many epochs take."""
        return max(1, round(epochs * self.rows / self.batch))

    def row(self, index: int) -> np.ndarray:
        """Row `index` of the endless stream of rows, context + 1 tokens."""
        epoch, place = divmod(index, self.rows)
        if epoch != self.epoch:
            random = np.random.default_rng([self.seed, epoch])
            room = len(self.tokens) - 1 - self.rows * self.context
            self.epoch, self.offset = epoch, int(random.integers(0, room + 1))
            self.order = random.permutation(self.rows)
        start = self.offset + int(self.order[place]) * self.context
        return np.asarray(self.tokens[start : start + self.context + 1], dtype=np.int64)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, int64 [B, T] each."""
        rows = torch.from_numpy(np.stack([self.row(step * self.batch + i) for i in range(self.batch)]))
        return rows[:, :-1], rows[:, 1:]


def cross_entropy(model: Transformer, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Mean next-token loss in nats over the targets that are not IGNORE."""
    device = model.embed.weight.device
    hidden, targets = model.hidden(inputs_BT.to(device)), targets_BT.to(device)
    borne = targets != IGNORE
    if not borne.all():
        hidden, targets = hidden[borne], targets[borne]
    return F.cross_entropy(model.logits(hidden).flatten(0, -2), targets.flatten())


@torch.no_grad()
def bits_per_byte(model: Transformer, split: Split, max_tokens: int = 0, batch: int = 16) -> float:
    """Loss in bits over UTF-8 bytes, each document alone from its first token (which nothing predicts but the end
    of the document before it), its end token included. `max_tokens` > 0 takes only documents up to that many tokens.

    Comparable between tokenizers. Long documents are read in windows of the model's context.
    """
    context = model.config.context
    windows: list[np.ndarray] = []
    total_bytes = used = 0
    for index in range(len(split.ids)):
        start, end = int(split.starts[index]), int(split.starts[index + 1])
        if max_tokens and used and used + end - start > max_tokens:
            break
        used += end - start
        total_bytes += int(split.bytes[index])
        document = np.asarray(split.tokens[start:end], dtype=np.int64)
        document = np.concatenate((document[-1:], document))  # the end token opens every document
        windows += [document[at : at + context + 1] for at in range(0, len(document) - 1, context)]
    windows.sort(key=len)
    nats = 0.0
    for at in range(0, len(windows), batch):
        inputs, targets = padded(windows[at : at + batch])
        count = int((targets != IGNORE).sum())
        nats += float(cross_entropy(model, inputs, targets)) * count
    return nats / float(np.log(2)) / max(1, total_bytes)


def padded(rows: list[np.ndarray], masks: list[np.ndarray] | None = None) -> tuple[Tensor, Tensor]:
    """Rows of unequal length as inputs and targets [B, T], padded on the right; a mask says which tokens bear loss."""
    longest = max(len(row) for row in rows) - 1
    inputs = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets = torch.full((len(rows), longest), IGNORE, dtype=torch.int64)
    for i, row in enumerate(rows):
        length = len(row) - 1
        inputs[i, :length] = torch.from_numpy(row[:-1])
        target = torch.from_numpy(row[1:].copy())
        if masks is not None:
            target[~torch.from_numpy(masks[i][1:])] = IGNORE
        targets[i, :length] = target
    return inputs, targets
