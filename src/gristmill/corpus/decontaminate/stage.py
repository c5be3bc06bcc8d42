"""Stage `decontaminate`: → documents that hold no item of an evaluation set.

A document goes where it shares a run of `ngram` words with an item (13 words, Brown et al. 2020, arXiv:2005.14165, §C;
case and punctuation do not count). A shorter question says nothing when it is met alone, for people ask it anywhere;
with its answer right after it is a leak. So an item under `ngram` words counts only whole, question and answer in a
row, and where that is under `min_words` (8, as there) it is not looked for: the report counts such items. A run that
more than ten items of a set have in common is their template ("Choose the right answer …") and no evidence.

In scripts without spaces runs are compared character by character, and are as many characters long as make `ngram`
words there (text/words.py): 26 in Chinese.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gristmill.corpus.decontaminate.evaluation_sets import Item, read_items
from gristmill.corpus.execution.documents import map_documents
from gristmill.corpus.execution.judge import Dropped, Judge
from gristmill.corpus.text.ngrams import SortedHashes, ngram_hashes, word_hashes
from gristmill.corpus.text.words import characters_a_word, words
from gristmill.document import Document
from gristmill.errors import UserError
from gristmill.files import write_text
from gristmill.inputs.text_files import read_jsonl
from gristmill.manifest import WORK, Manifest
from gristmill.progress import warn
from gristmill.recipe import Decontaminate

RULE = "contaminated"
TEMPLATE = 10  # items of a set that may share a run
MOST_ITEMS = 20  # named in the drop log for one document
LISTED = 1_000  # items named in the report
SHOWN = 300  # characters of each
NO_HASHES = np.zeros(0, np.uint64)


class ItemIndex:
    """The runs of words that give items away: sorted hashes, the number of an item for each, and all lengths."""

    def __init__(self, hashes: np.ndarray, owners: np.ndarray, lengths: list[int]) -> None:
        self.known, self.owners, self.lengths = SortedHashes(hashes), owners, lengths

    def save(self, folder: Path) -> None:
        """Write it for the workers."""
        np.save(folder / "hashes.npy", self.known.hashes)
        np.save(folder / "owners.npy", self.owners)
        np.save(folder / "lengths.npy", np.array(self.lengths, np.int64))

    @classmethod
    def load(cls, folder: Path) -> ItemIndex:
        """Open it; the arrays are read where they are looked at."""
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("hashes", "owners", "lengths")]
        return cls(arrays[0], arrays[1], arrays[2].tolist())

    def find(self, text: str) -> list[tuple[int, int, int]]:
        """Item, first word and number of words of every run that the text shares with an item, by length."""
        found = []
        for length, runs in ngram_hashes(word_hashes(text), self.lengths):
            for place, at in zip(*self.known.find(runs), strict=True):
                found.append((int(self.owners[at]), int(place), length))
        return found


def build_index(params: Decontaminate) -> tuple[ItemIndex, list[Counter[str]]]:
    """The index of all sets, and for each set how many items it has, and how many are too short or cannot be read.

    Items are numbered from 0 through all sets. Takes 12 bytes of memory a word of the sets, twice that while building.
    """
    hashes, owners, lengths = [NO_HASHES], [np.zeros(0, np.uint32)], set[int]()
    counts: list[Counter[str]] = []
    number = 0
    for path in map(Path, params.sets):
        own, whose, counted = [NO_HASHES], [np.zeros(0, np.uint32)], Counter[str](items=0, too_short=0, unreadable=0)
        for item in read_items(path):
            if item.fault and not counted["unreadable"]:
                told = f"decontaminate: {path}: item {number - sum(c['items'] for c in counts) + 1}: {item.fault}"
                warn(f"{told}; it is not looked for")
            length, runs = runs_of(item, params)
            lengths.add(length)
            own.append(runs)
            whose.append(np.full(len(runs), number, np.uint32))
            counted.update(items=1, too_short=not len(runs) and not item.fault, unreadable=bool(item.fault))
            number += 1
        if counted["items"] == counted["unreadable"]:
            raise UserError(f"{path} holds no item", "one item a line or row, as JSONL, JSON, CSV, Parquet or text")
        every, first, times = np.unique(np.concatenate(own), return_index=True, return_counts=True)
        hashes.append(every[times <= TEMPLATE])
        owners.append(np.concatenate(whose)[first][times <= TEMPLATE])
        counts.append(counted)
    together, first = np.unique(np.concatenate(hashes), return_index=True)
    return ItemIndex(together, np.concatenate(owners)[first], sorted(lengths - {0})), counts


def runs_of(item: Item, params: Decontaminate) -> tuple[int, np.ndarray]:
    """The runs that give an item away, and their length in words or characters: those of its long parts, else all of it
    in a row.
    """
    texts = (*item.asked, *item.answer)
    parts = [word_hashes(text) for text in texts]
    whole = np.concatenate([NO_HASHES, *parts])
    each = characters_a_word("\n".join(texts), len(whole))
    ngram = round(params.ngram * each)
    long = [part for part in parts if len(part) >= ngram]
    length = min(ngram, len(whole))
    if not long and (length < params.min_words * each or item.unanswered):
        return 0, NO_HASHES
    runs = [hashes for part in long or [whole] for _, hashes in ngram_hashes(part, (length,))]
    return length, np.unique(np.concatenate(runs))


class ContaminationJudge(Judge):
    """Drops documents that hold an item."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.index = ItemIndex.load(folder)

    def __call__(self, document: Document) -> Document | Dropped:
        """The document; or the items that it holds, counted from 1 over all sets, and the first words that gave one
        away."""
        found = self.index.find(document.text)
        if not found:
            return document
        items = list(dict.fromkeys(item + 1 for item, _, _ in found))[:MOST_ITEMS]
        _, place, length = min(found, key=lambda run: run[1])
        shared = words(document.text)[place : place + length]
        return Dropped(RULE, {"items": " ".join(map(str, items)), "words": " ".join(shared)})


