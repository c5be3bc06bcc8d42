"""Stage `tokenize`: documents → token shards, some documents held out by a hash of their id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.document import ROWS_PER_GROUP, Document, count_documents, read_documents
from gristmill.errors import UserError
from gristmill.manifest import Manifest, sha256_file, write_text
from gristmill.progress import Progress
from gristmill.recipe import Tokenize
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.shards import DESCRIPTION, INDEX

SPLITS = ("train", "heldout")


def run(inputs: Mapping[str, Path], params: Tokenize, out: Path) -> Manifest:
    """Write both splits in one streaming pass. Each document is its tokens and then `<|endoftext|>`.

    An interrupted run starts again: encoding is cheaper than keeping account of it.
    """
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    total = count_documents(inputs["corpus"])
    first = forced_heldout(inputs["corpus"], params.heldout)
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    writers = {split: SplitWriter(out, split, dtype, params.shard_tokens) for split in SPLITS}
    with Progress("tokenize", total, "documents") as bar:
        for document in read_documents(inputs["corpus"]):
            held = key(document) < params.heldout or document.id == first
            tokens = [*tokenizer.encode(document.text), tokenizer.end_of_text]
            writers["heldout" if held else "train"].add(document, tokens)
            bar.advance()
    described = {split: writer.close() for split, writer in writers.items()}
    for split, facts in described.items():
        if not facts["documents"]:
            raise UserError(f"the corpus is too small: no document for the {split} split", "give more documents")
    content = {"dtype": dtype, "vocab_size": tokenizer.vocab_size, "tokenizer": tokenizer.hash, "splits": described}
    write_text(out / DESCRIPTION, json.dumps(content, indent=2) + "\n")
    numbers = {f"{split}_{unit}": facts[unit] for split, facts in described.items() for unit in ("tokens", "bytes")}
    density = sum(facts["bytes"] for facts in described.values()) / sum(f["tokens"] for f in described.values())
    return Manifest(
        counts={"documents_in": total, "documents_out": sum(facts["documents"] for facts in described.values())},
        metrics={**numbers, "bytes_per_token": round(density, 4)},
    )


def key(document: Document) -> float:
    """A number in 0..1 from the document's cluster (copies fall on one side together) or id."""
    basis = document.cluster or document.id
    digest = hashlib.blake2b(basis.encode(), digest_size=8, person=b"heldout").digest()
    return int.from_bytes(digest, "big") / 2**64


def forced_heldout(corpus: Path, share: float) -> str:
    """The one document to hold out where the share of a small corpus would hold out none."""
    least, chosen = 1.0, ""
    for document in read_documents(corpus):
        if (value := key(document)) < least:
            least, chosen = value, document.id
            if value < share:
                break
    return chosen


class SplitWriter:
    """Writes one split: shards of at most `shard_tokens` (documents are never cut) and the index."""

    def __init__(self, out: Path, split: str, dtype: str, shard_tokens: int) -> None:
        self.out, self.split, self.dtype, self.limit = out, split, np.dtype(dtype), shard_tokens
        self.shards: list[dict[str, Any]] = []
        self.documents = self.tokens = self.bytes = 0
        self.file: BinaryIO | None = None
        self.rows: list[dict[str, Any]] = []
        self.index = pq.ParquetWriter(out / f"{split}-index.parquet", INDEX, compression="zstd")

    def add(self, document: Document, tokens: list[int]) -> None:
        """Append one document."""
        if self.file is None or (self.shards[-1]["tokens"] and self.shards[-1]["tokens"] + len(tokens) > self.limit):
            self.next_shard()
        assert self.file is not None
        self.file.write(np.asarray(tokens, self.dtype).tobytes())
        size = len(document.text.encode("utf-8", "replace"))
        self.rows.append(
            {
                "id": document.id,
                "url": document.url,
                "shard": len(self.shards) - 1,
                "start": self.tokens,
                "tokens": len(tokens),
                "bytes": size,
                "cluster": document.cluster,
            }
        )
        self.shards[-1]["tokens"] += len(tokens)
        self.documents, self.tokens, self.bytes = self.documents + 1, self.tokens + len(tokens), self.bytes + size
        if len(self.rows) == ROWS_PER_GROUP:
            self.flush()

    def next_shard(self) -> None:
        """Close the shard being written and open the next."""
        if self.file:
            self.file.close()
        name = f"{self.split}-{len(self.shards):05d}.bin"
        self.shards.append({"file": name, "tokens": 0})
        self.file = (self.out / name).open("wb")

    def flush(self) -> None:
        """Write the index rows held in memory."""
        self.index.write_table(pa.Table.from_pylist(self.rows, INDEX))
        self.rows.clear()

    def close(self) -> dict[str, Any]:
        """Finish the files; returns the split's part of the description."""
        self.flush()
        self.index.close()
        if self.file:
            self.file.close()
        for shard in self.shards:
            shard["sha256"] = sha256_file(self.out / shard["file"])
        return {"shards": self.shards, "documents": self.documents, "tokens": self.tokens, "bytes": self.bytes}
