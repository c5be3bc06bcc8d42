"""Trains a learned score on examples by gradient descent (AdaGrad), and measures it on others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from gristmill.corpus.filter.classifier import BITS, Scorer, features
from gristmill.errors import UserError
from gristmill.inputs.text_files import read_jsonl
from gristmill.progress import Progress

EPOCHS = 5
RATE = 5.0  # AdaGrad's step (Duchi et al. 2011); a feature moves the mean by a fraction of it
HELD_OUT = 10  # every tenth example is kept for measuring


def graded(path: Path) -> Iterator[tuple[str, float]]:
    """Texts with their number. Raises UserError naming the record that has none."""
    for number, record in enumerate(read_jsonl(path), 1):
        text, score = record.get("text"), record.get("score")
        if not isinstance(text, str) or isinstance(score, bool) or not isinstance(score, int | float):
            raise UserError(f"{path}: record {number}: no text or no score", 'write {"text": "…", "score": 3} a line')
        yield text, float(score)


def train(
    examples: Iterable[tuple[str, float]], *, probability: bool, seed: int = 0
) -> tuple[Scorer, dict[str, float]]:
    """A model of (text, label) pairs, and how it does on the tenth of them that it did not see.

    Labels are 0 and 1 where it is to give a probability (both then weigh the same, however many there are), any numbers
    otherwise. Features lie in a temporary file: memory is bounded but for a few bytes an example. The same examples in
    the same order and the same seed give the same model.
    """
    with tempfile.TemporaryFile() as file:
        sizes, labels = [], []
        with Progress("score", None, "texts") as bar:
            for text, label in examples:
                found = features(text)
                if len(found):
                    file.write(found.tobytes())
                    sizes.append(len(found))
                    labels.append(label)
                bar.advance()
        file.flush()
        target = np.array(labels, np.float64)
        if len(target) < 2 or target.min() == target.max():
            raise UserError("the examples do not differ in their label", "give texts of both kinds, or several scores")
        stored = np.memmap(file, np.uint32, "r")
        starts = np.concatenate(([0], np.cumsum(sizes)))

        def at(index: int) -> np.ndarray:
            return stored[starts[index] : starts[index + 1]]

        order = np.random.default_rng(seed).permutation(len(target))
        held, seen = order[::HELD_OUT], np.delete(order, slice(None, None, HELD_OUT))
        if len(seen) == 0 or target[seen].min() == target[seen].max():
            held, seen = order[:0], order
        scorer = descend(at, target, seen, probability, seed)
        scores = np.array([scorer.of(at(index)) for index in held])
    return scorer, {"texts": len(target), "held_out": len(held), **agreement(scores, target[held], probability)}


def descend(
    at: Callable[[int], np.ndarray], target: np.ndarray, seen: np.ndarray, probability: bool, seed: int
) -> Scorer:
    """AdaGrad over the examples, one at a time, on the logistic or the squared loss."""
    random = np.random.default_rng(seed + 1)
    low, high = float(target.min()), float(target.max())
    scale = 1.0 if probability else high - low
    weights, squares = np.zeros(1 << BITS, np.float32), np.full(1 << BITS, 1e-8, np.float32)
    bias = 0.0 if probability else float(target[seen].mean())
    positive = float((target[seen] == high).mean())
    with Progress("score", EPOCHS * len(seen), "steps") as bar:
        for epoch in range(EPOCHS):
            rate = RATE * scale * (1 - epoch / EPOCHS)
            for index in random.permutation(seen):
                found = at(index)
                raw = bias + float(weights[found].mean(dtype=np.float64))
                guess = 1 / (1 + np.exp(-raw)) if probability else raw
                weight = 0.5 / (positive if target[index] == high else 1 - positive) if probability else 1.0
                gradient = weight * (guess - target[index]) / scale
                unique, times = np.unique(found, return_counts=True)
                feature_gradient = (gradient * times / len(found)).astype(np.float32)
                squares[unique] += feature_gradient * feature_gradient
                weights[unique] -= (rate * feature_gradient / np.sqrt(squares[unique])).astype(np.float32)
                bar.advance()
    low, high = (0.0, 1.0) if probability else (low, high)
    return Scorer(weights, bias, low, high, probability)


def agreement(scores: np.ndarray, target: np.ndarray, probability: bool) -> dict[str, float]:
    """For probabilities the area under the ROC curve and the accuracy at 0.5; else correlation and mean error."""
    if len(target) < 2 or target.min() == target.max():
        return {}
    if not probability:
        together = float(np.corrcoef(scores, target)[0, 1]) if scores.std() else 0.0
        return {"correlation": round(together, 4), "mean_error": round(float(np.abs(scores - target).mean()), 4)}
    good, bad = scores[target == 1], scores[target == 0]
    above = np.searchsorted(np.sort(bad), good, "left") + np.searchsorted(np.sort(bad), good, "right")
    auc = above.mean() / (2 * len(bad))
    return {"auc": round(float(auc), 4), "accuracy": round(float(((scores > 0.5) == (target == 1)).mean()), 4)}
