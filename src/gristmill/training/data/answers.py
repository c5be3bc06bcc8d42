"""Prompts and answers to them, laid out in rows: each prompt is read once, whatever follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gristmill.model.loss import rounded_up, token_logprobs
from gristmill.model.ops import Branches
from gristmill.model.transformer import Transformer

WIDTH = 64  # rows are as wide as a multiple of it: so that they come in few shapes (see `kernels.fast_products`)


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
    """Lay out the answers to each prompt, which has a token or more; they are numbered in order."""
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
