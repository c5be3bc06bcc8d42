"""Mixing sources: how often a document is read an epoch, by where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow.compute as pc

from gristmill.errors import UserError
from gristmill.tokenizer.shards import Split

OTHERS = "(others)"


class Mixture:
    """Weights of documents. Weight 2 is read twice an epoch, 0.5 every other epoch, 0 never; 1 where nothing is said.

    `weights` maps patterns, as `*.wikipedia.org` or `notes/*`, to weights. A pattern is matched against a document's
    host and its source file; the first that fits counts.
    """

    def __init__(self, split: Split, weights: Mapping[str, float], seed: int) -> None:
        """Raises UserError where a pattern is the first that fits of no document, or where all weights are 0."""
        self.names, self.weights = [*weights, OTHERS], np.array([*weights.values(), 1.0])
        self.group = groups(split, list(weights))
        self.documents_of = np.bincount(self.group, minlength=len(self.names))
        self.tokens_of = np.bincount(self.group, np.diff(split.starts), len(self.names)).astype(np.int64)
        for name, count in zip(weights, self.documents_of, strict=False):
            if not count:
                known = [split.column(column).slice(0, 1).to_pylist()[0] for column in ("host", "source")]
                raise UserError(
                    f"mix: {name!r} fits no document that an earlier one leaves",
                    f"the first document's host and source are {known}",
                )
        if not (self.documents_of * self.weights).any():
            raise UserError("mix: every document has the weight 0", "give some a weight above 0")
        # where between two readings a document is: so that fractions are read evenly
        self.phase = np.random.default_rng([seed, 1]).random(len(split)) if weights else np.zeros(len(split))

    def documents(self, epoch: int) -> np.ndarray:
        """The numbers of the documents of an epoch, int64, repeated as often as they are read."""
        weight = self.weights[self.group]
        copies = np.floor((epoch + 1) * weight + self.phase) - np.floor(epoch * weight + self.phase)
        return np.repeat(np.arange(len(copies)), copies.astype(np.int64))

    @property
    def tokens(self) -> int:
        """How many are read an epoch."""
        return round(float(self.tokens_of @ self.weights))

    def table(self, passes: float) -> list[dict[str, Any]]:
        """By source: its documents and tokens, its share of what is read, how often it was read after so many passes,
        and how many of the tokens read then had been read before."""
        read = self.tokens_of * self.weights
        return [
            {
                "source": name,
                "documents": int(self.documents_of[i]),
                "tokens": int(self.tokens_of[i]),
                "weight": float(self.weights[i]),
                "share": round(float(read[i] / read.sum()), 4),
                "epochs": round(float(self.weights[i] * passes), 3),
                "tokens_repeated": round(self.tokens_of[i] * max(0.0, self.weights[i] * passes - 1)),
            }
            for i, name in enumerate(self.names)
            if self.documents_of[i]
        ]


def groups(split: Split, patterns: list[str]) -> np.ndarray:
    """The number of the first pattern that fits each document; their count where none does."""
    found = np.full(len(split), len(patterns))
    if not patterns:
        return found
    hosts, sources = split.column("host"), pc.replace_substring_regex(split.column("source"), r":\d+$", "")
    for column in (hosts, sources):
        names = column.combine_chunks().dictionary_encode()
        fits = [
            next((i for i, pattern in enumerate(patterns) if fnmatchcase(name or "", pattern)), len(patterns))
            for name in names.dictionary.to_pylist()
        ]
        found = np.minimum(found, np.array(fits)[names.indices.to_numpy()])
    return found
