"""Stage `dedup`: one copy of each document, and if asked for of each line of a host and of each long passage.

Passes over the shards, each resumable where it was: prints (digests and MinHash signatures, the bulk of the time), then
verdicts (one process, in order, see index.py), then if asked for lines and passages (see repeats.py), then the kept
documents. Memory is bounded whatever the input's size: a block of prints, or a range of keys, of 0.2 to 0.3 GB. On disk
the index takes about 420 bytes a kept document, and as much again is needed while working.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.corpus import repeats
from gristmill.corpus.drops import DropLog
from gristmill.corpus.index import BLOCK, RULES, Index, IndexWriter, Prints, read_ids
from gristmill.corpus.mapping import Shard, document_shards, finish_stage, log_path, samples_path, shard_path
from gristmill.corpus.minhash import MinHash, digests
from gristmill.corpus.parallel import Executor, Result
from gristmill.corpus.samples import Samples
from gristmill.document import SCHEMA, Document, read_batches, write_batches
from gristmill.manifest import WORK, Manifest
from gristmill.progress import Progress
from gristmill.recipe import Dedup

VERDICT = np.dtype([("rule", "u1"), ("source", "<u2"), ("original", "<u4")])
PRINTED = ("id", "text", "url", "host")


@dataclass(frozen=True)
class Task:
    """One shard's share of a pass."""

    shard: Shard
    first: int  # number of its first document in the corpus
    shards: int
    params: Dedup
    out: Path

    @property
    def work(self) -> Path:
        """What is on disk between the passes."""
        return self.out / WORK

    def stem(self, what: str) -> Path:
        """Beginning of the names of this shard's files of one kind."""
        return self.work / f"{what}-{self.shard.number:05d}"

    @property
    def minhash(self) -> MinHash:
        """The recipe's."""
        return MinHash(self.params.ngram, self.params.bands, self.params.rows, self.params.seed)


def run(inputs: Mapping[str, Path], params: Dedup, out: Path) -> Manifest:
    """Write the kept documents, `index/` for later corpora, and `dropped.jsonl`, which names the document copied.

    Raises UserError where a folder of `params.against` holds no index, or one of other settings.
    """
    shards = document_shards(inputs["corpus"])
    firsts = accumulate((shard.rows for shard in shards), initial=0)
    tasks = [Task(shard, first, len(shards), params, out) for shard, first in zip(shards, firsts, strict=False)]
    (out / WORK).mkdir(exist_ok=True)
    older = [Index(Path(path) / "index", tasks[0].minhash) for path in params.against]
    total = sum(shard.rows for shard in shards)
    passes = 3 + (params.host_lines > 0) + 2 * (params.passage_words > 0)
    with Progress("dedup", passes * total, "documents") as bar, Executor(sum(s.size for s in shards)) as executor:

        def sweep(function: Any, name: str) -> list[Result]:
            bar.note = name
            return executor.map(function, tasks, out / WORK / name, lambda result: bar.advance(result["documents"]))

        sweep(print_shard, "prints")
        settle(tasks, total, older, bar)
        if params.host_lines:
            sweep(line_shard, "lines")
            once(out / WORK / "lines.done", repeats.mark_repeats, stems(tasks, "lines"), params.host_lines)
        if params.passage_words:
            sweep(anchor_shard, "anchors")
            once(
                out / WORK / "anchors.done", repeats.repeated_keys, stems(tasks, "anchors"), out / WORK / "repeated.npy"
            )
            sweep(window_shard, "windows")
            once(out / WORK / "windows.done", repeats.mark_repeats, stems(tasks, "windows"), 2)
        results = sweep(write_shard, "documents")
    return finish_stage(results, out)


def stems(tasks: Sequence[Task], what: str) -> list[Path]:
    """Every shard's files of one kind."""
    return [task.stem(what) for task in tasks]


def once(mark: Path, function: Any, *arguments: Any) -> None:
    """Call a function unless an earlier, interrupted run has."""
    if not mark.exists():
        function(*arguments)
        mark.touch()


