"""Batches of tokens: what step N sees is a pure function of (seed, N), whatever the number of processes.

Documents are packed whole: a row holds as many as fit, and only those longer than a row are cut.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gristmill import native
from gristmill.errors import UserError
from gristmill.model.loss import IGNORE
from gristmill.native import I32, I64, POINTER, SIZE, U8, U64
from gristmill.tokenizer.shards import Split
from gristmill.training.data.mixture import Mixture

LONG = ctypes.c_int64
PACK = native.Function("gm_pack", LONG, I32, SIZE, ctypes.c_int32, I64)
ROWS = (U64, I32, I64, I32, U8, I64, SIZE, SIZE, LONG, LONG, POINTER, POINTER, POINTER)
FILL = {2: native.Function("gm_fill_16", None, *ROWS), 4: native.Function("gm_fill_32", None, *ROWS)}  # by token size
DROP = (U64, I32, I64, I32, I64, SIZE, SIZE, LONG, ctypes.c_uint64, LONG, POINTER)
GOLDFISH = {2: native.Function("gm_goldfish_16", None, *DROP), 4: native.Function("gm_goldfish_32", None, *DROP)}


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, [B, T] each."""

    inputs: Tensor  # int64
    targets: Tensor  # int64, IGNORE in the padding
    documents: Tensor  # int32: which of the row's documents a token belongs to, -1 in the padding

    def starts(self, rows: slice = slice(None)) -> Tensor:
        """Where in its row each token's document begins, int64 [B, T], of some rows. Padding counts as a document."""
        documents = self.documents[rows].numpy()
        begins = np.ones(documents.shape, bool)  # by numpy: threads of PyTorch would wait for each other, for little
        np.not_equal(documents[:, 1:], documents[:, :-1], out=begins[:, 1:])
        return torch.from_numpy(np.maximum.accumulate(np.where(begins, np.arange(documents.shape[1]), 0), axis=1))

    def predicted(self, rows: slice = slice(None)) -> int:
        """How many tokens of some rows count in the loss."""
        return int(np.count_nonzero(self.targets[rows].numpy() != IGNORE))


@dataclass(frozen=True)
class Segments:
    """Runs of tokens of one document each; row r has the segments first[r] to first[r + 1]."""

    start: np.ndarray  # int64, into the split's tokens
    length: np.ndarray  # int32
    begins: np.ndarray  # uint8: whether it is the document's beginning
    first: np.ndarray  # int64 [rows + 1]

    def __len__(self) -> int:
        """Rows."""
        return len(self.first) - 1

    def rows(self, row: int, count: int) -> Segments:
        """Some rows that follow each other."""
        first = self.first[row : row + count + 1]
        run = slice(first[0], first[-1])
        return Segments(self.start[run], self.length[run], self.begins[run], first - first[0])


