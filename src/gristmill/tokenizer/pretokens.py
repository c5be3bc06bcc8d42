"""Counting the pieces ("words") of a corpus, in bounded memory and on several threads."""

from __future__ import annotations

import ctypes
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pyarrow as pa

from gristmill import native
from gristmill.native import I64, INT, POINTER, SIZE, U8, U64, Owned, utf8
from gristmill.processes import in_order
from gristmill.tokenizer.patterns import INDEX, classes

NEW = native.Function("gm_words_new", POINTER)
FREE = native.Function("gm_words_free", None, POINTER)
COUNT = native.Function("gm_words_count", ctypes.c_bool, POINTER, U8, INT, U8, I64, SIZE)
ADD = native.Function("gm_words_add", ctypes.c_bool, POINTER, U8, I64, U64, SIZE)
SIZES = native.Function("gm_words_size", None, POINTER, U64)
LIST = native.Function("gm_words_list", SIZE, POINTER, SIZE, SIZE, U8, I64, U64)
TABLE_BYTES = 192 << 20  # a table that takes more memory than this goes to disk
PARTS = 64  # of the words on disk, by hash: one part at a time is added up in memory
BUDGET = 1 << 30  # bytes that learning merges may take for words: beyond it the rarest are left out
COMMON = 1 << 16  # words with this count or more are never left out


@dataclass(frozen=True)
class PretokenList:
    """Distinct words and how often each occurs; word i is `data[offsets[i]:offsets[i + 1]]`."""

    data: np.ndarray  # uint8
    offsets: np.ndarray  # int64 [words + 1]
    counts: np.ndarray  # uint64 [words]

    def __len__(self) -> int:
        return len(self.counts)

    def cost(self) -> np.ndarray:
        """About the bytes of memory that learning merges takes for each word, int64 [words]."""
        return 12 * np.diff(self.offsets) + 32

    def head(self, words: int) -> PretokenList:
        """The first words."""
        return PretokenList(self.data[: self.offsets[words]], self.offsets[: words + 1], self.counts[:words])

    @classmethod
    def join(cls, lists: list[PretokenList]) -> PretokenList:
        """One list after the other."""
        lengths = np.concatenate([np.diff(words.offsets) for words in lists])
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))
        data, counts = (np.concatenate([getattr(words, name) for words in lists]) for name in ("data", "counts"))
        return cls(data, offsets, counts)


class PretokenTable(Owned):
    """A native hash table of words and counts. One thread at a time."""

    def __init__(self) -> None:
        super().__init__(NEW(), FREE)

    def count(self, texts: pa.Array, pattern: str) -> None:
        """Count the pieces of texts."""
        data, offsets = utf8(texts)
        if not COUNT(self.handle, classes(), INDEX[pattern], data, offsets, len(offsets) - 1):
            raise MemoryError

    def add(self, words: PretokenList) -> None:
        """Add words with their counts."""
        if not ADD(self.handle, words.data, words.offsets, words.counts, len(words)):
            raise MemoryError

    def sizes(self) -> tuple[int, int, int]:
        """Distinct words, their bytes, and the bytes of memory that the table takes."""
        found = np.zeros(3, np.uint64)
        SIZES(self.handle, found)
        words, data, memory = found.tolist()
        return words, data, memory

    def words(self, part: int = 0, parts: int = 1) -> PretokenList:
        """The words whose hash is `part` of `parts`, by descending count: equal ones, and those with
        COMMON or more, in an order of their own in every process.
        """
        words, size, _ = self.sizes()
        data, offsets, counts = np.empty(size, np.uint8), np.empty(words + 1, np.int64), np.empty(words, np.uint64)
        found = LIST(self.handle, part, parts, data, offsets, counts)
        if found > words:
            raise MemoryError
        return PretokenList(data, offsets, counts).head(found)


