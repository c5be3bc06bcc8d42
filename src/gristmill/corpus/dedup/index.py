"""The documents that were kept, on disk, found again by URL, text or similarity: memory does not grow with them.

New documents are decided in blocks, in order. A block is looked up in the older ones, kept as sorted runs of keys, and
then in itself, in a hash table; its kept documents become a run. Two runs of like size are merged into one, so there
are few, and at the end there is one. A corpus's index stays next to it; a later corpus is looked up in it first.

The first document stays. One is a copy of an earlier kept one where the URL is the same (`url_copy`), the words are
the same (`exact_copy`), or a band of the MinHash signature is the same and so is a share of its positions no smaller
than the bands' own threshold (`near_copy`); the strongest rule counts, then the earliest original. Where a block begins
makes no difference.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill import native
from gristmill.corpus.dedup.minhash import MinHash
from gristmill.errors import FAULT, UserError
from gristmill.files import write_json
from gristmill.native import INT, SIZE, U8, U16, U32, U64

RULES = ("", "url_copy", "exact_copy", "near_copy", FAULT)  # as numbered in index.c, which has no use for the last
BLOCK = 1 << 18  # documents decided at once: 0.2 GB
DESCRIPTION = "index.json"
FORMAT = 1
PRINTS = (U64, U64, U16, SIZE, SIZE, SIZE, SIZE)  # keys, checks and signatures of a block, and their sizes
VERDICTS = (U8, U32, U16)  # rules, originals and similarities that come out
FIND = native.Function("gm_find", None, *PRINTS, U64, U32, SIZE, U64, U16, ctypes.c_uint16, *VERDICTS)
SETTLE = native.Function("gm_settle", INT, *PRINTS, ctypes.c_uint32, ctypes.c_uint16, *VERDICTS)
MERGE = native.Function("gm_merge", None, U64, U32, SIZE, U64, U32, SIZE, U64, U32)


@dataclass(frozen=True)
class Prints:
    """What dedup knows of documents, in their order."""

    keys: np.ndarray  # uint64 [n, 2 + bands]: of the URL (0: none), the text and each band
    checks: np.ndarray  # uint64 [n, 2]: the other halves of the URL's and the text's digests
    signatures: np.ndarray  # uint16 [n, bands · rows]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: Any) -> Prints:
        return Prints(self.keys[rows], self.checks[rows], self.signatures[rows])

    @classmethod
    def joined(cls, parts: Sequence[Prints]) -> Prints:
        """Several, one after the other."""
        return (
            parts[0]
            if len(parts) == 1
            else cls(*map(np.concatenate, zip(*(part.arrays for part in parts), strict=True)))
        )

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three arrays."""
        return self.keys, self.checks, self.signatures

    def save(self, stem: Path) -> None:
        """Write the arrays to files that begin with `stem`."""
        for name, array in zip(("keys", "checks", "signatures"), self.arrays, strict=True):
            np.save(f"{stem}-{name}.npy", array)

    @classmethod
    def load(cls, stem: Path) -> Prints:
        """Map what `save` wrote."""
        return cls(*(np.load(f"{stem}-{name}.npy", mmap_mode="r") for name in ("keys", "checks", "signatures")))


@dataclass(frozen=True)
class Verdicts:
    """What became of a block's documents."""

    rules: np.ndarray  # uint8 [n]: number of the rule; 0: kept
    originals: np.ndarray  # uint32 [n]: number, in its index, of the document copied; of a kept one its own
    sources: np.ndarray  # uint16 [n]: which index: those of older corpora in order, then this one


