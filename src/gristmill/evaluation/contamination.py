"""Which items of a task stand in what the model was trained on: text, conversations, pairs and prompts.

By the two usual definitions: an item shares a run of 13 words with a document (Brown et al. 2020, arXiv:2005.14165,
§C); or at least half of its words lie in runs of 8 that documents hold (Lambert et al. 2024, arXiv:2411.15124, there
tokens). Case and punctuation do not count. An item with fewer words than a run cannot be found by that definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from gristmill.chat.conversations import records_of
from gristmill.corpus.decontaminate.evaluation_sets import strings
from gristmill.corpus.text.ngrams import SortedHashes, ngram_hashes, word_hashes
from gristmill.progress import Progress, watched
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split

RUN, SHORT_RUN = 13, 8  # words
HALF = 0.5
NAMES = {"role", "from", "id"}  # fields of a record that no one says


# by definition whether each of some items is too `short` to be found, and whether it was `met`
Met = Mapping[str, Mapping[str, Sequence[bool]]]


@dataclass(frozen=True)
class Rule:
    """A definition of contamination."""

    name: str
    length: int  # words of a run
    share: float  # of an item's words that must lie in runs that were met; 0: one run is enough


RULES = (Rule("13_gram", RUN, 0.0), Rule("8_gram_half", SHORT_RUN, HALF))


@dataclass(frozen=True)
class TrainedOn:
    """All that a model was trained on."""

    split: Split | None  # the documents
    files: Sequence[Path]  # of fine-tuning
    tokenizer: Tokenizer

    def __bool__(self) -> bool:
        return self.split is not None or bool(self.files)

    def __iter__(self) -> Iterator[str]:
        """The text of each document, and all that each record of the files says, its held-out ones too."""
        if self.split is not None:
            with Progress("evaluate: looking for items in the training text", len(self.split), "documents") as bar:
                for number in range(len(self.split)):
                    yield self.tokenizer.decode(self.split.document(number).tolist())
                    bar.advance(1)
        for path in self.files:
            task = f"evaluate: looking for items in {path.name}"
            for _, _, record in watched(records_of(path), task, "records"):
                yield " ".join(strings(record, NAMES))


class Runs:
    """All runs of one length in some items, and which of them have been met."""

    def __init__(self, items: Sequence[np.ndarray], length: int) -> None:
        self.each = [runs for item in items for _, runs in ngram_hashes(item, (length,))]
        self.known = SortedHashes(np.unique(np.concatenate([np.zeros(0, np.uint64), *self.each])))
        self.met = np.zeros(len(self.known.hashes), bool)

    def look(self, runs: np.ndarray) -> None:
        """Mark those that are among a document's runs."""
        self.met[self.known.find(runs)[1]] = True

    def where(self, number: int) -> np.ndarray:
        """Which runs of an item were met, bool."""
        return self.met[np.searchsorted(self.known.hashes, self.each[number])]


def contamination(texts: Sequence[str], trained: TrainedOn) -> Met:
    """What each definition says of items, after one pass over all that was trained on. Memory: some 50 bytes a word of
    the items."""
    items = [word_hashes(text) for text in texts]
    runs = {rule.length: Runs(items, rule.length) for rule in RULES}
    for text in trained:
        for length, found in ngram_hashes(word_hashes(text), tuple(runs)):
            runs[length].look(found)
    return {
        rule.name: {
            "short": [len(item) < rule.length for item in items],
            "met": [holds(rule, runs[rule.length].where(number), len(item)) for number, item in enumerate(items)],
        }
        for rule in RULES
    }


def told(groups: Sequence[Sequence[str]], trained: TrainedOn) -> list[Met]:
    """The same of several groups of items, which one pass looks for."""
    found = contamination([text for texts in groups for text in texts], trained)
    ends = [*accumulate(map(len, groups), initial=0)]
    return [
        {rule: {name: of_all[first:last] for name, of_all in one.items()} for rule, one in found.items()}
        for first, last in pairwise(ends)
    ]


def holds(rule: Rule, met: np.ndarray, words: int) -> bool:
    """Whether an item is contaminated, by which of its runs were met."""
    if not rule.share:
        return bool(met.any())
    covered = np.zeros(words, bool)
    for start in np.flatnonzero(met):
        covered[start : start + rule.length] = True
    return bool(met.any()) and bool(covered.sum() >= rule.share * words)