def print_shard(task: Task) -> Result:
    """First pass: digests and signatures of all documents of a shard, and their ids."""
    parts, ids, sizes = [], [], [np.empty(0, np.int64)]
    for batch in read_batches(task.shard.path, task.shard.groups, PRINTED):
        keys, texts, signatures = task.minhash(batch.column("text"))
        urls = digests(batch.column("url").cast(pa.large_string()))
        if not task.params.urls:
            urls[:] = 0
        urls[pc.equal(batch.column("host"), "").to_numpy(zero_copy_only=False)] = 0  # a file's name
        columns = np.column_stack((urls[:, 0], texts[:, 0], keys))
        parts.append(Prints(columns, np.column_stack((urls[:, 1], texts[:, 1])), signatures))
        ids.append(batch.column("id").cast(pa.large_string()))
        sizes.append(pc.binary_length(batch.column("text")).to_numpy())
    if not parts:
        width = task.minhash.bands * task.minhash.rows
        shapes = ((2 + task.minhash.bands, np.uint64), (2, np.uint64), (width, np.uint16))
        parts = [Prints(*(np.empty((0, columns), kind) for columns, kind in shapes))]
    Prints.joined(parts).save(task.stem("prints"))
    np.save(f"{task.stem('prints')}-sizes.npy", np.concatenate(sizes))
    table = pa.table({"id": pa.chunked_array(ids, pa.large_string())})
    with pa.ipc.new_file(f"{task.stem('prints')}-ids.arrow", table.schema) as file:
        file.write_table(table)
    return {"documents": task.shard.rows}


def settle(tasks: Sequence[Task], total: int, older: Sequence[Index], bar: Progress) -> None:
    """Second step: decide on all documents in order; leaves `verdicts.npy` and, last, the index."""
    out, work = tasks[0].out, tasks[0].work
    bar.note = "verdicts"
    if (out / "index").exists():
        bar.advance(total)
        return
    verdicts = np.lib.format.open_memmap(work / "verdicts.npy", "w+", VERDICT, (max(1, total),))
    writer = IndexWriter(work / "index", tasks[0].minhash, older)
    done = 0
    for prints, ids in blocks(tasks):
        found = writer.settle(prints, ids)
        part = verdicts[done : done + len(prints)]
        part["rule"], part["source"], part["original"] = found.rules, found.sources, found.originals
        done += len(prints)
        bar.advance(len(prints))
    writer.close()
    verdicts.flush()
    (work / "index").rename(out / "index")


def blocks(tasks: Sequence[Task]) -> Iterator[tuple[Prints, pa.Array]]:
    """The prints and ids of all shards in order, cut into blocks."""
    waiting: list[tuple[Prints, pa.Array]] = []
    size = 0
    for task in tasks:
        prints = Prints.load(task.stem("prints"))
        ids = pa.ipc.open_file(f"{task.stem('prints')}-ids.arrow").read_all().column("id").combine_chunks()
        for first in range(0, len(prints), BLOCK):
            waiting.append((prints[first : first + BLOCK], ids[first : first + BLOCK]))
            size += len(waiting[-1][0])
            if size >= BLOCK:
                yield Prints.joined([part for part, _ in waiting]), pa.concat_arrays([part for _, part in waiting])
                waiting, size = [], 0
    if waiting:
        yield Prints.joined([part for part, _ in waiting]), pa.concat_arrays([part for _, part in waiting])


def verdicts_of(task: Task) -> np.ndarray:
    """What was decided on the documents of a shard."""
    everything = np.load(task.work / "verdicts.npy", mmap_mode="r")
    return everything[task.first : task.first + task.shard.rows]


