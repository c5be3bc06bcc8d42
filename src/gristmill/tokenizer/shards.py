"""Token shards: headerless `.bin` files, an index of the documents in them, and a JSON description."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.errors import UserError
from gristmill.files import sha256_file
from gristmill.manifest import intact

DESCRIPTION = "shards.json"
REMEDY = "run tokenize again"
INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("host", pa.string()),
        ("source", pa.string()),
        ("shard", pa.int32()),
        ("start", pa.int64()),  # token offset in the split as a whole
        ("tokens", pa.int64()),  # its `<|endoftext|>` included
        ("bytes", pa.int64()),  # UTF-8
        ("cluster", pa.string()),
        ("language", pa.string()),
    ]
)


class Tokens:
    """All tokens of a split as one sequence, wherever they lie. Only what is asked for is read."""

    def __init__(self, shards: list[np.ndarray]) -> None:
        self.shards = shards
        self.starts = np.cumsum([0, *map(len, shards)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, key: slice) -> np.ndarray:
        """A run of tokens: a view where one shard holds them all, else a copy."""
        start, stop, step = key.indices(len(self))
        if step != 1:
            raise ValueError("tokens are read in runs")
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        parts = []
        for shard in range(first, len(self.shards)):
            if self.starts[shard] >= stop:
                break
            parts.append(self.shards[shard][max(0, start - self.starts[shard]) : stop - self.starts[shard]])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else self.shards[0][:0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them in memory."""
        return np.asarray(self[:], dtype)


@dataclass(frozen=True)
class Split:
    """The tokens of `train` or `heldout`, and where each document begins."""

    folder: Path
    name: str
    tokens: Tokens
    starts: np.ndarray  # int64 [documents + 1], into the tokens
    bytes: np.ndarray  # int64 [documents], UTF-8
    end_of_text: int

    def __len__(self) -> int:
        """Documents."""
        return len(self.bytes)

    def document(self, number: int) -> np.ndarray:
        """The tokens of one document, its `<|endoftext|>` included."""
        return self.tokens[int(self.starts[number]) : int(self.starts[number + 1])]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the index, as `url`, by document."""
        return pq.read_table(index_path(self.folder, self.name), columns=[name], page_checksum_verification=True)[name]

    @cached_property
    def ids(self) -> list[str]:
        """Document ids."""
        return list(self.column("id").to_pylist())

    @cached_property
    def urls(self) -> list[str]:
        """Document URLs."""
        return list(self.column("url").to_pylist())

    def names(self) -> dict[str, list[str]]:
        """`host`, `source` and `language` of each document; empty where the index does not say."""
        path, wanted = index_path(self.folder, self.name), ("host", "source", "language")
        present = [name for name in wanted if name in pq.read_schema(path).names]
        found = pq.read_table(path, columns=present, page_checksum_verification=True)
        known = {name: found[name].to_pylist() for name in found.column_names}
        return {name: [one or "" for one in known.get(name, [""] * len(self))] for name in wanted}

    @property
    def total_bytes(self) -> int:
        """UTF-8 bytes of all documents."""
        return int(self.bytes.sum())


def index_path(folder: Path, split: str) -> Path:
    """The index of a split."""
    return folder / f"{split}-index.parquet"


def open_split(folder: Path, split: str, tokenizer: str | None = None) -> Split:
    """Open the `train` or `heldout` tokens of a tokenize stage; the shards are mapped, not read into memory.

    Checks everything first, at the speed of SHA-256: checksums, sizes, that the index matches, and, where a tokenizer's
    hash is given, that it made these tokens. Raises UserError naming the file that is wrong.
    """
    content = description(folder)
    try:
        described, dtype = content["splits"].get(split), np.dtype(content["dtype"])
        if tokenizer is not None and content["tokenizer"] != tokenizer:
            raise UserError(
                f"{folder / DESCRIPTION}: these tokens were made by another tokenizer",
                "use the tokenizer of the same run, or run tokenize again",
            )
        if not described:
            raise UserError(f"{folder} has no {split} split", REMEDY)
        shards = [open_shard(folder / shard["file"], dtype, shard) for shard in described["shards"]]
        path = index_path(folder, split)
        check(path, described["index_sha256"])
        index = pq.read_table(path, columns=["start", "tokens", "bytes", "shard"], page_checksum_verification=True)
        lengths, owners = index["tokens"].to_numpy(), index["shard"].to_numpy()
        held = np.bincount(owners, lengths, len(shards)).astype(np.int64)
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        if (
            held.tolist() != [len(shard) for shard in shards]
            or (np.diff(owners) < 0).any()
            or (lengths < 1).any()
            or not np.array_equal(starts[:-1], index["start"].to_numpy())
        ):
            raise UserError(f"{path} does not match its shards", REMEDY)
        return Split(folder, split, Tokens(shards), starts, index["bytes"].to_numpy(), int(content["end_of_text"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / DESCRIPTION} is damaged: {error!r}", REMEDY) from error
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{index_path(folder, split)} is not readable: {error}", REMEDY) from error


def open_shard(path: Path, dtype: np.dtype, described: dict[str, Any]) -> np.ndarray:
    """Map one shard. Raises UserError where it is missing, truncated or changed."""
    if not path.exists() or path.stat().st_size != described["tokens"] * dtype.itemsize:
        raise UserError(f"{path} is missing or does not have {described['tokens']:,} tokens", REMEDY)
    check(path, described["sha256"])
    return np.memmap(path, dtype, mode="r")


def check(path: Path, sha256: str) -> None:
    """Raise UserError unless the file has that checksum."""
    if sha256_file(path) != sha256:
        raise UserError(f"{path} is corrupt: its checksum differs", REMEDY)


def description(folder: Path) -> dict[str, Any]:
    """`shards.json` of a folder. Raises UserError where there is none."""
    try:
        return dict(json.loads(intact(folder / DESCRIPTION).read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no token shards: {error}", "run the tokenize stage first") from error
