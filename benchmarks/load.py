"""Loading tokens: packed batches a CPU second from the page cache on one core, beside nanoGPT's way; and the packing.

    python benchmarks/load.py [--quick]

Nothing to install besides gristmill. nanoGPT's `get_batch` (karpathy/nanoGPT, train.py) is written out here: map the
file anew, take rows at random offsets, widen them to int64. It knows no documents and reads some tokens twice and some
never; ours reads every token once an epoch.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gristmill.tokenizer.shards import INDEX, Split, open_split
from gristmill.training.data.loader import Loader

CONTEXT, BATCH, VOCAB = 1024, 64, 32_000


def write_split(folder: Path, tokens: int) -> Split:
    """Random tokens in documents as long as the web's (log-normal), as the tokenize stage writes them."""
    draw = np.random.default_rng(0)
    lengths = np.maximum(30, draw.lognormal(6.3, 1.1, tokens // 990)).astype(np.int64)
    total = int(lengths.sum())
    data = draw.integers(0, VOCAB, total, dtype=np.uint16)
    (folder / "train-00000.bin").write_bytes(data.tobytes())
    blank = pa.array([""] * len(lengths))
    starts = np.cumsum(lengths) - lengths
    columns = dict.fromkeys(("id", "url", "host", "source", "cluster"), blank)
    columns |= {"shard": np.zeros(len(lengths), np.int32), "start": starts, "tokens": lengths, "bytes": lengths * 4}
    index = folder / "train-index.parquet"
    pq.write_table(pa.table(columns).select(INDEX.names).cast(INDEX), index)
    described = {
        "shards": [{"file": "train-00000.bin", "tokens": total, "sha256": hashlib.sha256(data.tobytes()).hexdigest()}],
        "index_sha256": hashlib.sha256(index.read_bytes()).hexdigest(),
        "documents": len(lengths),
        "tokens": total,
    }
    content = {"dtype": "uint16", "end_of_text": VOCAB, "tokenizer": "", "splits": {"train": described}}
    (folder / "shards.json").write_text(json.dumps(content))
    return open_split(folder, "train")


def nanogpt(folder: Path) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """nanoGPT's `get_batch`."""

    def get_batch(_: int) -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(folder / "train-00000.bin", dtype=np.uint16, mode="r")
        ix = torch.randint(len(data) - CONTEXT, (BATCH,))
        x = torch.stack([torch.from_numpy((data[i : i + CONTEXT]).astype(np.int64)) for i in ix])
        y = torch.stack([torch.from_numpy((data[i + 1 : i + 1 + CONTEXT]).astype(np.int64)) for i in ix])
        return x, y

    return get_batch


def packing(split: Split, loader: Loader) -> dict[str, float]:
    """What packing and cutting one stream into rows do to the documents."""
    lengths, starts = np.diff(split.starts), split.starts[:-1]
    fits = lengths <= CONTEXT
    chopped = (starts // CONTEXT != (starts + lengths - 1) // CONTEXT) & fits
    pieces = loader.epoch(0)
    whole = np.isin(starts[fits], pieces.start[pieces.begins.astype(bool)])
    found = dict(zip(pieces.start.tolist(), pieces.length.tolist(), strict=True))
    whole &= np.array([found.get(start, 0) for start in starts[fits].tolist()]) == lengths[fits]
    return {
        "cut": float(1 - whole.mean()),
        "chopped": float(chopped.sum() / fits.sum()),
        "padding": float(1 - len(split.tokens) / (len(pieces) * CONTEXT)),
    }


def rates(contestants: dict[str, Callable[[int], Any]], steps: int) -> dict[str, float]:
    """Tokens a CPU second of each, in turns; the best of three."""
    best = dict.fromkeys(contestants, 0.0)
    for round_ in range(4):
        for contestant, get in contestants.items():
            started = time.process_time()
            for step in range(steps):
                get(step + round_ % 2 * steps)
            seconds = time.process_time() - started
            if round_:  # the first brings the file into the page cache
                best[contestant] = max(best[contestant], steps * BATCH * CONTEXT / seconds)
    return best


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = write_split(folder, 20_000_000 if quick else 200_000_000)
        started = time.process_time()
        loader = Loader(split, CONTEXT, BATCH, 0)
        loader.epoch(0)
        planned = time.process_time() - started
        steps = min(loader.steps(1.0) // 2, 100 if quick else 1000)
        best = rates({"ours": loader, "nanoGPT": nanogpt(folder)}, steps)
        shares = packing(split, loader)
        rate = best["ours"]
        whole = len(split.tokens) / (len(split.tokens) / rate + planned)
        print(f"planning an epoch of {len(split):,} documents and {len(split.tokens):,} tokens: {planned:.2f} CPU s")
    print({name: f"{value / 1e6:.0f} M tokens/s" for name, value in best.items()}, shares)
    rows = (
        ("tokens a CPU second, page cache, one core", "tokens/s", rate, "nanoGPT get_batch", best["nanoGPT"], None),
        ("the same with planning the epoch", "tokens/s", whole, "nanoGPT get_batch", best["nanoGPT"], None),
        ("against the goal of 100 M tokens/s", "tokens/s", rate, "the goal", 1e8, 1.0),
        (
            "share of tokens in rows that is no padding",
            "share",
            1 - shares["padding"],
            "no padding at all",
            1.0,
            0.9997,
        ),
        (
            "documents that fit a row left whole",
            "share",
            1 - shares["cut"],
            "one stream cut",
            1 - shares["chopped"],
            1.0,
        ),
    )
    results = [
        {
            "claim": claim,
            "unit": unit,
            "ours": round(mine, 5),
            "peer": peer,
            "theirs": round(theirs, 5),
            "ratio": round(mine / theirs, 5),
            "goal": goal or 100 / 15,
            "better": "higher",
        }
        for claim, unit, mine, peer, theirs, goal in rows
    ]
    print(json.dumps({"benchmark": "load", "results": results}))


if __name__ == "__main__":
    main()
