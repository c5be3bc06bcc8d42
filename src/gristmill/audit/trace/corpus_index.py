"""Stage `index`: training tokens → tables that find any run of them, in the layout of infini-gram.

`tokenized.N` holds documents, each after a separator of all ones; `table.N` every place of it, sorted by what follows,
as little-endian pointers; `offset.N` where each document begins (Liu et al. 2024, arXiv:2401.17377 §3; its package's
`indexing.py`). The order is that of bytes, and so infini-gram's own engine opens the folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.audit.trace.forms import JOINED, Form, Pieces
from gristmill.audit.trace.suffix_array import SuffixArray, suffix_table
from gristmill.errors import UserError
from gristmill.files import atomic_path
from gristmill.manifest import Manifest
from gristmill.progress import Progress
from gristmill.settings.apart import Index
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import Split, description, index_path, open_split

ROWS = 1 << 20  # pointers written at once


def run(inputs: Mapping[str, Path], params: Index, out: Path) -> Manifest:
    """Index the training split; tables that an interrupted run has finished are not made again."""
    split = open_split(inputs["tokens"], "train")
    counts = {"documents": len(split), "tokens": 0, "tables": 0}
    with Progress("index", len(split.tokens), "tokens") as bar:
        for number, (first, last) in enumerate(portions(split.starts, params.table_tokens)):
            tokens, begins = separated(split, first, last)
            if not (out / f"table.{number}").exists():
                write_array(out / f"tokenized.{number}", tokens)
                write_array(out / f"offset.{number}", (begins * tokens.itemsize).astype("<u8"))
                write_table(out / f"table.{number}", suffix_table(sort_numbers(tokens)), tokens.itemsize)
            bar.advance(int(split.starts[last] - split.starts[first]))
            counts["tokens"] += len(tokens)
            counts["tables"] += 1
    return Manifest(counts=counts)


def portions(starts: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Runs of documents, first and end, of at most so many tokens or one document each."""
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + most, side="right")) - 1)
        yield first, last
        first = last


