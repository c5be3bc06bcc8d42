"""What comes out word for word of itself: the share of what the model writes unasked that lies in runs of 50 tokens or
more of the training text (Lee et al. 2022, arXiv:2107.06499 §6.1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gristmill.audit.trace import corpus_index
from gristmill.audit.trace.corpus_index import CorpusIndex
from gristmill.evaluation.intervals import of_share, of_statistic, rounded
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.settings.apart import Index
from gristmill.tokenizer.shards import Split

LONG = 50  # tokens of a run that nobody writes twice by chance
WRITTEN = 64  # texts that the model writes of itself


def free_generation(
    engine: Engine, train: Split, heldout: Split, seed: int, work: Path, parts: Parts
) -> dict[str, Any]:
    """How much of what the model writes of itself, at temperature 1, stands in long runs in the training text; and, as
    a control, how much of as many held-out documents does."""
    work.mkdir(exist_ok=True)
    corpus_index.run({"tokens": train.folder}, Index(), work)
    index = CorpusIndex(work, train.folder)
    length = min(LONG, engine.context // 2)

    def write() -> list[list[int]]:
        prompts = [[engine.tokenizer.end_of_text]] * WRITTEN
        written = engine.generate(prompts, max_tokens=engine.context - 1, temperature=1.0, seed=seed)
        return [one.tokens for one in written]

    chosen = np.linspace(0, len(heldout) - 1, min(WRITTEN, len(heldout))).astype(int)
    texts = {
        "written": parts("written", write),
        "heldout": [heldout.document(int(number))[: engine.context].tolist()[:-1] for number in chosen],
    }
    found: dict[str, Any] = {"run_tokens": length}
    for name, rows in texts.items():
        counts = np.array([[copied(index, row, length), len(row)] for row in rows if row]).reshape(-1, 2)
        if not len(counts):
            found[name] = {"texts": 0, "share": None, "interval": None}
            continue
        # of texts that have no such run a bootstrap draws no others: then it is the interval of finding one
        interval = rounded(of_statistic(share, counts) if counts[:, 0].any() else of_share(0, len(counts)))
        found[name] = {"texts": len(counts), "share": round(share(counts), 5), "interval": interval}
    return found


def share(counts: np.ndarray) -> float:
    """The first column's sum over the second's."""
    return float(counts[:, 0].sum() / counts[:, 1].sum())


def copied(index: CorpusIndex, tokens: list[int], length: int) -> int:
    """How many of some tokens lie in a run of `length` that stands in the training text."""
    inside = np.zeros(len(tokens), bool)
    for start, found in enumerate(index.longest(tokens)):
        if found >= length:
            inside[start : start + length] = True
    return int(inside.sum())
