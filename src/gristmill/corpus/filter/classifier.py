"""Learned scores: linear models on hashed words and pairs of words, trained by plain gradient descent.

From good and bad examples (as DCLM chose its pages, arXiv:2406.11794 §4.2, there with fastText) a model gives the
probability that a text is of the good kind; from texts with a number each (as FineWeb-Edu's pages that an LLM graded,
arXiv:2406.17557 §4) it gives the number. Quality, safety, topic: what a score means is what its examples say.

score = squash(bias + mean of the weights of the text's features), so that long and short texts compare.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gristmill.corpus.extract.stage import extract_record
from gristmill.corpus.filter.candidate import Candidate, Rule
from gristmill.corpus.readers.warc_ranges import read_records
from gristmill.corpus.text.ngrams import ngram_hashes, word_hashes
from gristmill.document import Document
from gristmill.errors import UserError
from gristmill.files import read_jsonl
from gristmill.manifest import atomic_path
from gristmill.progress import Progress

BITS = 20  # 2**20 weights, 4 MiB
WORDS = 2_000  # of a text that are looked at: the cost of a score is bounded
CHARACTERS = 20_000
EPOCHS = 5
RATE = 5.0  # AdaGrad's step (Duchi et al. 2011); a feature moves the mean by a fraction of it
HELD_OUT = 10  # every tenth example is kept for measuring


def features(text: str) -> np.ndarray:
    """Buckets of a text's first words and pairs of words, uint32."""
    words = word_hashes(text[:CHARACTERS])[:WORDS]
    hashes = np.concatenate([found for _, found in ngram_hashes(words, (1, 2))])
    return (hashes >> np.uint64(64 - BITS)).astype(np.uint32)


@dataclass
class Scorer:
    """A trained model."""

    weights: np.ndarray  # float32 [2**BITS]
    bias: float
    low: float  # range of its scores; for probabilities 0 and 1
    high: float
    probability: bool

    def __call__(self, text: str) -> float:
        """The text's score."""
        return round(self.of(features(text)), 4)

    def of(self, found: np.ndarray) -> float:
        """The score of a text with these features."""
        raw = self.bias + (float(self.weights[found].mean(dtype=np.float64)) if len(found) else 0.0)
        return float(1 / (1 + np.exp(-raw))) if self.probability else min(self.high, max(self.low, raw))

    def save(self, path: Path) -> None:
        """Write one safetensors file; what the weights are of stands in its metadata."""
        facts = {"bits": BITS, "bias": self.bias, "low": self.low, "high": self.high, "probability": self.probability}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file({"weights": self.weights}, temporary, {"gristmill_score": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> Scorer:
        """Raises UserError where the file is no such model."""
        try:
            with safe_open(path, "numpy") as file:
                facts = json.loads((file.metadata() or {})["gristmill_score"])
                weights = file.get_tensor("weights")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise UserError(f"{path} holds no score: {error}", "make one with `gristmill corpus score`") from error
        if facts.pop("bits", None) != BITS or weights.shape != (1 << BITS,):
            raise UserError(f"{path} was made by another version", "make it again with `gristmill corpus score`")
        return cls(weights, **facts)


def score_rule(name: str, path: str, least: float | None, most: float | None) -> Rule:
    """Write a model's score into the `quality` column; the document fails below `least` or above `most`."""
    scorer = Scorer.load(Path(path))

    def rule(candidate: Candidate) -> str | None:
        score = scorer(candidate.text)
        candidate.document.quality[name] = score
        if least is not None and score < least:
            return f"{name}_low"
        return f"{name}_high" if most is not None and score > most else None

    return rule


def learn(good: Sequence[Path], bad: Sequence[Path], labels: Path | None, out: Path, seed: int) -> dict[str, float]:
    """Train on files and write the model; returns how it does. Raises UserError for examples that do not serve."""
    if bool(good and bad) == bool(labels) or bool(good) != bool(bad):
        raise UserError("give good and bad texts, or labels", "--good FILES --bad FILES, or --labels FILE.jsonl")
    examples = (
        graded(labels) if labels else chain(((text, 1.0) for text in texts(good)), ((t, 0.0) for t in texts(bad)))
    )
    scorer, found = train(examples, probability=not labels, seed=seed)
    scorer.save(out)
    return found


def texts(paths: Sequence[Path]) -> Iterator[str]:
    """The texts of whatever `extract` reads; what it would drop is passed over."""
    for record in read_records(paths):
        found = extract_record(record)
        if isinstance(found, Document):
            yield found.text


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
                slope = (gradient * times / len(found)).astype(np.float32)
                squares[unique] += slope * slope
                weights[unique] -= (rate * slope / np.sqrt(squares[unique])).astype(np.float32)
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