def separated(split: Split, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of some documents, a separator before each in place of the end token after it, and where each begins.

    Raises UserError where a document is longer than a table may be.
    """
    low, high = int(split.starts[first]), int(split.starts[last])
    if high - low >= 1 << 31:
        raise UserError(f"a document of {high - low:,} tokens is too long for a table", "cut it, and tokenize again")
    begins = split.starts[first:last] - low
    tokens = np.empty(high - low, split.tokens[low:low].dtype)
    tokens[1:] = split.tokens[low : high - 1]
    tokens[begins] = np.iinfo(tokens.dtype).max
    return tokens, begins


def sort_numbers(tokens: np.ndarray) -> np.ndarray:
    """For each token its place among all tokens in the order of their bytes, uint32; the separator is the last."""
    separator = tokens == np.iinfo(tokens.dtype).max
    ids = np.arange(int(tokens[~separator].max(initial=0)) + 1, dtype=tokens.dtype)
    place = np.empty(len(ids), np.uint32)
    place[np.argsort(ids.byteswap(), kind="stable")] = np.arange(len(ids), dtype=np.uint32)
    numbers = place[np.where(separator, 0, tokens)]
    numbers[separator] = len(ids)
    return numbers


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array's bytes."""
    with atomic_path(path) as temporary:
        array.tofile(temporary)


def write_table(path: Path, table: np.ndarray, itemsize: int) -> None:
    """Write places as pointers of as many bytes as the text's size needs."""
    width = pointer_bytes(len(table) * itemsize)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for at in range(0, len(table), ROWS):
            wide = (table[at : at + ROWS].astype("<i8") * itemsize).view(np.uint8).reshape(-1, 8)
            file.write(wide[:, :width].tobytes())


def pointer_bytes(size: int) -> int:
    """Bytes of a pointer into a text of so many."""
    return max(1, math.ceil(math.log2(max(2, size)) / 8))


@dataclass(frozen=True)
class Place:
    """Where something stands in the training text."""

    table: int
    document: int  # its number in the split
    token: int  # place in the table's text, in tokens


class CorpusIndex:
    """The tables of an index stage's folder, mapped; and the split that it was made of."""

    def __init__(self, folder: Path, tokens: Path) -> None:
        """Open one. Raises UserError where there is none."""
        self.folder, self.tokens = folder, tokens
        self.pieces: Pieces | None = None
        self.word_edges: tuple[np.ndarray, np.ndarray] | None = None
        self.dtype = np.dtype(description(tokens)["dtype"])
        self.arrays: list[SuffixArray] = []
        self.offsets: list[np.ndarray] = []
        for number in range(len(list(folder.glob("table.*")))):
            text = np.memmap(folder / f"tokenized.{number}", np.uint8, mode="r")
            width = pointer_bytes(len(text))
            self.arrays.append(SuffixArray(text, np.memmap(folder / f"table.{number}", np.uint8, mode="r"), width))
            self.offsets.append(np.memmap(folder / f"offset.{number}", "<u8", mode="r"))
        if not self.arrays:
            raise UserError(f"{folder} holds no index", "gristmill trace RUN makes it")
        self.firsts = np.cumsum([0, *map(len, self.offsets)])

    @cached_property
    def documents(self) -> pa.Table:
        """Id and URL of each document, read once."""
        columns = ["id", "url"]
        return pq.read_table(index_path(self.tokens, "train"), columns=columns, page_checksum_verification=True)

    @cached_property
    def total(self) -> int:
        """Tokens that are indexed, separators included."""
        return int(sum(len(array.text) for array in self.arrays) // self.dtype.itemsize)

    def pattern(self, tokens: list[int]) -> bytes:
        """The bytes by which tokens are looked up."""
        return np.asarray(tokens, self.dtype).tobytes()

    def count(self, tokens: list[int]) -> int:
        """How often tokens stand in a row in the training text."""
        pattern = self.pattern(tokens)
        return sum(len(array.find(pattern)) for array in self.arrays)

    def forms(self, text: str, tokenizer: Tokenizer) -> Iterator[Form]:
        """The forms in which a text stands in the training text; it may be part of a longer word in some places."""
        if self.pieces is None:
            self.pieces = Pieces([tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)])
        yield from self.pieces.forms(text, self.stands)

    def stands(self, tokens: tuple[int, ...]) -> bool:
        """Whether tokens stand in a row anywhere in the training text."""
        pattern = self.pattern([*tokens])
        return any(len(array.find(pattern)) for array in self.arrays)

    def holds(self, text: str, tokenizer: Tokenizer) -> bool:
        """Whether the training text has a text, as whole words."""
        tables = range(len(self.arrays))
        forms = self.forms(text, tokenizer)
        return any(len(self.whole_words(number, form, tokenizer)) for form in forms for number in tables)

    def count_words(self, forms: Iterable[Form], tokenizer: Tokenizer) -> int:
        """How often a text stands there in some forms as whole words, and not as parts of longer ones."""
        tables = range(len(self.arrays))
        return sum(len(self.whole_words(number, form, tokenizer)) for form in forms for number in tables)

    def whole_words(self, table: int, form: Form, tokenizer: Tokenizer) -> np.ndarray:
        """The places in a table's text, in tokens and in order, where a form stands as whole words."""
        tokens = form.tokens
        array, (begins, ends) = self.arrays[table], self.edges(tokenizer)
        text, places = array.text.view(self.dtype), array.find(self.pattern([*tokens]))
        kept = [np.empty(0, np.int64)]
        for at in range(places.start, places.stop, ROWS):
            found = array.pointers(range(at, min(at + ROWS, places.stop))) // self.dtype.itemsize
            before, after = text[found - 1], text[np.minimum(found + len(tokens), len(text) - 1)]
            cut = ends[self.known(before)] & bool(begins[tokens[0]] and not form.before)
            last = bool(ends[tokens[-1]] and not form.after)
            cut |= last & begins[self.known(after)] & (found + len(tokens) < len(text))
            kept.append(found[~cut])
        return np.sort(np.concatenate(kept))

    def known(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens as places in `edges`, where the last stands for the separator."""
        return np.where(tokens == np.iinfo(self.dtype).max, -1, tokens.astype(np.int64))

    def edges(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """Which tokens begin and which end with a part of a word, bool; then False for the separator."""
        if self.word_edges is None:
            pieces = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
            texts = [piece.decode(errors="replace") for piece in pieces]
            sides = (
                [bool(JOINED.match(text[side : side + 1 or None])) for text in texts] + [False] for side in (0, -1)
            )
            begins, ends = map(np.array, sides)
            self.word_edges = begins, ends
        return self.word_edges

    def longest(self, tokens: list[int]) -> list[int]:
        """From each of some tokens on, how many in a row, at most, stand anywhere in the training text as here."""
        pattern, size = self.pattern(tokens), self.dtype.itemsize
        found: list[int] = (np.max([array.longest(pattern, size) for array in self.arrays], axis=0) // size).tolist()
        return found

    def places(self, form: Form, tokenizer: Tokenizer, most: int) -> list[Place]:
        """Where a form stands as whole words: at most so many places, each in another document, in the text's order."""
        found: list[Place] = []
        for number, offsets in enumerate(self.offsets):
            at = self.whole_words(number, form, tokenizer)
            begins = np.asarray(offsets) // self.dtype.itemsize
            owner, first = np.unique(np.searchsorted(begins, at.astype(np.uint64), side="right") - 1, return_index=True)
            for document, place in zip(owner[:most], at[first[:most]], strict=True):
                found.append(Place(number, int(self.firsts[number] + document), int(place)))
            if len(found) >= most:
                break
        return found[:most]

    def around(self, place: Place, length: int, beside: int) -> tuple[list[int], list[int], list[int]]:
        """The tokens before a run of `length`, of it and after it, at most `beside` on each side, of its document."""
        offsets, text = self.offsets[place.table], self.arrays[place.table].text.view(self.dtype)
        local = place.document - int(self.firsts[place.table])
        begin = int(offsets[local]) // self.dtype.itemsize + 1
        end = int(offsets[local + 1]) // self.dtype.itemsize if local + 1 < len(offsets) else len(text)
        low, at, high = max(begin, place.token - beside), place.token, place.token + length
        return text[low:at].tolist(), text[at:high].tolist(), text[high : min(end, high + beside)].tolist()
