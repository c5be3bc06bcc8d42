"""Which documents are held out: a hash decides, so that it depends on the document alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

LONG = 10_000  # characters of an only document whose end can be held out: a book in one file
LEAST = 0.02  # of it


def positions(batch: pa.RecordBatch) -> np.ndarray:
    """A number in 0..1 for each document, float64: below a share, it is held out.

    It comes from the document's cluster (copies fall on one side together), or from its id where it has none.
    """
    identities = batch["id"].to_pylist()
    clusters = batch["cluster"].to_pylist() if "cluster" in batch.schema.names else identities
    return np.array([position(cluster or name) for name, cluster in zip(identities, clusters, strict=True)], float)


def position(name: str) -> float:
    """The number of one cluster or id."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"heldout").digest()
    return int.from_bytes(digest, "big") / 2**64


def end_apart(batch: pa.RecordBatch, share: float) -> tuple[pa.RecordBatch, str]:
    """An only document as two rows, and the text of the second: its end, which is held out. One that is too short stays
    whole, and nothing of it is held out."""
    (text,) = batch["text"].to_pylist()
    if len(text) < LONG:
        return batch, ""
    place = round(len(text) * (1 - max(share, LEAST)))
    place = max(text.rfind("\n", 0, place), text.rfind(" ", 0, place)) + 1 or place  # words stay whole
    rows = pa.Table.from_batches([batch, batch]).combine_chunks()
    both = pa.array([text[:place], text[place:]], batch.schema.field("text").type)
    rows = rows.set_column(rows.schema.get_field_index("text"), batch.schema.field("text"), both)
    return rows.to_batches()[0], text[place:]
