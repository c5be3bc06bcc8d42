"""How likely a model finds a continuation of a context, as lm-evaluation-harness measures it (`loglikelihood`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

from gristmill.generation.engine import Engine
from gristmill.training.data.answers import fork

Pair = tuple[tuple[int, ...], tuple[int, ...]]
BATCH = 64  # pairs
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
    """The same of tokens: those that are read before, one at least, and those that follow. What several pairs read
    before is read once, and equal pairs are one."""
    found: dict[Pair, tuple[float, bool]] = {}
    wanted = [fitting(engine.context, tuple(before), tuple(after)) for before, after in pairs]
    distinct = list(dict.fromkeys(wanted))
    for at in range(0, len(distinct), BATCH):
        batch = distinct[at : at + BATCH]
        groups = [(list(before), list(group)) for before, group in groupby(batch, key=itemgetter(0))]
        told = fork(
            [before for before, _ in groups],
            [[list(after) for _, after in group] for _, group in groups],
            engine.device,
        )
        asked = told.mask_BA.bool()
        hidden, tokens = told.hidden(engine.model)[told.places_BA[asked]], told.tokens_BA[asked]
        taken, likeliest = torch.zeros(asked.shape, dtype=torch.float64, device=engine.device), ~asked
        parts = [
            taken_of(engine.model.logits(hidden[low : low + AT_ONCE]), tokens[low : low + AT_ONCE])
            for low in range(0, len(tokens), AT_ONCE)
        ]
        if parts:
            taken[asked], likeliest[asked] = (torch.cat(column) for column in zip(*parts, strict=True))
        found |= zip(batch, zip(taken.sum(1).tolist(), likeliest.all(1).tolist(), strict=True), strict=True)
    return [found[pair] for pair in wanted]


def fitting(context: int, before: tuple[int, ...], after: tuple[int, ...]) -> Pair:
    """The end of a pair, as far as the model reads: it reads all tokens but the last."""
    row = (before + after)[-context - 1 :]
    begun = max(1, len(row) - len(after))
    return row[:begun], row[begun:]


def taken_of(logits_NV: Tensor, wanted_N: Tensor) -> tuple[Tensor, Tensor]:
    """The log-probabilities of tokens, float64 [N], and whether each is the likeliest, bool [N]."""
    logprobs_NV = logits_NV.float().log_softmax(-1)
    return logprobs_NV.gather(-1, wanted_N[:, None])[:, 0].double(), logprobs_NV.argmax(-1) == wanted_N