class Spill:
    """Words on disk, in parts by hash. What comes back does not depend on what was written when."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    @property
    def used(self) -> bool:
        """Whether anything was written."""
        return self.folder.exists()

    def write(self, table: PretokenTable) -> None:
        """Append a table's words to the parts."""
        self.folder.mkdir(exist_ok=True)
        for part in range(PARTS):
            self.append(f"{part}.words", table.words(part, PARTS))

    def append(self, name: str, words: PretokenList) -> None:
        """Append one list to a file."""
        with (self.folder / name).open("ab") as file:
            for array in (words.data, words.offsets, words.counts):
                np.save(file, array)

    def read(self, name: str) -> Iterator[PretokenList]:
        """The lists of a file."""
        with (self.folder / name).open("rb") as file:
            while file.peek(1):
                yield PretokenList(*(np.load(file) for _ in range(3)))

    def add_up(self) -> None:
        """Add up the words of each part."""
        for part in range(PARTS):
            table = PretokenTable()
            for words in self.read(f"{part}.words"):
                table.add(words)
            self.append(f"{part}.total", table.words())
            (self.folder / f"{part}.words").unlink()

    def __iter__(self) -> Iterator[PretokenList]:
        """The totals, a part at a time."""
        for part in range(PARTS):
            yield from self.read(f"{part}.total")


@dataclass(frozen=True)
class Counted:
    """The words of a corpus, and what was left out of them."""

    words: PretokenList
    distinct: int
    occurrences: int
    rare: int  # distinct words left out, each rarer than any that stayed
    rare_occurrences: int


def count_pretokens(
    batches: Iterable[pa.Array],
    pattern: str,
    folder: Path,
    workers: int,
    *,
    table_bytes: int = TABLE_BYTES,
    budget: int = BUDGET,
) -> Counted:
    """Count the pieces of all texts. The result depends neither on `workers` nor on the order of the texts.

    Memory while counting: about 1.5 × `table_bytes` a worker; what is more goes to disk, to `folder`/spill, and is
    added up part by part. Counts are exact. Where learning from all words would take more memory than `budget`, those
    with the lowest counts are left out (all words of a count or none).
    """
    idle: SimpleQueue[PretokenTable] = SimpleQueue()
    for _ in range(workers):
        idle.put(PretokenTable())
    spill, lock = Spill(folder / "spill"), threading.Lock()

    def count(texts: pa.Array) -> None:
        table = idle.get()
        try:
            table.count(texts, pattern)
            if table.sizes()[2] > table_bytes:
                with lock:
                    spill.write(table)
                table = PretokenTable()
        finally:
            idle.put(table)  # also where the disk is full: who waits for it would wait without end

    for _ in in_order(count, batches, workers):
        pass
    first, *others = (idle.get() for _ in range(workers))
    if not spill.used:
        while others:
            first.add(others.pop().words())
        return within_budget([first.words()], budget)
    while others:
        spill.write(others.pop())
    spill.write(first)
    del first
    spill.add_up()
    counted = within_budget(spill, budget)
    shutil.rmtree(spill.folder)
    return counted


def within_budget(lists: Iterable[PretokenList], budget: int) -> Counted:
    """All words of the lists (each the commonest first) whose counts are high enough for the budget."""
    cost = np.zeros(COMMON + 1)
    distinct = occurrences = 0
    for words in lists:
        cost += np.bincount(np.minimum(words.counts, COMMON).astype(np.int64), words.cost(), COMMON + 1)
        distinct, occurrences = distinct + len(words), occurrences + int(words.counts.sum())
    at_least = np.cumsum(cost[::-1])[::-1]  # cost of all words with that count or more
    least = min(COMMON, int((at_least > budget).sum()))  # the smallest count that fits
    kept = PretokenList.join([words.head(int((words.counts >= least).sum())) for words in lists])
    return Counted(kept, distinct, occurrences, distinct - len(kept), occurrences - int(kept.counts.sum()))
