"""How likely a model finds a continuation of a context, as lm-evaluation-harness measures it (`loglikelihood`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gristmill.generation.engine import Engine
from gristmill.model.loss import IGNORE, padded

BATCH = 64
AT_ONCE = 1024  # tokens whose logits are in memory


def split_tokens(engine: Engine, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """The tokens of a context, after the end of another document, and of what follows it. Spaces between them belong to
    what follows, and both are encoded as one text, so that the tokens are those of training."""
    stripped = context.rstrip()
    tokenizer = engine.tokenizer
    before = tokenizer.encode(stripped)
    whole = tokenizer.encode(context + continuation)
    return [tokenizer.end_of_text, *before], whole[len(before) :]


def log_likelihoods(engine: Engine, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """Natural log of each (context, continuation)'s probability, and whether greedy decoding would give it. Of what is
    longer than the model reads, the beginning is left out."""
    return row_likelihoods(engine, [split_tokens(engine, *pair) for pair in pairs])


@torch.no_grad()  # tensors of inference mode could not be trained with afterwards
def row_likelihoods(engine: Engine, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
    """The same of tokens: those that are read before, and those that follow."""
    rows, masks = [], []
    for before, after in pairs:
        row = np.array((before + after)[-engine.context - 1 :], np.int64)
        rows.append(row)
        masks.append(np.arange(len(row)) >= len(row) - len(after))
    scores: list[tuple[float, bool]] = []
    for at in range(0, len(rows), BATCH):
        ids, targets = padded(rows[at : at + BATCH], masks[at : at + BATCH])
        targets = targets.to(engine.device)
        asked = targets != IGNORE
        hidden, wanted = engine.model.hidden(ids.to(engine.device))[asked], targets[asked]
        taken = torch.zeros(targets.shape, dtype=torch.float64, device=targets.device)
        likeliest = ~asked
        parts = [
            taken_of(engine.model.logits(hidden[low : low + AT_ONCE]), wanted[low : low + AT_ONCE])
            for low in range(0, len(wanted), AT_ONCE)
        ]
        if parts:
            taken[asked], likeliest[asked] = (torch.cat(column) for column in zip(*parts, strict=True))
        scores += zip(taken.sum(1).tolist(), likeliest.all(1).tolist(), strict=True)
    return scores


def taken_of(logits_NV: Tensor, wanted_N: Tensor) -> tuple[Tensor, Tensor]:
    """The log-probabilities of tokens, float64 [N], and whether each is the likeliest, bool [N]."""
    logprobs_NV = logits_NV.float().log_softmax(-1)
    return logprobs_NV.gather(-1, wanted_N[:, None])[:, 0].double(), logprobs_NV.argmax(-1) == wanted_N
