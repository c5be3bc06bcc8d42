"""Stage `tokenize`: documents → token shards, some documents held out by a hash of their id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.corpus.execution.documents import drop_fault, fault_log, halving, piecewise
from gristmill.corpus.execution.judge import Dropped
from gristmill.document import count_documents, read_columns
from gristmill.errors import UserError
from gristmill.files import sha256_file, write_json
from gristmill.manifest import Manifest
from gristmill.native import utf8
from gristmill.processes import in_order, threads
from gristmill.progress import Progress, counted, warn
from gristmill.recipe import Tokenize
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.heldout import end_apart, positions
from gristmill.tokenizer.shards import DESCRIPTION, INDEX, index_path

SPLITS = ("train", "heldout")
UNLIKE = 4  # times more or less of the text than of the documents is held out: that is told
COLUMNS = ("id", "text", "url", "host", "source", "cluster", "language")
NAMES = tuple(name for name in COLUMNS if name != "text")
FEW_DOCUMENTS, FEW_TOKENS = 5, 100  # held out: with fewer, chance decides what the scores are
BATCH = 256  # documents encoded at once by one thread


def run(inputs: Mapping[str, Path], params: Tokenize, out: Path) -> Manifest:
    """Write both splits in one streaming pass. Each document is its tokens and then `<|endoftext|>`.

    An interrupted run starts again: encoding is cheaper than keeping account of it. The bytes written do not depend
    on the number of processors.
    """
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    total = count_documents(inputs["corpus"])
    first, end = forced_heldout(inputs["corpus"], params.heldout), ""
    batches = read_columns(inputs["corpus"], COLUMNS, BATCH)
    if total == 1:
        whole, end = end_apart(next(iter(batches)), params.heldout)
        batches = iter([whole])
    dtype = np.dtype("uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32")
    writers = {split: SplitWriter(out, split, params.shard_tokens) for split in SPLITS}

    def encode(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        batch.select(NAMES).validate(full=True)  # later stages read them as UTF-8
        tokens, counts = tokenizer.encode_documents(batch["text"])
        held = positions(batch) < params.heldout
        held |= np.array([identity == first for identity in batch["id"].to_pylist()], bool)
        if end:
            held = np.array([text == end for text in batch["text"].to_pylist()], bool)
        return tokens.astype(dtype), counts, held

    with Progress("tokenize", total, "documents") as bar, fault_log(out) as log:
        parts = in_order(lambda batch: list(halving(encode, batch)), batches, threads())
        for batch, made in chain.from_iterable(parts):
            bar.advance(min(len(batch), total))
            if isinstance(made, Dropped):
                drop_fault(log, batch, made)
                continue
            (tokens, counts, held), sizes = made, np.diff(utf8(batch["text"])[1])
            for split, chosen in (("train", ~held), ("heldout", held)):
                writers[split].add(
                    columns(batch, chosen), tokens[np.repeat(chosen, counts)], counts[chosen], sizes[chosen]
                )
    described = closed(writers, bool(end), params.heldout)
    content = {
        "dtype": dtype.name,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "tokenizer": tokenizer.hash,
        "splits": described,
    }
    write_json(out / DESCRIPTION, content)
    numbers = {f"{split}_{unit}": facts[unit] for split, facts in described.items() for unit in ("tokens", "bytes")}
    density = sum(facts["bytes"] for facts in described.values()) / sum(f["tokens"] for f in described.values())
    return Manifest(
        counts={"documents_in": total, "documents_out": min(total, sum(f["documents"] for f in described.values()))},
        dropped=dict(log.rules),
        metrics={**numbers, "bytes_per_token": round(density, 4)},
    )


def closed(writers: Mapping[str, SplitWriter], one: bool, share: float) -> dict[str, dict[str, Any]]:
    """What `shards.json` says of each split; a caution where little is held out, as the end of the `one` document that
    there is, or by far another share of the text than of the documents. Raises UserError where a split has nothing."""
    described = {split: writer.close() for split, writer in writers.items()}
    for split, facts in described.items():
        if not facts["documents"]:
            remedy = "give more documents; to quote them without a model: gristmill run RECIPE --until passages"
            raise UserError(f"the corpus is too small: no document for the {split} split", remedy)
    kept_out = described["heldout"]
    found = kept_out["bytes"] / sum(facts["bytes"] for facts in described.values())
    if share and not share / UNLIKE <= found <= share * UNLIKE:
        longest = f"the longest of the documents, of which {share:.1%} are to be held out"
        warn(f"caution: {found:.1%} of the text is held out, for documents differ in length: divide {longest}")
    if kept_out["documents"] < FEW_DOCUMENTS or kept_out["tokens"] < FEW_TOKENS:
        what = "the end of the one document" if one else counted(kept_out["documents"], "documents")
        warn(
            f"caution: only {what} ({kept_out['tokens']:,} tokens) held out: scores on that say little; "
            + ("give several documents" if one else "set a larger tokenize.heldout")
        )
    return described


def columns(batch: pa.RecordBatch, chosen: np.ndarray) -> dict[str, pa.Array]:
    """The index's columns of the chosen documents."""
    mask = pa.array(chosen)
    return {name: batch[name].filter(mask).cast(pa.string()) for name in NAMES}


