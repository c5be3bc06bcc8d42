"""Which share of the training text comes out word for word (Carlini et al. 2023, arXiv:2202.07646 §3).

The model gets the beginning of a passage, `prefix_lengths` tokens of it; the passage is extracted where greedy decoding
goes on with the passage's next tokens, all of them. Told by how often the passage occurs and by how long the prefix is;
of held-out text, too, which can only be guessed.

Nothing is generated for it: greedy decoding gives a passage exactly where each of its tokens is the likeliest after
those before it, which one pass over the passage tells of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from gristmill.audit.passage_sample import Passage, find_passages
from gristmill.errors import UserError
from gristmill.evaluation.intervals import of_share, of_statistic, of_weighted, rounded
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.progress import Progress
from gristmill.recipe import Audit
from gristmill.tokenizer.shards import Split

BATCH = 64
FIRST = 8  # tokens of a continuation that are tried before all of them are
BUCKETS = ((1, 1), (2, 3), (4, 9), (10, 10**9))  # copies of a passage
EXAMPLES = 6


@dataclass
class Attempts:
    """Tries passages: each is counted in the progress, and what an interrupted run has tried is not tried again."""

    engine: Engine
    parts: Parts
    draw: np.random.Generator
    samples: int  # passages tried of a kind, at most
    bar: Progress
    seen: list[tuple[Passage, int]] = field(default_factory=list)  # of training text, and how many tokens came out

    def __call__(
        self, split: Split, passages: Sequence[Passage], prefixes: Sequence[int], rest: int, begins: bool = False
    ) -> dict[int, np.ndarray]:
        """For each length of prefix, how many of `rest` tokens came out of each passage before the first other one.

        All end at the same place. Where documents begin with them, `begins`, the prefix has what training had before
        it, the end of another document.
        """
        chosen, longest = pick(passages, self.samples, self.draw), max(prefixes)
        texts = [split.tokens[one.start : one.start + longest + rest].tolist() for one in chosen]
        found: dict[int, list[int]] = {prefix: [] for prefix in prefixes}
        for at in range(0, len(texts), BATCH):
            batch = texts[at : at + BATCH]
            for prefix in prefixes:
                before = [self.engine.tokenizer.end_of_text] if begins else []
                rows = [before + tokens[0 if begins else longest - prefix :] for tokens in batch]
                rows = [row[: len(before) + prefix + rest] for row in rows]
                name = f"passages-{self.bar.done:08}-{prefix}"
                found[prefix] += self.parts(name, partial(matched, self.engine, rows, rest))
            self.bar.advance(len(batch))
        if split.name == "train" and not begins:
            self.seen += zip(chosen, found[longest], strict=True)
        return {prefix: np.array(counts, np.int64) for prefix, counts in found.items()}


@torch.inference_mode()
def matched(engine: Engine, rows: Sequence[Sequence[int]], rest: int) -> list[int]:
    """How many of the last `rest` tokens of each row, all of one length, greedy decoding gives before another one.
    Most are over soon: those that are not over after FIRST of them are read anew, and whole."""
    counts, ids_BT = np.zeros(len(rows), np.int64), torch.tensor([list(row) for row in rows], device=engine.device)
    going, begun = np.arange(len(rows)), ids_BT.size(1) - rest
    for tried in sorted({min(FIRST, rest), rest}):
        read_BT = ids_BT[going, : begun + tried]
        likeliest = engine.model.logits(engine.model.hidden(read_BT[:, :-1])[:, -tried:]).argmax(-1)
        counts[going] = (likeliest == read_BT[:, -tried:]).int().cumprod(1).sum(1).cpu().numpy()
        going = going[counts[going] == tried]
        if not len(going):
            break
    found: list[int] = counts.tolist()
    return found


def extractable(engine: Engine, splits: Mapping[str, Split], params: Audit, parts: Parts) -> dict[str, Any]:
    """The part of `audit.json` on passages, and with it examples."""
    prefixes, rest = lengths(params, splits["train"], engine.context - 1)
    size = prefixes[-1] + rest
    found = {name: find_passages(split, size) for name, split in splits.items()}
    buckets = [
        (low, high, bucket)
        for low, high in BUCKETS
        if (bucket := [passage for passage in found["train"] if low <= passage.copies <= high])
    ]
    with Progress("audit", None, "passages") as bar:
        tries = Attempts(engine, parts, np.random.default_rng(params.seed), params.samples, bar)
        tried = [tries(splits["train"], bucket, prefixes, rest) for *_, bucket in buckets]
        control = tries(splits["heldout"], found["heldout"], prefixes, rest)
        begun = {
            name: tries(split, beginnings(split, size), prefixes[-1:], rest, True) for name, split in splits.items()
        }
    by_length = []
    for prefix in prefixes:
        rows = [
            {"from": low, "to": high, "in_text": sum(one.copies for one in bucket), **summary(counts[prefix], rest)}
            for (low, high, bucket), counts in zip(buckets, tried, strict=True)
        ]
        by_length.append(
            {"prompt_tokens": prefix, **whole(rows), "train": rows, "heldout": summary(control[prefix], rest)}
        )
    last = by_length[-1]
    return {
        "prompt_tokens": prefixes[-1],
        "continuation_tokens": rest,
        "train": last["train"],
        "heldout": last["heldout"],
        "extractable_fraction": last["fraction"],
        "extractable_interval": last["interval"],
        "prefix_lengths": by_length,
        "beginnings": {name: summary(counts[prefixes[-1]], rest) for name, counts in begun.items()},
        "examples": examples(engine, splits["train"], tries.seen, prefixes[-1], rest),
    }


def lengths(params: Audit, split: Split, context: int) -> tuple[list[int], int]:
    """Prefixes, the longest last, and continuation in tokens; shortened in proportion where no document or the model
    has room for them."""
    longest = int(min(context, np.diff(split.starts).max() - 1))
    if longest < 2:
        raise UserError("no document is long enough to be completed", "audit a corpus with longer documents")
    share = min(1.0, longest / (max(params.prefix_lengths) + params.continuation_tokens))
    prefixes = {max(1, int(length * share)) for length in params.prefix_lengths}
    return sorted(prefixes), max(1, int(params.continuation_tokens * share))


def pick(passages: Sequence[Passage], count: int, draw: np.random.Generator) -> list[Passage]:
    """At most `count` of the passages, at random, in text order."""
    if len(passages) <= count:
        return list(passages)
    return [passages[index] for index in sorted(draw.choice(len(passages), count, replace=False))]


def beginnings(split: Split, length: int) -> list[Passage]:
    """The first tokens of each document that is long enough."""
    long = np.flatnonzero(np.diff(split.starts) - 1 >= length)
    return [Passage(int(split.starts[number]), 1) for number in long]


def summary(counts: np.ndarray, rest: int) -> dict[str, Any]:
    """How many passages were tried, which share came out whole, and how many tokens on average; None of none."""
    if not len(counts):
        return {"passages": 0, "whole": 0} | dict.fromkeys(
            ("fraction", "interval", "matched_tokens", "matched_interval")
        )
    out = int((counts == rest).sum())
    return {
        "passages": len(counts),
        "whole": out,
        "fraction": round(out / len(counts), 5),
        "interval": rounded(of_share(out, len(counts))),
        "matched_tokens": round(float(counts.mean()), 3),
        "matched_interval": rounded(of_statistic(lambda drawn: float(drawn.mean()), counts), 3),
    }


def whole(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The share of all of the text that comes out: the rows' shares, each weighted by how much of the text it is."""
    in_text = sum(row["in_text"] for row in rows)
    if not in_text:
        return {"fraction": None, "interval": None}
    weighted = [(row["whole"], row["passages"], row["in_text"] / in_text) for row in rows]
    fraction = sum(weight * out / tried for out, tried, weight in weighted)
    return {"fraction": round(fraction, 5), "interval": rounded(of_weighted(weighted))}


def examples(
    engine: Engine, split: Split, tried: Sequence[tuple[Passage, int]], prompt: int, rest: int
) -> list[dict[str, Any]]:
    """Some passages, those that came out first, each with what the model writes."""
    shown = ([one for one in tried if one[1] == rest] or list(tried))[:EXAMPLES]
    texts = [split.tokens[passage.start : passage.start + prompt + rest].tolist() for passage, _ in shown]
    answers = engine.generate([tokens[:prompt] for tokens in texts], max_tokens=rest)
    decode = engine.tokenizer.decode
    return [
        {
            "url": split.urls[int(np.searchsorted(split.starts, passage.start, side="right")) - 1],
            "copies": passage.copies,
            "exact": count == rest,
            "matched_tokens": count,
            "prompt": decode(tokens[:prompt]),
            "truth": decode(tokens[prompt:]),
            "model": decode(answer.tokens),
        }
        for (passage, count), tokens, answer in zip(shown, texts, answers, strict=True)
    ]
