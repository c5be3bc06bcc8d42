"""Which training documents moved the model towards an answer, by gradients.

A document's score at one moment of training is the cosine of its gradient and the answer's, both divided by the root of
the mean square gradient of many documents, over the layers' matrices (TrackStar, Chang et al. 2024, arXiv:2410.17413,
without its projections, which models of this size can do without). It is the mean over several moments (TracIn, Pruthi
et al. 2020, arXiv:2002.08484): when training ends, what was learned by heart has hardly a gradient left. Beside each
score stands how far it is above those of documents drawn at random. `benchmarks/attribution.py` says how far training
again without the documents confirms it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gristmill.corpus.text.ngrams import word_hashes
from gristmill.errors import UserError
from gristmill.model.loss import IGNORE, cross_entropy, padded, windows_of
from gristmill.model.transformer import Transformer
from gristmill.progress import Progress
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split

SAMPLE = 100  # documents drawn at random: the mean square gradient, and what scores are compared with
DAMPING = 0.1  # of the mean of all mean squares: what is hardly ever moved shall not decide
KEPT = 1 << 30  # bytes of gradients that are kept rather than computed twice
WINDOWS = 16  # of a document's, the first, that are looked at


@dataclass(frozen=True)
class Mover:
    """A training document and how it moves the model."""

    document: int  # its number in the training split
    score: float  # a cosine
    above: float  # standard deviations above the mean of documents drawn at random
    states: bool  # whether it holds the answer's words in a row


def attribute(
    models: Sequence[Transformer],
    tokenizer: Tokenizer,
    split: Split,
    prompt: str,
    answer: str,
    candidates: int,
    seed: int = 0,
) -> list[Mover]:
    """Documents in the order of their scores: those that have most words of prompt and answer, rare ones first, as many
    as `candidates`, and SAMPLE drawn at random. `models` are one model at several moments of its training.

    Raises UserError where there is no answer, or more text than the model reads.
    """
    begin, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + answer)
    shared = next((at for at, pair in enumerate(zip(begin, whole, strict=False)) if pair[0] != pair[1]), len(begin))
    if shared >= len(whole):
        raise UserError("there is no answer", 'give what follows the prompt, as " a ferret"')
    if len(whole) > models[0].config.context:
        problem = f"prompt and answer have {len(whole)} tokens; the model reads {models[0].config.context}"
        raise UserError(problem, "shorten the prompt")
    row = np.array([tokenizer.end_of_text, *whole], np.int64)
    asked = padded([row], [np.arange(len(row)) > shared])
    draw = np.random.default_rng(seed).permutation(len(split))[:SAMPLE].tolist()
    near, states = nearest(split, tokenizer, prompt, answer, candidates)
    looked = list(dict.fromkeys([*draw, *near]))
    with Progress("gradients", len(models) * (len(draw) + len(looked)), "documents") as bar:
        scores = np.mean([scores_at(model, asked, split, draw, looked, bar) for model in models], axis=0)
    found = dict(zip(looked, scores.tolist(), strict=True))
    chance = np.array([found[number] for number in draw])
    deviation = float(chance.std()) or 1.0
    movers = [
        Mover(number, score, (score - float(chance.mean())) / deviation, number in states)
        for number, score in found.items()
    ]
    return sorted(movers, key=lambda mover: -mover.score)


def scores_at(
    model: Transformer, asked: tuple[Tensor, Tensor], split: Split, draw: list[int], looked: list[int], bar: Progress
) -> np.ndarray:
    """The scores of documents at one moment, [len(looked)]; `draw` are those for the mean square."""
    wanted = gradient(model, *asked)
    squares = torch.zeros_like(wanted)
    kept: dict[int, Tensor] = {}  # gradients that are needed again, as far as there is room
    for number in draw:
        one = gradient_of(model, split, number)
        squares += one.square()
        if (len(kept) + 1) * one.nbytes <= KEPT:
            kept[number] = one
        bar.advance(1)
    weight = 1 / (squares + DAMPING * squares.mean()).clamp_min(1e-30)
    wanted *= weight / (wanted.square() * weight).sum().sqrt().clamp_min(1e-30)
    scores = []
    for number in looked:
        one = kept.pop(number) if number in kept else gradient_of(model, split, number)
        scores.append(float((one @ wanted) / (one.square_() @ weight).sqrt().clamp_min(1e-30)))
        bar.advance(1)
    return np.array(scores)


def gradient_of(model: Transformer, split: Split, number: int) -> Tensor:
    """That of a document's loss, as training sees it, [P]."""
    rows = windows_of(split.document(number).astype(np.int64), model.config.context)
    return gradient(model, *padded(rows[:WINDOWS]))


def gradient(model: Transformer, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """The gradient of the summed loss by the layers' matrices, one after the other, [P]."""
    weights = [weight for weight in model.layers.parameters() if weight.ndim == 2]
    count = int((targets_BT != IGNORE).sum())
    with torch.enable_grad():
        parts = torch.autograd.grad(cross_entropy(model, inputs_BT, targets_BT) * count, weights)
    return torch.cat([part.flatten() for part in parts])


def nearest(split: Split, tokenizer: Tokenizer, prompt: str, answer: str, most: int) -> tuple[list[int], set[int]]:
    """The documents that have most words of a text, each word counted once and as -log of the share of documents that
    have it; and all documents that hold the answer's words in a row."""
    asked, said = np.unique(word_hashes(prompt + answer)), word_hashes(answer)
    has = np.zeros((len(split), len(asked)), bool)
    states = set[int]()
    with Progress("looking for words", len(split), "documents") as bar:
        for number in range(len(split)):
            hashes = word_hashes(tokenizer.decode(split.document(number).tolist()))
            has[number] = np.isin(asked, hashes)
            starts = np.flatnonzero(hashes[: len(hashes) - len(said) + 1] == said[0]) if len(said) else ()
            if any((hashes[at : at + len(said)] == said).all() for at in starts):
                states.add(number)
            bar.advance(1)
    weight = has @ -np.log(np.maximum(1, has.sum(0)) / len(split))
    order = np.argsort(-weight, kind="stable")[:most]
    return [int(number) for number in order if weight[number] > 0], states
