"""Passages and lines that occur in several documents: all but the first are cut out.

Passages: runs of at least `span` words that occurred before, in this document or an earlier one. The words cut are
those of Lee et al. 2021 (arXiv:2107.06499, §4.1), who find them with a suffix array of the whole corpus: a run of
`span` words or more repeats just where every window of `span` words in it does. Windows are found by hash, in parts
that fit into memory: a first pass writes one anchor for about every 13 words, a second those windows whose anchor
occurs twice, and in sorted order equal ones meet. Words are compared in lower case, without what is between them.

Lines: those that occur on a given number of pages of one host, or more.

A pass over the text is a map over shards; what it writes is sorted within each shard, and read back a range of keys at
a time: time grows as n log n, memory is that of one range.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill import native
from gristmill.corpus.dedup.minhash import digests
from gristmill.corpus.execution.documents import guarded
from gristmill.corpus.execution.judge import Dropped
from gristmill.corpus.text.words import EAST_WORD, IN_UNSPACED, SOUTHEAST_WORD, characters_a_word, fold_table, words
from gristmill.native import I64, SIZE, U8, U32, U64, utf8

CLOSING = re.compile(rb"(?:[.,;:!?)\]}\"']|\xe2\x80[\x99\x9d\xa6])*\n?")  # ’ ” … too
TEXTS = (U8, I64, SIZE, U32)  # the arguments that all three have
LINES = native.Function("gm_lines", SIZE, *TEXTS, U64, U64, U32, I64, I64)
ANCHORS = native.Function("gm_anchors", SIZE, *TEXTS, U32, U64)
WINDOWS = native.Function("gm_windows", SIZE, *TEXTS, U32, U64, SIZE, U64, U32, I64, I64)
RANGE = 8_000_000  # keys in memory at once: about 0.3 GB


class Spans(NamedTuple):
    """Pieces of texts: what they say, whose they are, and from which byte to which."""

    keys: np.ndarray  # uint64 [n]
    texts: np.ndarray  # uint32 [n]
    starts: np.ndarray  # int64 [n]
    stops: np.ndarray  # int64 [n]


def room(offsets: np.ndarray) -> int:
    """An upper bound of the pieces of texts with these offsets: each has two bytes or more."""
    return int(offsets[-1] - offsets[0]) // 2 + 2 * len(offsets)


def found(count: int) -> int:
    """What a C function returned, checked."""
    if count == ctypes.c_size_t(-1).value:
        raise MemoryError
    return count


def lines(texts: pa.Array, hosts: pa.Array) -> Spans:
    """Every line that holds a word; its key is that of its words and host."""
    text, offsets = utf8(texts)
    seeds = np.ascontiguousarray(digests(hosts)[:, 0])
    spans = empty_spans(room(offsets))
    n = LINES(text, offsets, len(texts), fold_table(), seeds, *spans)
    return Spans(*(array[:n] for array in spans))


def spans_of(texts: pa.Array, span: int) -> np.ndarray:
    """How long the windows of each text are in what `words` parts it into, uint32 [n]: `span` words, which are more
    characters where most of a text is in a script without spaces.
    """
    found = np.full(len(texts), span, np.uint32)
    for at in np.flatnonzero(~pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)):
        text = texts[at].as_py()
        if IN_UNSPACED.search(text):
            each = characters_a_word(text, len(words(text)))
            found[at] *= max((many for many in (EAST_WORD, SOUTHEAST_WORD) if each > 0.75 * many), default=1)
    return found


def anchors(texts: pa.Array, span: int) -> np.ndarray:
    """The anchors of all windows of `span` words, uint64 [n]."""
    text, offsets = utf8(texts)
    keys = np.empty(room(offsets), np.uint64)
    return keys[: found(ANCHORS(text, offsets, len(texts), fold_table(), spans_of(texts, span), keys))]


def windows(texts: pa.Array, span: int, repeated: np.ndarray) -> Spans:
    """The windows of `span` words whose anchor is one of the sorted `repeated`."""
    text, offsets = utf8(texts)
    spans = empty_spans(room(offsets))
    n = found(WINDOWS(text, offsets, len(texts), fold_table(), spans_of(texts, span), repeated, len(repeated), *spans))
    return Spans(*(array[:n] for array in spans))


def empty_spans(n: int) -> Spans:
    """Room for n pieces; pages that are never written take no memory."""
    return Spans(np.empty(n, np.uint64), np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n, np.int64))


def first_in_text(spans: Spans) -> np.ndarray:
    """For each piece the first one of its text with its key, int64 [n]."""
    order = np.lexsort((spans.texts, spans.keys))  # stable
    keys, texts = spans.keys[order], spans.texts[order]
    new = np.concatenate(([True], (keys[1:] != keys[:-1]) | (texts[1:] != texts[:-1])))[: len(order)]
    first = np.empty(len(order), np.int64)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    return first


def write_keys(stem: Path, keys: np.ndarray) -> None:
    """Write a shard's keys in sorted order, equal ones as they came, with the place of each."""
    order = np.argsort(keys, kind="stable")
    np.save(f"{stem}-places.npy", order.astype(np.uint32))
    np.save(f"{stem}-keys.npy", keys[order])


