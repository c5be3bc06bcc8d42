"""How likely a model finds a continuation of a context, as lm-evaluation-harness measures it (`loglikelihood`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gristmill.generation.engine import Engine
from gristmill.model.loss import IGNORE, padded

BATCH = 64


def split_tokens(engine: Engine, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """The tokens of a context, after the end of another document, and of what follows it. Spaces between them belong to
    what follows, and both are encoded as one text, so that the tokens are those of training."""
    stripped = context.rstrip()
    tokenizer = engine.tokenizer
    before = tokenizer.encode(stripped)
    whole = tokenizer.encode(context + continuation)
    return [tokenizer.end_of_text, *before], whole[len(before) :]


@torch.inference_mode()
def log_likelihoods(engine: Engine, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """Natural log of each (context, continuation)'s probability, and whether greedy decoding would give it. Of what is
    longer than the model reads, the beginning is left out."""
    rows, masks = [], []
    for context, continuation in pairs:
        before, after = split_tokens(engine, context, continuation)
        row = np.array((before + after)[-engine.context - 1 :], np.int64)
        rows.append(row)
        masks.append(np.arange(len(row)) >= len(row) - len(after))
    scores: list[tuple[float, bool]] = []
    for at in range(0, len(rows), BATCH):
        ids, targets = padded(rows[at : at + BATCH], masks[at : at + BATCH])
        targets = targets.to(engine.device)
        logprobs = engine.model(ids.to(engine.device)).float().log_softmax(-1)
        wanted = targets.clamp(min=0)
        taken = logprobs.gather(-1, wanted[..., None])[..., 0].double()
        asked = targets != IGNORE
        sums = torch.where(asked, taken, 0.0).sum(1).tolist()
        greedy = ((logprobs.argmax(-1) == wanted) | ~asked).all(1).tolist()
        scores += zip(sums, greedy, strict=True)
    return scores
