"""Learned scores: linear models on hashed words and pairs of words; `train_classifier.py` trains them.

From good and bad examples (as DCLM chose its pages, arXiv:2406.11794 §4.2, there with fastText) a model gives the
probability that a text is of the good kind; from texts with a number each (as FineWeb-Edu's pages that an LLM graded,
arXiv:2406.17557 §4) it gives the number. Quality, safety, topic: what a score means is what its examples say.

score = squash(bias + mean of the weights of the text's features), so that long and short texts compare.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gristmill.corpus.filter.candidate import Candidate, Rule
from gristmill.corpus.text.ngrams import ngram_hashes, word_hashes
from gristmill.errors import UserError
from gristmill.files import atomic_path

BITS = 20  # 2**20 weights, 4 MiB
WORDS = 2_000  # of a text that are looked at: the cost of a score is bounded
CHARACTERS = 20_000


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
        """Write one safetensors file; its metadata says what the weights are of."""
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