def in_ranges(stems: Sequence[Path]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All keys in sorted order, a range at a time: (keys, shard of each, place of each), equal ones in input order."""
    all_keys = [np.load(f"{stem}-keys.npy", mmap_mode="r") for stem in stems]
    parts = sum(map(len, all_keys)) // RANGE + 1
    for part in range(parts):
        borders = np.array([(part << 64) // parts, ((part + 1) << 64) // parts - 1], np.uint64)
        chosen: tuple[list[np.ndarray], ...] = ([], [], [])
        for shard, keys in enumerate(all_keys):
            first, last = np.searchsorted(keys, borders[0], "left"), np.searchsorted(keys, borders[1], "right")
            if first < last:
                places = np.load(f"{stems[shard]}-places.npy", mmap_mode="r")
                for list_, array in zip(chosen, (keys, places), strict=False):
                    list_.append(array[first:last])
                chosen[2].append(np.full(last - first, shard, np.uint32))
        if chosen[0]:
            keys, places, shards = map(np.concatenate, chosen)
            order = np.argsort(keys, kind="stable")
            yield keys[order], shards[order], places[order]


def group_starts(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of sorted keys: where each value begins and how often it occurs."""
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return starts, np.diff(np.append(starts, len(keys)))


def repeated_keys(stems: Sequence[Path], path: Path) -> None:
    """Write the keys that occur twice or more, sorted."""
    chosen = [np.empty(0, np.uint64)]
    for keys, _, _ in in_ranges(stems):
        starts, counts = group_starts(keys)
        chosen.append(keys[starts[counts > 1]])
    np.save(path, np.concatenate(chosen))


def mark_repeats(stems: Sequence[Path], least: int) -> None:
    """For each shard write `-again.npy`, bool by place: which pieces repeat an earlier one, of those that occur `least`
    times or more.
    """
    marks = []
    for stem in stems:
        size = np.load(f"{stem}-keys.npy", mmap_mode="r").shape
        np.save(f"{stem}-again.npy", np.zeros(size, bool))
        marks.append(np.load(f"{stem}-again.npy", mmap_mode="r+") if size[0] else None)
    for keys, shards, places in in_ranges(stems):
        starts, counts = group_starts(keys)
        again = np.repeat(counts >= least, counts)
        again[starts] = False
        for shard in np.unique(shards[again]):
            mark = marks[shard]
            assert mark is not None
            mark[places[again & (shards == shard)]] = True


def count_passages(spans: Spans, again: np.ndarray) -> int:
    """How many passages the marked windows make up, those that overlap being one."""
    marked = np.flatnonzero(again)
    if not len(marked):
        return 0
    apart = (np.diff(spans.texts[marked]) != 0) | (spans.starts[marked][1:] > spans.stops[marked][:-1])
    return 1 + int(apart.sum())


def cut(texts: Sequence[str], spans: Spans, again: np.ndarray) -> list[str | Dropped]:
    """The texts without the marked pieces; of one on which that fails, the rule that drops it."""
    made: list[str | Dropped] = list(texts)
    marked = np.flatnonzero(again)
    for part in np.split(marked, np.flatnonzero(np.diff(spans.texts[marked])) + 1):
        if len(part):
            index = int(spans.texts[part[0]])
            pieces = zip(spans.starts[part].tolist(), spans.stops[part].tolist(), strict=True)
            made[index] = guarded(without, texts[index], pieces)
    return made


def without(whole: str, pieces: Iterable[tuple[int, int]]) -> str:
    """A text without pieces of it (in order; they may overlap), nor the punctuation and line end after each. Pieces are
    in bytes."""
    text, left, at = whole.encode(), [], 0
    for start, stop in pieces:
        if start > at:
            left.append(text[at:start])
        end = CLOSING.match(text, stop)
        at = max(at, end.end() if end else stop)
    left.append(text[at:])
    result = b""
    for part in filter(bytes.strip, left):
        breaks = result[len(result.rstrip()) :].count(b"\n") + part[: len(part) - len(part.lstrip())].count(b"\n")
        result = result.rstrip() + (b"\n\n" if breaks > 1 else b"\n") + part.lstrip() if result else part
    return result.strip().decode()
