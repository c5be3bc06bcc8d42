"""Whether documents that were trained on can be told from others, and how many bits of them the weights hold.

Told apart: the area under the ROC curve where a document's loss, or Min-K%++ (Zhang et al. 2024, arXiv:2404.02936),
says whether it was trained on; 0.5 is a guess. Held-out documents are others of the same kind, chosen by a hash.

Bits: a model that has only generalised expects trained and held-out text alike. What it needs less for text that it
was trained on is what it memorised of it (Morris et al. 2025, arXiv:2505.24832 §2). The reference is what held-out text
costs under the model, mixed with how often each token occurs so that it costs least: a model that knows its text by
heart is too sure of any other. Text that stands several times counts each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gristmill.evaluation.intervals import of_statistic, rounded
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.model.loss import IGNORE, padded
from gristmill.tokenizer.shards import Split

BATCH = 16
AT_ONCE = 256  # tokens whose logits are in memory: what a processor's cache holds
LEAST = 0.2  # Min-K%++: the share of a document's tokens, the least expected ones, that its score is the mean of
SHARES = (1.0, 0.98, 0.9, 0.7, 0.4, 0.1, 0.0)  # of the model in the mixtures that held-out text is tried with
CHUNK = 1 << 22  # tokens counted at once
FEW = 10  # documents: with fewer of a kind nothing is told


def membership(
    engine: Engine, train: Split, heldout: Split, samples: int, draw: np.random.Generator, parts: Parts
) -> dict[str, Any]:
    """Figures on a sample of documents of both splits, each as far as the model reads; empty where there are few."""
    if min(len(train), len(heldout)) < FEW:
        return {}
    tables, common = {}, frequencies(train, engine.tokenizer.vocab_size)
    for split in (train, heldout):
        chosen = np.sort(draw.choice(len(split), min(samples, len(split)), replace=False))
        tables[split.name] = score(engine, split, chosen, common, parts)
    seen, unseen = tables["train"], tables["heldout"]
    found: dict[str, Any] = {"documents": len(seen), "heldout_documents": len(unseen)}
    for place, name in ((1, "loss"), (2, "min_k_plus_plus")):
        columns = seen[:, place], unseen[:, place]
        control = unseen[::2, place], unseen[1::2, place]
        found[name] = {"auc": round(auc(*columns), 4), "interval": rounded(of_statistic(auc, *columns), 4)}
        found[name] |= {"control": round(auc(*control), 4), "control_interval": rounded(of_statistic(auc, *control), 4)}
    total, weights = train.total_bytes, sum(weight.numel() for weight in engine.model.parameters())
    for side, groups in (("", (seen, unseen)), ("_control", (unseen[::2], unseen[1::2]))):
        bits, bounds = total * gap(*groups), [total * bound for bound in of_statistic(gap, *groups)]
        found |= {f"bits_memorised{side}": round(bits), f"bits_memorised{side}_interval": [*map(round, bounds)]}
        found[f"bits_per_parameter{side}"] = round(bits / weights, 5)
        found[f"bits_per_parameter{side}_interval"] = rounded([bound / weights for bound in bounds])
    return found


def auc(seen: np.ndarray, unseen: np.ndarray) -> float:
    """How often a value of the first kind is below one of the second, ties counting half (Mann and Whitney 1947)."""
    ordered = np.sort(unseen)
    below = np.searchsorted(ordered, seen, side="left")
    ties = np.searchsorted(ordered, seen, side="right") - below
    return float((len(unseen) - below - ties / 2).mean() / len(unseen))


def gap(seen: np.ndarray, unseen: np.ndarray) -> float:
    """Bits a byte that held-out documents cost more than trained ones, each under the mixture where they cost least."""
    return float(unseen[:, 3:].sum(0).min() / unseen[:, 0].sum() - seen[:, 3:].sum(0).min() / seen[:, 0].sum())


def frequencies(split: Split, vocab_size: int) -> torch.Tensor:
    """The share of each token in a split, none of them 0, float32 [V]."""
    counts = np.ones(vocab_size, np.int64)
    for at in range(0, len(split.tokens), CHUNK):
        counts += np.bincount(split.tokens[at : at + CHUNK], minlength=vocab_size)
    return torch.from_numpy((counts / counts.sum()).astype(np.float32))


def score(engine: Engine, split: Split, chosen: np.ndarray, common: torch.Tensor, parts: Parts) -> np.ndarray:
    """Of each document: bytes; bits a token, and Min-K%++ with its sign turned, each less where the document is known;
    then its bits under each mixture of SHARES."""

    def make(numbers: Sequence[int]) -> list[list[float]]:
        return score_batch(engine, [split.document(one)[: engine.context].tolist() for one in numbers], common)

    return np.array(parts.batches(f"membership-{split.name}", chosen.tolist(), BATCH, make, "audit", "documents"))


@torch.inference_mode()
def score_batch(engine: Engine, documents: Sequence[list[int]], common: torch.Tensor) -> list[list[float]]:
    """The same of documents that are read together, each after the end of another."""
    ids, targets = padded([np.array([engine.tokenizer.end_of_text, *tokens]) for tokens in documents])
    asked, hidden = targets.to(engine.device) != IGNORE, engine.model.hidden(ids.to(engine.device))
    hidden, wanted = hidden[asked], targets.to(engine.device)[asked]
    chunks = [
        standing_of(engine.model.logits(hidden[at : at + AT_ONCE]), wanted[at : at + AT_ONCE])
        for at in range(0, len(wanted), AT_ONCE)
    ]
    taken, standing = (torch.cat(column) for column in zip(*chunks, strict=True))
    often = common.to(engine.device)[wanted].double()
    tried = [-(share * taken.exp() + (1 - share) * often).log2() for share in SHARES]
    lengths = [len(tokens) for tokens in documents]
    parts = zip(standing.split(lengths), *(one.split(lengths) for one in tried), strict=True)
    rows = []
    for tokens, (own, *costs) in zip(documents, parts, strict=True):
        size, sums = len(engine.tokenizer.decode_bytes(tokens)) or 1, [float(one.sum()) for one in costs]
        least = own.sort().values[: max(1, round(LEAST * len(tokens)))]
        rows.append([size, sums[0] / len(tokens), -float(least.mean()), *sums])
    return rows


def standing_of(logits_NV: torch.Tensor, wanted_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probability of each token, and how many deviations it is above the mean log-probability, float64 [N]."""
    logprobs_NV = logits_NV.float().log_softmax(-1)
    weighted_NV = logprobs_NV.exp().mul_(logprobs_NV)
    mean_N = weighted_NV.sum(-1)
    square_N = weighted_NV.mul_(logprobs_NV).sum(-1)
    taken_N = logprobs_NV.gather(-1, wanted_N[:, None])[:, 0].double()
    return taken_N, (taken_N - mean_N) / (square_N - mean_N.square()).clamp(min=1e-12).sqrt()
