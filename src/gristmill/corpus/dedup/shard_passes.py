"""Passes of dedup over one shard's kept documents: its lines and passages, and its rows without those that repeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.corpus.dedup import passages
from gristmill.corpus.dedup.minhash import MinHash
from gristmill.corpus.execution.documents import Shard, ShardFiles, drop_fault, piecewise
from gristmill.corpus.execution.drop_log import DropLog
from gristmill.corpus.execution.executor import Result
from gristmill.corpus.execution.judge import Dropped
from gristmill.document import read_batches
from gristmill.recipe import Dedup


@dataclass(frozen=True)
class DedupedShard(ShardFiles):
    """One shard's share of the stage's passes."""

    shard: Shard
    first: int  # number of its first document in the corpus
    params: Dedup

    @property
    def faults(self) -> Path:
        """The rows on which the first pass fails: JSON, row of the shard → what the drop log says."""
        return self.work / f"faults-{self.number:05d}.json"

    def stem(self, what: str) -> Path:
        """Beginning of the names of this shard's files of one kind."""
        return self.work / f"{what}-{self.number:05d}"

    @property
    def minhash(self) -> MinHash:
        """The recipe's."""
        return MinHash(self.params.ngram, self.params.bands, self.params.rows, self.params.seed)


def verdicts_of(task: DedupedShard) -> np.ndarray:
    """What was decided on the documents of a shard."""
    everything: np.ndarray = np.load(task.work / "verdicts.npy", mmap_mode="r")
    return everything[task.first : task.first + task.shard.rows]


def kept_batches(task: DedupedShard, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a shard that are no copies."""
    kept, at = verdicts_of(task)["rule"] == 0, 0
    for batch in read_batches(task.shard.path, task.shard.groups, columns):
        yield batch.filter(pa.array(kept[at : at + batch.num_rows]))
        at += batch.num_rows


def line_shard(task: DedupedShard) -> Result:
    """Third pass, if asked for: the lines of a shard, once a document."""
    keys = [np.empty(0, np.uint64)]
    for _, spans in piecewise(lines_of, kept_batches(task, ("text", "host")), None):
        keys.append(spans.keys[passages.first_in_text(spans) == np.arange(len(spans.keys))])
    passages.write_keys(task.stem("lines"), np.concatenate(keys))
    return {"documents": task.shard.rows}


def lines_of(batch: pa.RecordBatch) -> passages.Spans:
    """The lines of a batch."""
    return passages.lines(batch.column("text"), batch.column("host").cast(pa.large_string()))


def lines_cut(
    task: DedupedShard, columns: Sequence[str], counts: Counter[str], log: DropLog | None = None
) -> Iterator[pa.RecordBatch]:
    """The kept rows of a shard without the lines that repeat on their host."""
    if not task.params.host_lines:
        yield from kept_batches(task, columns)
        return
    again, at = np.load(f"{task.stem('lines')}-again.npy"), 0
    for batch, spans in piecewise(lines_of, kept_batches(task, columns), log):
        first = passages.first_in_text(spans)
        own = first == np.arange(len(first))
        marked = again[at + (np.cumsum(own) - 1)[first]] if len(first) else again[:0]
        at += int(own.sum())
        counts["lines_cut"] += int(marked.sum())
        yield without_pieces(batch, spans, marked, log) if marked.any() else batch


def anchor_shard(task: DedupedShard) -> Result:
    """Fourth pass, if asked for: the anchors of a shard's passages."""
    span, keys = task.params.passage_words, [np.empty(0, np.uint64)]
    batches = lines_cut(task, ("text", "host"), Counter())
    found = piecewise(lambda batch: passages.anchors(batch.column("text"), span), batches, None)
    keys.extend(anchors for _, anchors in found)
    passages.write_keys(task.stem("anchors"), np.concatenate(keys))
    return {"documents": task.shard.rows}


def window_shard(task: DedupedShard) -> Result:
    """Fifth pass, if asked for: those windows of a shard that may occur elsewhere too."""
    keys = [np.empty(0, np.uint64), *(spans.keys for _, spans in shard_windows(task, ("text", "host"), Counter()))]
    passages.write_keys(task.stem("windows"), np.concatenate(keys))
    return {"documents": task.shard.rows}


def shard_windows(
    task: DedupedShard, columns: Sequence[str], counts: Counter[str], log: DropLog | None = None
) -> Iterator[tuple[pa.RecordBatch, passages.Spans]]:
    """The kept rows of a shard with their windows that may occur elsewhere too."""
    repeated = np.load(task.work / "repeated.npy", mmap_mode="r")
    span, batches = task.params.passage_words, lines_cut(task, columns, counts, log)
    return piecewise(lambda batch: passages.windows(batch.column("text"), span, repeated), batches, log)


def passages_cut(
    task: DedupedShard, columns: Sequence[str], counts: Counter[str], log: DropLog
) -> Iterator[pa.RecordBatch]:
    """The kept rows of a shard without the passages that occur elsewhere before. What fails on the way is logged."""
    if not task.params.passage_words:
        yield from lines_cut(task, columns, counts, log)
        return
    again, at = np.load(f"{task.stem('windows')}-again.npy"), 0
    for batch, spans in shard_windows(task, columns, counts, log):
        marked = again[at : at + len(spans.keys)]
        at += len(spans.keys)
        counts["passages_cut"] += passages.count_passages(spans, marked)
        yield without_pieces(batch, spans, marked, log) if marked.any() else batch


def without_pieces(
    batch: pa.RecordBatch, spans: passages.Spans, marked: np.ndarray, log: DropLog | None
) -> pa.RecordBatch:
    """A batch without the marked pieces of its texts, nor the documents on which cutting them out fails."""
    texts: list[str | None] = []
    for row, text in enumerate(passages.cut(batch.column("text").to_pylist(), spans, marked)):
        texts.append(None if isinstance(text, Dropped) else text)
        if isinstance(text, Dropped) and log:
            drop_fault(log, batch[row : row + 1], text)
    column = pa.array(texts, pa.large_string())
    return batch.set_column(batch.schema.get_field_index("text"), "text", column).filter(column.is_valid())
