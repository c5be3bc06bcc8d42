"""Stage `dedup`: one copy of each document, and if asked for of each line of a host and of each long passage.

Passes over the shards, each resumable where it was: prints (digests and MinHash signatures, the bulk of the time), then
verdicts (one process, in order, see index.py), then if asked for lines and passages (see passages.py), then the kept
documents. Memory is bounded whatever the input's size: a block of prints, or a range of keys, of 0.2 to 0.3 GB. On disk
the index takes about 420 bytes a kept document, and as much again is needed while working.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.corpus.dedup import passages
from gristmill.corpus.dedup.index import BLOCK, RULES, Index, IndexWriter, Prints, new_array, read_ids
from gristmill.corpus.dedup.minhash import digests
from gristmill.corpus.dedup.shard_passes import (
    DedupedShard,
    anchor_shard,
    line_shard,
    passages_cut,
    verdicts_of,
    window_shard,
)
from gristmill.corpus.execution.documents import (
    document_shards,
    drop_fault,
    finish_stage,
    halving,
)
from gristmill.corpus.execution.drop_log import DropLog
from gristmill.corpus.execution.executor import Executor, Result
from gristmill.corpus.execution.judge import Dropped
from gristmill.corpus.execution.samples import Samples
from gristmill.document import SCHEMA, Document, read_batches, write_batches
from gristmill.errors import FAULT
from gristmill.files import write_text
from gristmill.manifest import WORK, Manifest
from gristmill.progress import Progress
from gristmill.recipe import Dedup

VERDICT = np.dtype([("rule", "u1"), ("source", "<u2"), ("original", "<u4")])
PRINTED = ("id", "text", "url", "host", "source")


def run(inputs: Mapping[str, Path], params: Dedup, out: Path) -> Manifest:
    """Write the kept documents, `index/` for later corpora, and `dropped.jsonl`, which names the document copied.

    Raises UserError where a folder of `params.against` holds no index, or one of other settings.
    """
    shards = document_shards(inputs["corpus"])
    firsts = accumulate((shard.rows for shard in shards), initial=0)
    parts = zip(shards, firsts, strict=False)
    tasks = [DedupedShard(out, shard.number, len(shards), shard, first, params) for shard, first in parts]
    (out / WORK).mkdir(exist_ok=True)
    older = [Index(Path(path) / "index", tasks[0].minhash) for path in params.against]
    total = sum(shard.rows for shard in shards)
    passes = 3 + (params.host_lines > 0) + 2 * (params.passage_words > 0)
    with Progress("dedup", passes * total, "documents") as bar, Executor(sum(s.size for s in shards)) as executor:

        def sweep(function: Any, name: str) -> list[Result]:
            bar.note = name
            return executor.map(function, tasks, out / WORK / name, lambda result: bar.advance(result["documents"]))

        def once(what: str, function: Any, *arguments: Any) -> None:
            """Call a function on all shards' files of one kind, unless an earlier, interrupted run has."""
            mark = out / WORK / f"{what}.done"
            if not mark.exists():
                function([task.stem(what) for task in tasks], *arguments)
                mark.touch()

        sweep(print_shard, "prints")
        decide(tasks, total, older, bar)
        if params.host_lines:
            sweep(line_shard, "lines")
            once("lines", passages.mark_repeats, params.host_lines)
        if params.passage_words:
            sweep(anchor_shard, "anchors")
            once("anchors", passages.repeated_keys, out / WORK / "repeated.npy")
            sweep(window_shard, "windows")
            once("windows", passages.mark_repeats, 2)
        results = sweep(write_shard, "documents")
    return finish_stage(results, out)


def print_shard(task: DedupedShard) -> Result:
    """First pass: digests and signatures of all documents of a shard, and their ids."""
    parts, ids, sizes, faults, at = [blank(task, 0)], [], [np.empty(0, np.int64)], dict[int, dict[str, str]](), 0
    for batch in read_batches(task.shard.path, task.shard.groups, PRINTED):
        for part, prints in halving(partial(prints_of, task), batch):
            if isinstance(prints, Dropped):
                faults[at] = prints.more
                prints = blank(task, 1)
            parts.append(prints)
            at += len(part)
        ids.append(batch.column("id").cast(pa.large_string()))
        sizes.append(pc.binary_length(batch.column("text")).to_numpy())
    write_text(task.faults, json.dumps(faults))
    Prints.joined(parts).save(task.stem("prints"))
    np.save(f"{task.stem('prints')}-sizes.npy", np.concatenate(sizes))
    table = pa.table({"id": pa.chunked_array(ids, pa.large_string())})
    with pa.ipc.new_file(f"{task.stem('prints')}-ids.arrow", table.schema) as file:
        file.write_table(table)
    return {"documents": task.shard.rows}


