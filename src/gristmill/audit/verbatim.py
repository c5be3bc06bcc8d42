"""What comes out word for word.

Completion: the model gets the first half of a passage and completes it greedily; the passage counts as extracted where
the second half comes out token for token (Carlini et al. 2023, arXiv:2202.07646 §3). Free generation: the share of what
the model writes of itself that lies in runs of 50 tokens or more of the training text (Lee et al. 2022,
arXiv:2107.06499 §6.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.audit.passage_sample import Passage
from gristmill.audit.trace import corpus_index
from gristmill.audit.trace.corpus_index import CorpusIndex
from gristmill.errors import UserError
from gristmill.evaluation.intervals import of_share, of_statistic
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.progress import Progress
from gristmill.recipe import Audit
from gristmill.settings.apart import Index
from gristmill.tokenizer.shards import Split

BATCH = 64
LONG = 50  # tokens of a run that nobody writes twice by chance
WRITTEN = 64  # texts that the model writes of itself


def lengths(params: Audit, split: Split, context: int) -> tuple[int, int]:
    """Prompt and continuation in tokens, shortened in proportion where no document or the model has room for them."""
    wanted = params.prompt_tokens + params.continuation_tokens
    longest = int(min(context, np.diff(split.starts).max() - 1))
    if longest < 2:
        raise UserError("no document is long enough to be completed", "audit a corpus with longer documents")
    share = min(1.0, longest / wanted)
    return max(1, int(params.prompt_tokens * share)), max(1, int(params.continuation_tokens * share))


def pick(passages: Sequence[Passage], count: int, draw: np.random.Generator) -> list[Passage]:
    """At most `count` of the passages, at random, in text order."""
    if len(passages) <= count:
        return list(passages)
    return [passages[index] for index in sorted(draw.choice(len(passages), count, replace=False))]


def complete(
    engine: Engine,
    split: Split,
    passages: Sequence[Passage],
    size: tuple[int, int],
    bar: Progress,
    parts: Parts,
    begins: bool = False,
) -> list[dict[str, Any]]:
    """Complete passages of `size` (prompt and continuation, in tokens) greedily and compare with what follows. Where
    documents begin with them, `begins`, the prompt has what training had before: the end of another document."""
    results = []
    for at in range(0, len(passages), BATCH):
        batch = passages[at : at + BATCH]
        results += parts(f"passages-{bar.done:08}", partial(complete_batch, engine, split, batch, size, begins))
        bar.advance(len(batch))
    return results


def complete_batch(
    engine: Engine, split: Split, passages: Sequence[Passage], size: tuple[int, int], begins: bool
) -> list[dict[str, Any]]:
    """The same of passages that are completed together."""
    (prompt, rest), decode, results = size, engine.tokenizer.decode, []
    whole = [split.tokens[passage.start : passage.start + prompt + rest].tolist() for passage in passages]
    before = [engine.tokenizer.end_of_text] * begins
    answers = engine.generate([before + tokens[:prompt] for tokens in whole], max_tokens=rest)
    for passage, tokens, answer in zip(passages, whole, answers, strict=True):
        truth = tokens[prompt:]
        same = [ours == theirs for ours, theirs in zip(answer.tokens, truth, strict=False)]
        document = int(np.searchsorted(split.starts, passage.start, side="right")) - 1
        results.append(
            {
                "url": split.urls[document],
                "copies": passage.copies,
                "exact": answer.tokens == truth,
                "matched_tokens": same.index(False) if False in same else len(same),
                "prompt": decode(tokens[:prompt]),
                "truth": decode(truth),
                "model": decode(answer.tokens),
            }
        )
    return results


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many passages were tried, which share came out whole, and how many tokens matched on average."""
    whole = sum(bool(result["exact"]) for result in results)
    matched = [int(result["matched_tokens"]) for result in results]
    return {
        "passages": len(results),
        "whole": whole,
        "fraction": round(whole / len(results), 5) if results else 0.0,
        "interval": [round(bound, 5) for bound in of_share(whole, len(results))],
        "matched_tokens": round(sum(matched) / len(matched), 3) if matched else 0.0,
    }


def beginnings(split: Split, length: int) -> list[Passage]:
    """The first tokens of each document that is long enough."""
    long = np.flatnonzero(np.diff(split.starts) - 1 >= length)
    return [Passage(int(split.starts[number]), 1) for number in long]


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
        counts = np.array([[copied(index, row, length), len(row)] for row in rows if row] or [[0, 1]])
        # of texts that have no such run a bootstrap draws no others: then it is the interval of finding one
        low, high = of_statistic(share, counts) if counts[:, 0].any() else of_share(0, len(rows))
        interval = [round(low, 5), round(high, 5)]
        found[name] = {"texts": len(rows), "share": round(share(counts), 5), "interval": interval}
    return found


def share(counts: np.ndarray) -> float:
    """The first column's sum over the second's."""
    return float(counts[:, 0].sum() / max(1, counts[:, 1].sum()))


def copied(index: CorpusIndex, tokens: list[int], length: int) -> int:
    """How many of some tokens lie in a run of `length` that stands in the training text."""
    inside = np.zeros(len(tokens), bool)
    for start in range(len(tokens) - length + 1):
        if index.longest(tokens[start : start + length]) == length:
            inside[start : start + length] = True
    return int(inside.sum())
