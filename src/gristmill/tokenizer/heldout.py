"""Which documents are held out: a hash decides, so that it depends on the document alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa


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
