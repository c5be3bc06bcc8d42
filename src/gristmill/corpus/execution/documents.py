"""The executor of stages that look at one document at a time: sharded, resumable, every byte accounted for.

A stage gives a function that builds, from its parameters, a judge (`judge.py`). Time is linear in the input and falls
with the workers; memory is one row group a worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.corpus.execution.drop_log import DropLog, join_logs
from gristmill.corpus.execution.executor import Executor, Result, shard_bytes
from gristmill.corpus.execution.judge import Dropped, Judge
from gristmill.corpus.execution.samples import SAMPLES, Samples
from gristmill.document import Document, document_files, from_batch, open_documents, read_batches, write_documents
from gristmill.errors import FAULT, UserError, concerns_all, fault_notes
from gristmill.manifest import WORK, Manifest
from gristmill.progress import Progress, counted, warn

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Shard:
    """Some row groups of one Parquet file."""

    number: int
    path: Path
    groups: tuple[int, ...]
    rows: int
    size: int  # bytes of its columns, before compression


@dataclass(frozen=True)
class ShardFiles:
    """Where what a stage makes of one shard goes."""

    out: Path
    number: int
    shards: int  # of the stage

    @property
    def work(self) -> Path:
        """What is on disk while the stage goes on."""
        return self.out / WORK

    @property
    def documents(self) -> Path:
        """Its documents: `documents.parquet` for a small corpus of one shard."""
        return self.out / ("documents.parquet" if self.shards == 1 else f"documents-{self.number:05d}.parquet")

    @property
    def log(self) -> Path:
        """Its part of the drop log."""
        return self.work / f"dropped-{self.number:05d}.jsonl"

    @property
    def samples(self) -> Path:
        """Its samples."""
        return self.work / f"samples-{self.number:05d}.jsonl"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it leaves."""
        return self.documents, self.log, self.samples


@dataclass(frozen=True)
class JudgedShard(ShardFiles, Generic[P]):
    """One shard's share of a stage."""

    build: Callable[[P], Judge]
    params: P
    shard: Shard


def map_documents(stage: str, corpus: Path, build: Callable[[P], Judge], params: P, out: Path) -> Manifest:
    """Judge every document of `corpus`; write those that stay and `dropped.jsonl`, and count documents and bytes.

    `build(params)` is called once a shard; it and `params` are sent to other processes by name and by pickling. The
    judges' counts go into the manifest's, their samples and those of what was dropped into `samples.jsonl`. Raises
    UserError where nothing is left.
    """
    shards = document_shards(corpus)
    work = out / WORK
    work.mkdir(exist_ok=True)
    tasks = [JudgedShard(out, shard.number, len(shards), build, params, shard) for shard in shards]
    total = sum(shard.rows for shard in shards)
    with Progress(stage, total, "documents") as bar, Executor(sum(shard.size for shard in shards)) as executor:

        def done(result: Result) -> None:
            bar.advance(result["counts"]["documents_in"])

        results = executor.map(judge_shard, tasks, work, done)
    made = finish_stage(results, out)
    if not made.counts["documents_out"]:
        worst = ", ".join(f"{name} {count}" for name, count in Counter(made.dropped).most_common(3))
        raise UserError(f"{stage} dropped all {total} documents ({worst})", f"loosen [{stage}] in the recipe")
    return made


def document_shards(corpus: Path) -> list[Shard]:
    """Cut the Parquet files of a stage folder into shards of whole row groups."""
    sizes: list[tuple[Path, list[tuple[int, int]]]] = []  # of each file, (bytes, rows) of its groups
    for path in document_files(corpus):
        about = open_documents(path).metadata
        groups = [about.row_group(number) for number in range(about.num_row_groups)]
        sizes.append((path, [(group.total_byte_size, group.num_rows) for group in groups]))
    limit = shard_bytes(sum(size for _, groups in sizes for size, _ in groups))
    shards: list[Shard] = []
    for path, groups_of in sizes:
        first = 0
        while first < len(groups_of) or not first:
            last, size = first, 0
            while last < len(groups_of) and (last == first or size + groups_of[last][0] <= limit):
                size += groups_of[last][0]
                last += 1
            rows = sum(rows for _, rows in groups_of[first:last])
            shards.append(Shard(len(shards), path, tuple(range(first, last)), rows, size))
            if first == last:
                break
            first = last
    return shards