def run(inputs: Mapping[str, Path], params: Decontaminate, out: Path) -> Manifest:
    """Drop contaminated documents; `contamination.json` names the items that were met, and where.

    Raises UserError where no set is named or one cannot be read.
    """
    if not params.sets:
        raise UserError("decontaminate has no evaluation set", "name them: --set 'sets=[\"questions.jsonl\"]'")
    index, counts = build_index(params)
    (out / WORK).mkdir(exist_ok=True)
    index.save(out / WORK)
    made = map_documents("decontaminate", inputs["corpus"], ContaminationJudge, out / WORK, out)
    named = (record.get("items", "") for record in read_jsonl(out / "dropped.jsonl"))  # of a fault there is none
    met = Counter(int(item) - 1 for items in named for item in items.split())
    write_text(out / "contamination.json", report(params, counts, met))
    total = sum(counts, Counter[str]())
    made.counts |= {"items": total["items"], "items_too_short": total["too_short"], "items_met": len(met)}
    made.counts["items_unreadable"] = total["unreadable"]
    return made


def report(params: Decontaminate, counts: list[Counter[str]], met: Counter[int]) -> str:
    """JSON: for each set its items, those that could not be looked for, and those met, with their documents."""
    sets, first = [], 0
    for path, counted in zip(map(Path, params.sets), counts, strict=True):
        own = {item - first: met[item] for item in sorted(met) if first <= item < first + counted["items"]}
        listed = [
            {"item": number + 1, "documents": own[number], "text": " | ".join((*item.asked, *item.answer))[:SHOWN]}
            for number, item in enumerate(read_items(path) if own else ())
            if number in own
        ]
        sets.append({"set": path.name, **counted, "met": len(own), "items_met": listed[:LISTED]})
        first += counted["items"]
    return json.dumps({"ngram": params.ngram, "sets": sets}, indent=2, ensure_ascii=False) + "\n"