def forced_heldout(corpus: Path, share: float) -> str:
    """The one document to hold out where the share of a small corpus would hold out none."""
    least, chosen = 1.0, ""
    batches = read_columns(corpus, ("id", "cluster"))
    for batch, values in piecewise(positions, batches, None):
        if len(values) and values.min() < least:
            least, chosen = float(values.min()), str(batch["id"][int(values.argmin())].as_py())
        if least < share:
            break
    return chosen


class SplitWriter:
    """Writes one split: shards of at most `limit` tokens (documents are never cut) and the index."""

    def __init__(self, out: Path, split: str, limit: int) -> None:
        self.out, self.split, self.limit = out, split, limit
        self.shards: list[dict[str, Any]] = []
        self.documents = self.tokens = self.bytes = 0
        self.file: BinaryIO | None = None
        self.digest = hashlib.sha256()
        self.index = pq.ParquetWriter(index_path(out, split), INDEX, compression="zstd", write_page_checksum=True)

    def add(self, names: Mapping[str, pa.Array], tokens: np.ndarray, counts: np.ndarray, sizes: np.ndarray) -> None:
        """Append documents: their names, all their tokens, and how many tokens and UTF-8 bytes each has."""
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        shards = np.empty(len(counts), np.int32)
        begun = 0
        while begun < len(counts):
            if self.file is None:
                self.open_shard()
            room = self.limit - self.shards[-1]["tokens"]
            ended = max(begun, int(np.searchsorted(starts, starts[begun] + room, side="right")) - 1)
            if ended == begun and not self.shards[-1]["tokens"]:
                ended = begun + 1  # one document that is longer than a shard has it to itself
            self.append(tokens[starts[begun] : starts[ended]])
            shards[begun:ended] = len(self.shards) - 1
            begun = ended
            if ended < len(counts):
                self.close_shard()
        measured = {"shard": shards, "start": self.tokens + starts[:-1], "tokens": counts, "bytes": sizes}
        self.index.write_table(pa.table({**names, **measured}).select(INDEX.names).cast(INDEX))
        self.documents, self.tokens = self.documents + len(counts), self.tokens + len(tokens)
        self.bytes += int(sizes.sum())

    def append(self, tokens: np.ndarray) -> None:
        """Write tokens to the open shard."""
        assert self.file is not None
        data = tokens.tobytes()
        self.file.write(data)
        self.digest.update(data)
        self.shards[-1]["tokens"] += len(tokens)

    def open_shard(self) -> None:
        """Begin a shard."""
        name = f"{self.split}-{len(self.shards):05d}.bin"
        self.shards.append({"file": name, "tokens": 0})
        self.file, self.digest = (self.out / name).open("wb"), hashlib.sha256()

    def close_shard(self) -> None:
        """Finish the open shard."""
        if self.file:
            self.file.close()
            self.file = None
            self.shards[-1]["sha256"] = self.digest.hexdigest()

    def close(self) -> dict[str, Any]:
        """Finish the files; returns the split's part of the description."""
        self.close_shard()
        self.index.close()
        return {
            "shards": self.shards,
            "index_sha256": sha256_file(index_path(self.out, self.split)),
            "documents": self.documents,
            "tokens": self.tokens,
            "bytes": self.bytes,
        }