def judge_shard(task: JudgedShard[Any]) -> Result:
    """Judge the documents of one shard; returns its counts."""
    judge = task.build(task.params)
    counts: Counter[str] = Counter()
    with DropLog.at(task.log) as log:

        def kept() -> Iterator[Document]:
            for _, documents in piecewise(from_batch, read_batches(task.shard.path, task.shard.groups), log, counts):
                for document in documents:
                    text = document.text
                    found = guarded(judge, document)
                    if isinstance(found, Dropped) and found.rule != FAULT:  # what was to be redacted must not be shown
                        judge.samples.add(found.rule, document, text)
                    about = document.id, document.url, document.source
                    yield from accounted(found, text_bytes(text), about, counts, log)

        counts["documents_out"] = write_documents(task.documents, kept())
    counts.update(judge.counts)
    judge.samples.write(task.samples)
    return {"counts": counts, "dropped": log.rules, "dropped_bytes": log.bytes}


def accounted(
    found: Document | Dropped, size: int, about: tuple[str, str, str], counts: Counter[str], log: DropLog
) -> Iterator[Document]:
    """A document if it stays; either way what came in, of `size` bytes, is in the counts. What is dropped is logged by
    what it is about: id, URL and source.
    """
    counts["documents_in"] += 1
    counts["bytes_in"] += size
    if isinstance(found, Dropped):
        identity, url, source = about
        log.drop(identity, url, found.rule, source=source, size=size, more=found.more)
    else:
        left = text_bytes(found.text)
        counts["bytes_out"] += left
        counts["bytes_edited"] += size - left
        yield found


def guarded(judge: Callable[..., R], *arguments: Any) -> R | Dropped:
    """What a function says of one document; where it fails on that one, the rule `fault` and the traceback."""
    try:
        return judge(*arguments)
    except Exception as error:
        if concerns_all(error):
            raise
        return Dropped(FAULT, fault_notes(error))


def halving(work: Callable[[pa.RecordBatch], R], batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, R | Dropped]]:
    """What a function makes of a batch; where it fails, of its halves, and so on to the one document on which it fails:
    the parts, in order, and what became of each.
    """
    made = guarded(work, batch)
    if not isinstance(made, Dropped) or len(batch) < 2:
        yield batch, made
        return
    for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
        yield from halving(work, part)


def piecewise(
    work: Callable[[pa.RecordBatch], R],
    batches: Iterable[pa.RecordBatch],
    log: DropLog | None,
    counts: Counter[str] | None = None,
) -> Iterator[tuple[pa.RecordBatch, R]]:
    """What a function makes of batches, without the documents on which it fails: those go to the log."""
    for whole in batches:
        for batch, made in halving(work, whole):
            if not isinstance(made, Dropped):
                yield batch, made
            elif log:
                size = drop_fault(log, batch, made)
                if counts is not None:
                    counts.update(documents_in=1, bytes_in=size)


def drop_fault(log: DropLog, batch: pa.RecordBatch, found: Dropped) -> int:
    """Log the one document of a batch, whose strings may be no UTF-8; returns the bytes of its text."""
    row = {
        name: (batch.column(name).cast(pa.large_binary())[0].as_py() or b"").decode("utf-8", "replace")
        for name in ("id", "url", "source")
        if name in batch.schema.names
    }
    size = pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
    log.drop(row["id"], row.get("url", ""), found.rule, source=row.get("source", ""), size=size, more=found.more)
    return int(size)


@contextmanager
def fault_log(out: Path) -> Iterator[DropLog]:
    """The log of a stage that drops nothing but what code of ours fails on: `dropped.jsonl`, if there is such."""
    path = out / "dropped.jsonl"
    with DropLog.at(path) as log:
        yield log
    tell_faults(log.rules[FAULT])
    if not log.rules:
        path.unlink()


def tell_faults(count: int) -> None:
    """Say on the console that there were documents on which code of ours fails."""
    if count:
        documents = counted(count, "documents")
        warn(f"on {documents} code of gristmill's fails; dropped.jsonl has the tracebacks: please report them")


def text_bytes(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def finish_stage(results: Sequence[Result], out: Path) -> Manifest:
    """Add up the counts of all shards, and join their drop logs."""
    parts = [ShardFiles(out, number, len(results)) for number in range(len(results))]
    join_logs(out / "dropped.jsonl", [part.log for part in parts])
    samples = Samples()
    for part in parts:
        if part.samples.exists():
            samples.merge(part.samples)
    samples.write(out / SAMPLES)
    sums: dict[str, Counter[str]] = {"counts": Counter(), "dropped": Counter(), "dropped_bytes": Counter()}
    for result in results:
        for name, counter in sums.items():
            counter.update(result[name])
    tell_faults(sums["dropped"][FAULT])
    ledger = ("documents_in", "documents_out", "bytes_in", "bytes_out", "bytes_edited")
    counts = {name: sums["counts"][name] for name in ledger} | dict(sums["counts"])
    return Manifest(
        counts=counts, dropped=dict(sorted(sums["dropped"].items())), dropped_bytes=dict(sums["dropped_bytes"])
    )
