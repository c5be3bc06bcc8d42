"""Token shards: headerless `.bin` files, an index of the documents in them, and a JSON description."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.errors import UserError
from gristmill.manifest import sha256_file

DESCRIPTION = "shards.json"
INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("shard", pa.int32()),
        ("start", pa.int64()),  # token offset in the split as a whole
        ("tokens", pa.int64()),  # its `<|endoftext|>` included
        ("bytes", pa.int64()),  # UTF-8
        ("cluster", pa.string()),
    ]
)


@dataclass(frozen=True)
class Split:
    """The tokens of `train` or `heldout`, and where each document begins."""

    tokens: np.ndarray  # [tokens], uint16 or uint32
    starts: np.ndarray  # int64 [documents + 1]
    bytes: np.ndarray  # int64 [documents]
    ids: list[str]
    urls: list[str]

    @property
    def total_bytes(self) -> int:
        """UTF-8 bytes of all documents."""
        return int(self.bytes.sum())


def open_split(folder: Path, split: str) -> Split:
    """Open the `train` or `heldout` tokens of a tokenize stage.

    One shard is mapped, several are read into memory. Raises UserError naming the file that is missing, or whose size
    is not what the description says.
    """
    described = description(folder)["splits"].get(split)
    if not described:
        raise UserError(f"{folder} has no {split} split", "run the tokenize stage again")
    dtype = np.dtype(description(folder)["dtype"])
    parts = []
    for shard in described["shards"]:
        path = folder / shard["file"]
        if not path.exists() or path.stat().st_size != shard["tokens"] * dtype.itemsize:
            raise UserError(f"{path} is missing or does not have {shard['tokens']:,} tokens", "run tokenize again")
        parts.append(np.memmap(path, dtype, mode="r"))
    tokens = parts[0] if len(parts) == 1 else np.concatenate(parts)
    try:
        index = pq.read_table(folder / f"{split}-index.parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{folder / f'{split}-index.parquet'} is not readable: {error}", "run tokenize again"
        ) from error
    starts = np.append(index["start"].to_numpy(), len(tokens))
    if len(index) != described["documents"] or int(index["tokens"].to_numpy().sum()) != len(tokens):
        raise UserError(f"{folder / f'{split}-index.parquet'} does not match its shards", "run tokenize again")
    return Split(tokens, starts, index["bytes"].to_numpy(), index["id"].to_pylist(), index["url"].to_pylist())


def description(folder: Path) -> dict[str, Any]:
    """`shards.json` of a folder. Raises UserError where there is none."""
    try:
        return dict(json.loads((folder / DESCRIPTION).read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no token shards: {error}", "run the tokenize stage first") from error


def verify(folder: Path) -> None:
    """Check every shard against its checksum. Raises UserError naming the first that differs."""
    for split in description(folder)["splits"].values():
        for shard in split["shards"]:
            if sha256_file(folder / shard["file"]) != shard["sha256"]:
                raise UserError(f"{folder / shard['file']} is corrupt: its checksum differs", "run tokenize again")