def prints_of(task: DedupedShard, batch: pa.RecordBatch) -> Prints:
    """The prints of a batch. Raises ArrowInvalid where a string of it is no UTF-8, which no later pass could read."""
    batch.validate(full=True)
    keys, texts, signatures = task.minhash(batch.column("text"))
    urls = digests(batch.column("url").cast(pa.large_string()))
    if not task.params.urls:
        urls[:] = 0
    urls[pc.equal(batch.column("host"), "").to_numpy(zero_copy_only=False)] = 0  # a file's name
    columns = np.column_stack((urls[:, 0], texts[:, 0], keys))
    return Prints(columns, np.column_stack((urls[:, 1], texts[:, 1])), signatures)


def blank(task: DedupedShard, rows: int) -> Prints:
    """Prints that are like none that a text has."""
    width = task.minhash.bands * task.minhash.rows
    shapes = ((2 + task.minhash.bands, np.uint64), (2, np.uint64), (width, np.uint16))
    return Prints(*(np.zeros((rows, columns), kind) for columns, kind in shapes))


def faults_of(task: DedupedShard) -> dict[int, Dropped]:
    """The rows of a shard on which the first pass fails."""
    found = json.loads(task.faults.read_text(encoding="utf-8"))
    return {int(row): Dropped(FAULT, notes) for row, notes in found.items()}


def decide(tasks: Sequence[DedupedShard], total: int, older: Sequence[Index], bar: Progress) -> None:
    """Second step: decide on all documents in order; leaves `verdicts.npy` and, last, the index."""
    out, work = tasks[0].out, tasks[0].work
    bar.note = "verdicts"
    if (out / "index").exists():
        bar.advance(total)
        return
    verdicts = new_array(work / "verdicts.npy", VERDICT, (max(1, total),))
    writer = IndexWriter(work / "index", tasks[0].minhash, older, near=tasks[0].params.near)
    done = 0
    for prints, ids in blocks(tasks):
        found = writer.decide(prints, ids)
        part = verdicts[done : done + len(prints)]
        part["rule"], part["source"], part["original"] = found.rules, found.sources, found.originals
        done += len(prints)
        bar.advance(len(prints))
    writer.close()
    for task in tasks:
        verdicts["rule"][[task.first + row for row in faults_of(task)]] = RULES.index(FAULT)
    verdicts.flush()
    (work / "index").rename(out / "index")


def blocks(tasks: Sequence[DedupedShard]) -> Iterator[tuple[Prints, pa.Array]]:
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


def write_shard(task: DedupedShard) -> Result:
    """Last pass: the documents that stay, and the log of those that go."""
    counts: Counter[str] = Counter(documents_in=task.shard.rows)
    with DropLog.at(task.log) as log:
        log_copies(task, log, counts)

        def kept() -> Iterator[pa.RecordBatch]:
            for batch in passages_cut(task, SCHEMA.names, counts, log):
                size = pc.binary_length(batch.column("text"))
                empty = pc.equal(size, 0)
                if task.params.host_lines or task.params.passage_words:
                    for row in batch.filter(empty).select(("id", "url", "source")).to_pylist():
                        log.drop(row["id"], row["url"], "nothing_new", source=row["source"])
                    batch = batch.filter(pc.invert(empty))
                counts["bytes_out"] += pc.sum(size).as_py() or 0
                yield batch.set_column(SCHEMA.get_field_index("cluster"), "cluster", batch.column("id"))

        counts["documents_out"] = write_batches(task.documents, kept())
    counts["bytes_edited"] = counts["bytes_in"] - counts["bytes_out"] - log.bytes.total()
    return {"documents": task.shard.rows, "counts": counts, "dropped": log.rules, "dropped_bytes": log.bytes}


def log_copies(task: DedupedShard, log: DropLog, counts: Counter[str]) -> None:
    """Log the copies of a shard, with the ids of their originals, and count the bytes of all its documents."""
    verdicts, sizes, at = verdicts_of(task), np.load(f"{task.stem('prints')}-sizes.npy"), 0
    counts["bytes_in"] = int(sizes.sum())
    ids = [read_ids(Path(folder) / "index") for folder in [*task.params.against, str(task.out)]]
    samples = Samples()
    faults = faults_of(task)
    for batch in read_batches(task.shard.path, task.shard.groups, ("id", "url", "source", "text")):
        rules = verdicts[at : at + batch.num_rows]["rule"]
        for row in np.flatnonzero(rules == RULES.index(FAULT)).tolist():
            drop_fault(log, batch[row : row + 1], faults[at + row])
        copies = at + np.flatnonzero((rules > 0) & (rules < RULES.index(FAULT)))
        rows = batch.take(pa.array(copies - at)).to_pylist()
        at += batch.num_rows
        for row, size, verdict in zip(rows, sizes[copies].tolist(), verdicts[copies], strict=True):
            more = {"kept": ids[verdict["source"]][int(verdict["original"])].as_py()}
            rule = RULES[verdict["rule"]]
            log.drop(row["id"], row["url"], rule, source=row["source"], size=size, more=more)
            samples.add(rule, Document(row["id"], "", row["url"]), row["text"])
    samples.write(task.samples)
