"""A text as one vector: the mean of its last hidden states, of length 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.generation.decoder import PAGE, NativeDecoder, Rows
from gristmill.generation.engine import Engine


def embed(engine: Engine, tokens: Sequence[int]) -> np.ndarray:
    """The vector of a text's tokens, float32 [D]. Other threads may generate meanwhile: a part of the text is read at a
    time. Raises TooLong for what does not fit."""
    engine.check([list(tokens)])
    total = sum_in_torch(engine, tokens)
    if total is None:
        total = sum_in_c(engine, tokens)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-30), np.float32)


def sum_in_c(engine: Engine, tokens: Sequence[int]) -> np.ndarray:
    """The sum of the hidden states, by the C step."""
    scheduler = engine.scheduler
    decoder, total = scheduler.decoder, np.zeros(engine.config.width)
    assert isinstance(decoder, NativeDecoder)
    table, pages = np.zeros(-(-len(tokens) // PAGE), np.uint64), list[int]()
    try:
        for start in range(0, len(tokens), decoder.rows):
            part = list(tokens[start : start + decoder.rows])
            count, places = len(part), list(range(start, start + len(part)))
            with scheduler.lock:
                while len(pages) * PAGE <= places[-1]:
                    pages.append(scheduler.pages.take())
                table[: len(pages)] = pages
                decoder.step(Rows(part, places, [table] * count, list(range(count))), count)
                total += decoder.hidden(count).sum(0)
    finally:
        with scheduler.lock:
            scheduler.pages.release(pages)
    return total


def sum_in_torch(engine: Engine, tokens: Sequence[int]) -> np.ndarray | None:
    """The same by PyTorch, where that is what generates."""
    if isinstance(engine.scheduler.decoder, NativeDecoder):
        return None
    import torch

    with engine.scheduler.lock, torch.inference_mode():
        hidden = engine.model.hidden(torch.tensor([list(tokens)], device=engine.device))
        return np.asarray(hidden[0].float().sum(0).cpu().numpy())
