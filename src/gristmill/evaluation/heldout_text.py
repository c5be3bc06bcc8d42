"""Bits per byte of held-out text: of all of it, by source and by language, each with its 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch

from gristmill.evaluation.intervals import of_ratio
from gristmill.generation.engine import Engine
from gristmill.manifest import Parts
from gristmill.model import ops
from gristmill.model.loss import IGNORE, WINDOWS, padded, token_logprobs, windows_of
from gristmill.tokenizer.shards import Split

FILE = "heldout.json"
DOCUMENTS = "heldout.jsonl"  # each document's figures
BATCH = 16  # rows read together
GROUPS = 20  # sources and languages shown: those with most bytes; the rest is one more
FEW = 5  # documents: of fewer there is no interval
LOOKED = 16_000_000  # bytes of held-out text that is looked for in the training text: a gigabyte of memory, at most
EMPTY: Mapping[str, Mapping[str, Any]] = {}


def heldout_text(
    engine: Engine, split: Split, parts: Parts, looked: Sequence[int] = (), met: Mapping[str, Mapping[str, Any]] = EMPTY
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `heldout.json` holds, and of each document a line of `heldout.jsonl` (`id`, `source`, `bytes`, `bits`).

    Of all documents, `by_source` (host, or the file where there is none) and `by_language`, largest first: `documents`,
    `bytes`, `bits_per_byte`, and its interval (`low`, `high`), for which documents are drawn with return. A document is
    read alone, as in `model.loss.bits_per_byte`.

    `contamination` has by each definition how many of the documents that were `looked` for were met in the training
    text (as `contamination.told` says), and the same figures `without` them.
    """
    bits = document_nats(engine, split, parts) / np.log(2)
    found = {}
    for rule, one in met.items():
        clean = np.array(looked, np.int64)[~np.array(one["met"], bool)]
        counts = {"documents": len(looked), "contaminated": sum(one["met"]), "too_short": sum(one["short"])}
        found[rule] = {**counts, "without": of_documents(bits[clean], split.bytes[clean])}
    names = split.names()
    sources = [host or source for host, source in zip(names["host"], names["source"], strict=True)]
    columns = split.ids, names["source"], split.bytes.tolist(), bits.round(3).tolist()
    documents = [dict(zip(("id", "source", "bytes", "bits"), row, strict=True)) for row in zip(*columns, strict=True)]
    content = {
        "all": of_documents(bits, split.bytes),
        "by_source": grouped(sources, bits, split.bytes),
        "by_language": grouped(names["language"], bits, split.bytes),
        **({"contamination": found} if found else {}),
    }
    return content, documents


def looked_for(split: Split) -> list[int]:
    """The documents that are looked for in the training text: all, or where they are many, evenly spread ones with
    about LOOKED bytes."""
    return [*range(0, len(split), max(1, -(-split.total_bytes // LOOKED)))]


def document_nats(engine: Engine, split: Split, parts: Parts) -> np.ndarray:
    """The loss of each document's tokens, all together, float64 [documents]."""
    windows: list[tuple[int, np.ndarray]] = []
    for number in range(len(split)):
        document = split.document(number).astype(np.int64)
        windows += ((number, window) for window in windows_of(document, engine.context))
    windows.sort(key=lambda one: len(one[1]))
    rows, make = [row for _, row in windows], partial(row_nats, engine)
    made, nats = parts.batches("heldout", rows, WINDOWS, make, "evaluate: held-out text", "rows"), np.zeros(len(split))
    np.add.at(nats, [owner for owner, _ in windows], made)
    return nats


@torch.no_grad()
def row_nats(engine: Engine, rows: Sequence[np.ndarray]) -> list[float]:
    """The loss of each row's tokens, all together."""
    found: list[float] = []
    for at in range(0, len(rows), BATCH):
        inputs, targets = (ids.to(engine.device) for ids in padded(list(rows[at : at + BATCH])))
        asked, losses = targets != IGNORE, torch.zeros(targets.shape, device=engine.device)
        with ops.low_precision(engine.device) if engine.device.type == "cuda" else nullcontext():
            hidden = engine.model.hidden(inputs)[asked]
        losses[asked] = -token_logprobs(hidden.float(), engine.model.unembedding, targets[asked])
        found += losses.double().sum(1).tolist()
    return found


def grouped(names: Sequence[str | None], bits: np.ndarray, sizes: np.ndarray) -> list[dict[str, Any]]:
    """The figures of the documents of each name, the `GROUPS` with most bytes and then what is left."""
    known, owner = np.unique([name or "unknown" for name in names], return_inverse=True)
    order = np.argsort(-np.bincount(owner, sizes), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    found = []
    for place, which in enumerate(order[:GROUPS]):
        mine = rank[owner] == place
        found.append({"name": str(known[which]), **of_documents(bits[mine], sizes[mine])})
    if len(order) > GROUPS:
        rest = rank[owner] >= GROUPS
        found.append({"name": f"{len(order) - GROUPS:,} others", **of_documents(bits[rest], sizes[rest])})
    return found


def of_documents(bits: np.ndarray, sizes: np.ndarray) -> dict[str, Any]:
    """Bits per byte of documents, from the bits and the bytes of each."""
    total = float(sizes.sum())
    figures: dict[str, Any] = {"documents": len(sizes), "bytes": int(total)}
    if total:
        figures["bits_per_byte"] = round(float(bits.sum()) / total, 5)
    if total and len(sizes) >= FEW:
        low, high = of_ratio(bits, sizes.astype(np.float64))
        figures |= {"low": round(low, 5), "high": round(high, 5), "by": "document"}
    return figures