class Loader:
    """Rows of `context` tokens packed with documents, newly mixed and shuffled every epoch.

    A document of up to `context` tokens is never cut. A longer one fills rows of its own; what is over, a run before,
    between or after those (drawn anew every epoch, so that the cuts move), is packed with others. Every token is
    predicted once for each time that its document is read, a document's first one from `<|endoftext|>`.

    Memory: 13 bytes a piece and 8 a row, for two epochs at most, and some ten times that while an epoch is planned.
    Tokens are read from the mapped shards as needed.
    `batch` is that of all processes together, of which this is number `rank` of `world`.
    With `goldfish` = k, one target in k is left out of the loss: goldfish.c.
    """

    def __init__(
        self,
        split: Split,
        context: int,
        batch: int,
        seed: int,
        mix: Mapping[str, float] | None = None,
        *,
        goldfish: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Raises UserError where the batch does not divide among the processes or the mixture fits no document."""
        self.split, self.batch, self.seed, self.rank, self.world = split, divided(batch, world), seed, rank, world
        self.mixture = Mixture(split, mix or {}, seed)
        self.context = min(context, len(split.tokens))
        self.lengths = np.diff(split.starts)
        shards = split.tokens.shards
        self.addresses = np.array([shard.ctypes.data for shard in shards], np.uint64)
        self.fill, self.drop = FILL[shards[0].itemsize], GOLDFISH[shards[0].itemsize]
        self.goldfish = goldfish
        self.epochs: dict[int, Segments] = {}
        self.ends: list[int] = []  # rows up to the end of each epoch

    def of(self, batch: int) -> Loader:
        """The same rows, so many a step. Raises UserError where they do not divide among the processes."""
        other = copy(self)
        other.batch = divided(batch, self.world)
        return other

    def steps(self, epochs: float) -> int:
        """How many batches that many epochs take."""
        whole, part = divmod(epochs, 1)
        rows: float = sum(len(self.epoch(number)) for number in range(int(whole)))
        if part:
            rows += part * len(self.epoch(int(whole)))
        return max(1, round(rows / self.batch))

    def passes(self, step: int) -> float:
        """How many epochs are done before a step."""
        epoch, row = self.place(step * self.batch)
        return epoch + row / len(self.epoch(epoch))

    def tokens(self, steps: int) -> int:
        """How many tokens so many steps read in all."""
        last, row = self.place(steps * self.batch)
        rows = self.epoch(last)
        part = int(rows.length[: rows.first[row]].sum(dtype=np.int64))
        return part + sum(int(self.epoch(number).length.sum(dtype=np.int64)) for number in range(last))

    def epoch(self, number: int) -> Segments:
        """The rows of an epoch, in order."""
        if number not in self.epochs:
            if len(self.epochs) > 1:
                del self.epochs[next(iter(self.epochs))]
            self.epochs[number] = self.plan(number)
        return self.epochs[number]

    def plan(self, epoch: int) -> Segments:
        """Choose, cut, pack and shuffle the documents of an epoch."""
        random = np.random.default_rng([self.seed, epoch])
        documents = random.permutation(self.mixture.documents(epoch))
        starts, lengths = self.split.starts[documents], self.lengths[documents]
        whole, over = np.divmod(lengths, self.context)
        odd = random.integers(0, whole + 1)  # the row-long pieces of a document that come before its odd one
        row = np.empty(len(over), np.int64)
        packed = np.flatnonzero(over)
        rows = PACK(over[packed].astype(np.int32), len(packed), self.context, row)
        if rows < 0:
            raise MemoryError
        number = np.arange(whole.sum()) - np.repeat(np.cumsum(whole) - whole, whole)  # of a row in its document
        offset = number * self.context + np.where(number >= np.repeat(odd, whole), np.repeat(over, whole), 0)
        offset = np.concatenate((odd[packed] * self.context, offset))
        start = np.concatenate((starts[packed], np.repeat(starts, whole))) + offset
        length = np.concatenate((over[packed], np.full(len(number), self.context))).astype(np.int32)
        row = np.concatenate((row[: len(packed)], rows + np.arange(len(number))))
        total = rows + len(number)
        row = random.permutation(total)[row]
        order = np.argsort(row, kind="stable")
        first = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.bincount(row, minlength=total))))
        return Segments(start[order], length[order], (offset[order] == 0).astype(np.uint8), first)

    def place(self, index: int) -> tuple[int, int]:
        """Epoch and row of a row of the endless stream."""
        while not self.ends or self.ends[-1] <= index:
            before = self.ends[-1] if self.ends else 0
            self.ends.append(before + len(self.epoch(len(self.ends))))
        epoch = int(np.searchsorted(self.ends, index, side="right"))
        return epoch, index - (self.ends[epoch - 1] if epoch else 0)

    def __call__(self, step: int) -> Batch:
        """This process's rows of a step."""
        share = self.batch // self.world
        index = step * self.batch + self.rank * share
        inputs, targets = (torch.empty(share, self.context, dtype=torch.int64) for _ in range(2))
        documents = torch.empty(share, self.context, dtype=torch.int32)
        done = 0
        while done < share:
            epoch, row = self.place(index + done)
            rows = self.epoch(epoch)
            count = min(share - done, len(rows) - row)
            part = rows.rows(row, count)
            shard = (np.searchsorted(self.split.tokens.starts, part.start, side="right") - 1).astype(np.int32)
            start = part.start - self.split.tokens.starts[shard]
            outputs = (tensor[done:].data_ptr() for tensor in (inputs, targets, documents))
            self.fill(
                *(self.addresses, shard, start, part.length, part.begins, part.first, count, self.context),
                *(self.split.end_of_text, IGNORE, *outputs),
            )
            if self.goldfish:
                self.drop(
                    *(self.addresses, shard, start, part.length, part.first, count, self.context),
                    *(self.split.end_of_text, self.goldfish, IGNORE, targets[done:].data_ptr()),
                )
            done += count
        return Batch(inputs, targets, documents)


def divided(batch: int, world: int) -> int:
    """The batch, if it divides among the processes. Raises UserError otherwise."""
    if batch % world:
        raise UserError(
            f"a batch of {batch} rows does not divide among {world} processes", f"use a multiple of {world}"
        )
    return batch