def kept_batches(task: Task, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a shard that are no copies."""
    kept, at = verdicts_of(task)["rule"] == 0, 0
    for batch in read_batches(task.shard.path, task.shard.groups, columns):
        yield batch.filter(pa.array(kept[at : at + batch.num_rows]))
        at += batch.num_rows


def line_shard(task: Task) -> Result:
    """Third pass, if asked for: the lines of a shard, once a document."""
    keys = [np.empty(0, np.uint64)]
    for batch in kept_batches(task, ("text", "host")):
        spans = repeats.lines(batch.column("text"), batch.column("host").cast(pa.large_string()))
        keys.append(spans.keys[repeats.first_in_text(spans) == np.arange(len(spans.keys))])
    repeats.write_keys(task.stem("lines"), np.concatenate(keys))
    return {"documents": task.shard.rows}


def lines_cut(task: Task, columns: Sequence[str], counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The kept rows of a shard without the lines that repeat on their host."""
    if not task.params.host_lines:
        yield from kept_batches(task, columns)
        return
    again, at = np.load(f"{task.stem('lines')}-again.npy"), 0
    for batch in kept_batches(task, columns):
        spans = repeats.lines(batch.column("text"), batch.column("host").cast(pa.large_string()))
        first = repeats.first_in_text(spans)
        own = first == np.arange(len(first))
        marked = again[at + (np.cumsum(own) - 1)[first]] if len(first) else again[:0]
        at += int(own.sum())
        counts["lines_cut"] += int(marked.sum())
        yield with_texts(batch, repeats.cut(batch.column("text").to_pylist(), spans, marked)) if marked.any() else batch


def anchor_shard(task: Task) -> Result:
    """Fourth pass, if asked for: the anchors of a shard's passages."""
    span, keys = task.params.passage_words, [np.empty(0, np.uint64)]
    for batch in lines_cut(task, ("text", "host"), Counter()):
        keys.append(repeats.anchors(batch.column("text"), span))
    repeats.write_keys(task.stem("anchors"), np.concatenate(keys))
    return {"documents": task.shard.rows}


def window_shard(task: Task) -> Result:
    """Fifth pass, if asked for: those windows of a shard that may stand elsewhere too."""
    keys = [np.empty(0, np.uint64), *(spans.keys for _, spans in shard_windows(task, ("text", "host"), Counter()))]
    repeats.write_keys(task.stem("windows"), np.concatenate(keys))
    return {"documents": task.shard.rows}


def shard_windows(
    task: Task, columns: Sequence[str], counts: Counter[str]
) -> Iterator[tuple[pa.RecordBatch, repeats.Spans]]:
    """The kept rows of a shard with their windows that may stand elsewhere too."""
    repeated = np.load(task.work / "repeated.npy", mmap_mode="r")
    for batch in lines_cut(task, columns, counts):
        yield batch, repeats.windows(batch.column("text"), task.params.passage_words, repeated)


def passages_cut(task: Task, columns: Sequence[str], counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The kept rows of a shard without the passages that stand elsewhere before."""
    if not task.params.passage_words:
        yield from lines_cut(task, columns, counts)
        return
    again, at = np.load(f"{task.stem('windows')}-again.npy"), 0
    for batch, spans in shard_windows(task, columns, counts):
        marked = again[at : at + len(spans.keys)]
        at += len(spans.keys)
        counts["passages_cut"] += repeats.count_passages(spans, marked)
        yield with_texts(batch, repeats.cut(batch.column("text").to_pylist(), spans, marked)) if marked.any() else batch


def with_texts(batch: pa.RecordBatch, texts: list[str]) -> pa.RecordBatch:
    """A batch with other texts."""
    return batch.set_column(batch.schema.get_field_index("text"), "text", pa.array(texts, pa.large_string()))


def write_shard(task: Task) -> Result:
    """Last pass: the documents that stay, and the log of those that go."""
    counts: Counter[str] = Counter(documents_in=task.shard.rows)
    with DropLog(log_path(task.work, task.shard.number)) as log:
        log_copies(task, log, counts)

        def kept() -> Iterator[pa.RecordBatch]:
            for batch in passages_cut(task, SCHEMA.names, counts):
                size = pc.binary_length(batch.column("text"))
                empty = pc.equal(size, 0)
                if task.params.host_lines or task.params.passage_words:
                    for row in batch.filter(empty).select(("id", "url", "source")).to_pylist():
                        log.drop(row["id"], row["url"], "nothing_new", source=row["source"])
                    batch = batch.filter(pc.invert(empty))
                counts["bytes_out"] += pc.sum(size).as_py() or 0
                yield batch.set_column(SCHEMA.get_field_index("cluster"), "cluster", batch.column("id"))

        counts["documents_out"] = write_batches(shard_path(task.out, task.shard.number, task.shards), kept())
    counts["bytes_edited"] = counts["bytes_in"] - counts["bytes_out"] - log.bytes.total()
    return {"documents": task.shard.rows, "counts": counts, "dropped": log.rules, "dropped_bytes": log.bytes}


def log_copies(task: Task, log: DropLog, counts: Counter[str]) -> None:
    """Log the copies of a shard, with the ids of their originals, and count the bytes of all its documents."""
    verdicts, sizes, at = verdicts_of(task), np.load(f"{task.stem('prints')}-sizes.npy"), 0
    counts["bytes_in"] = int(sizes.sum())
    ids = [Index(Path(path) / "index", task.minhash).ids() for path in task.params.against]
    ids.append(read_ids(task.out / "index"))
    samples = Samples()
    for batch in read_batches(task.shard.path, task.shard.groups, ("id", "url", "source", "text")):
        copies = at + np.flatnonzero(verdicts[at : at + batch.num_rows]["rule"])
        rows = batch.take(pa.array(copies - at)).to_pylist()
        at += batch.num_rows
        for row, size, verdict in zip(rows, sizes[copies].tolist(), verdicts[copies], strict=True):
            more = {"kept": ids[verdict["source"]][int(verdict["original"])].as_py()}
            rule = RULES[verdict["rule"]]
            log.drop(row["id"], row["url"], rule, source=row["source"], size=size, more=more)
            samples.add(rule, Document(row["id"], "", row["url"]), row["text"])
    samples.write(samples_path(log.path))