@dataclass(frozen=True)
class Run:
    """Sorted keys of some documents, in files."""

    stem: Path
    size: int

    @property
    def files(self) -> tuple[Path, Path]:
        """Of the keys, and of the numbers."""
        return Path(f"{self.stem}-keys.npy"), Path(f"{self.stem}-numbers.npy")

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys, uint64 [columns, size]; and whose each is, uint32 [columns, size]."""
        keys, numbers = (np.load(file, mmap_mode="r") for file in self.files)
        return keys, numbers


class Index:
    """A finished index, opened to be looked up in."""

    def __init__(self, folder: Path, minhash: MinHash) -> None:
        """Raises UserError where `folder` holds none, or one of another MinHash."""
        try:
            about = json.loads((folder / DESCRIPTION).read_text())
            known = MinHash(**about["minhash"]) if about["format"] == FORMAT else None
            self.run = Run(folder / "run", about["documents"])
            self.records = Records(folder, minhash)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"no dedup index in {folder}", "name the folder of a finished dedup stage") from error
        if known != minhash:
            raise UserError(
                f"{folder} was made with {known or 'another format'}", f"use the same settings as {minhash}"
            )


class Records:
    """Checks and signatures of the documents of an index by number: flat files, mapped where they are read."""

    def __init__(self, folder: Path, minhash: MinHash) -> None:
        self.paths = folder / "checks.bin", folder / "signatures.bin"
        self.widths = 2, minhash.bands * minhash.rows

    def append(self, checks: np.ndarray, signatures: np.ndarray) -> None:
        """Add documents."""
        for path, array in zip(self.paths, (checks, signatures), strict=True):
            with path.open("ab") as file:
                array.tofile(file)

    def mapped(self) -> tuple[np.ndarray, np.ndarray]:
        """uint64 [n, 2] and uint16 [n, bands · rows]."""
        kinds = zip(self.paths, (np.uint64, np.uint16), self.widths, strict=True)
        checks, signatures = (
            np.memmap(path, dtype=kind, mode="r").reshape(-1, width)
            if path.stat().st_size
            else np.empty((0, width), kind)
            for path, kind, width in kinds
        )
        return checks, signatures


class IndexWriter:
    """An index in the making. `older` are looked up first. Without `near`, only what is the same is a copy."""

    def __init__(self, folder: Path, minhash: MinHash, older: Sequence[Index] = (), *, near: bool = True) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder, self.minhash, self.older = folder, minhash, older
        self.columns = minhash.bands + 2
        positions = minhash.bands * minhash.rows
        self.least = math.ceil(minhash.threshold * positions) if near else positions + 1  # more than can agree
        self.records = Records(folder, minhash)
        for path in self.records.paths:
            path.touch()
        self.runs: list[Run] = []
        self.made = self.documents = 0
        self.ids = pa.ipc.new_file(str(folder / "ids.arrow"), pa.schema([("id", pa.large_string())]))

    def decide(self, prints: Prints, ids: pa.Array) -> Verdicts:
        """Decide on a block of documents, in order, and keep those that are no copies."""
        n, sizes = len(prints), (self.columns, prints.signatures.shape[1], self.least)
        arrays = tuple(np.ascontiguousarray(array) for array in prints.arrays)
        verdicts = Verdicts(np.zeros(n, np.uint8), np.zeros(n, np.uint32), np.zeros(n, np.uint16))
        out = verdicts.rules, verdicts.originals, verdicts.sources
        own = self.records.mapped()
        runs = [(index.run, *index.records.mapped(), number) for number, index in enumerate(self.older)]
        runs += [(run, *own, len(self.older)) for run in self.runs]
        for run, checks, signatures, source in runs:
            FIND(*arrays, n, *sizes, *run.arrays(), run.size, checks, signatures, source, *out)
        if not SETTLE(*arrays, n, *sizes, self.documents, len(self.older), *out):
            raise MemoryError
        kept = np.flatnonzero(verdicts.rules == 0)
        self.records.append(arrays[1][kept], arrays[2][kept])
        self.ids.write_batch(pa.record_batch([ids.take(pa.array(kept))], names=["id"]))
        self.add_run(arrays[0][kept])
        self.documents += len(kept)
        return verdicts

    def add_run(self, keys: np.ndarray) -> None:
        """Sort the keys of newly kept documents, and merge runs until each is larger than half the one before."""
        if not len(keys):  # nothing cannot be mapped
            return
        run, columns, numbers = self.new_run(len(keys))
        for column in range(self.columns):
            order = np.argsort(keys[:, column], kind="stable")
            columns[column], numbers[column] = keys[order, column], order + self.documents
        self.runs.append(run)
        while len(self.runs) > 1 and 2 * self.runs[-1].size > self.runs[-2].size:
            self.merge()

    def new_run(self, size: int) -> tuple[Run, np.ndarray, np.ndarray]:
        """A run of its own name, and the files of its keys and numbers, mapped."""
        self.made += 1
        run = Run(self.folder / f"run-{self.made}", size)
        keys, numbers = run.files
        return run, new_array(keys, U64, (self.columns, size)), new_array(numbers, U32, (self.columns, size))

    def merge(self) -> None:
        """Make the last two runs one."""
        one, two = self.runs[-2:]
        merged, keys, numbers = self.new_run(one.size + two.size)
        sources = *one.arrays(), *two.arrays()
        for column in range(self.columns):
            keys_one, numbers_one, keys_two, numbers_two = (array[column] for array in sources)
            MERGE(keys_one, numbers_one, one.size, keys_two, numbers_two, two.size, keys[column], numbers[column])
        self.runs[-2:] = [merged]
        for file in (*one.files, *two.files):
            file.unlink()

    def close(self) -> None:
        """Make all runs one and finish the files."""
        self.ids.close()
        while len(self.runs) > 1:
            self.merge()
        for place, kind in zip(Run(self.folder / "run", 0).files, (U64, U32), strict=True):
            np.save(place, np.empty((self.columns, 0), kind))  # where no document came
        for run in self.runs:
            for file, place in zip(run.files, Run(self.folder / "run", 0).files, strict=True):
                file.rename(place)
        about = {"format": FORMAT, "minhash": asdict(self.minhash), "documents": self.documents}
        write_json(self.folder / DESCRIPTION, about)


def read_ids(folder: Path) -> pa.ChunkedArray:
    """Ids of an index's documents by number, mapped from the file."""
    return pa.ipc.open_file(pa.memory_map(str(folder / "ids.arrow"))).read_all().column("id")


def new_array(path: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap:
    """An array in a new file, mapped. Raises OSError where the disk has no space for it: written to without that, the
    process would be ended by a signal (mmap(2), SIGBUS)."""
    array = np.lib.format.open_memmap(path, "w+", kind, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
