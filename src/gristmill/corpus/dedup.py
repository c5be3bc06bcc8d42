"""Stage `dedup`: one copy of each document: exact copies, then near ones by MinHash LSH.

The first of a cluster in input order stays. A candidate joins only if its whole signature agrees with the kept
document's as far as the bands' own threshold, (1/bands)^(1/rows) (0.72 for 14 × 8): short pages that share a template
but tell different things stay apart. Kept signatures and band keys stay in memory: about 2 kB a kept document.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from gristmill.corpus.drops import DropLog
from gristmill.corpus.minhash import MinHash, band_keys, shingles, similarity
from gristmill.document import Document, count_documents, read_documents, write_documents
from gristmill.manifest import Manifest
from gristmill.progress import Progress
from gristmill.recipe import Dedup


def run(inputs: Mapping[str, Path], params: Dedup, out: Path) -> Manifest:
    """Write the kept documents, and `dropped.jsonl`, which names the kept document that each dropped one copies."""
    total = count_documents(inputs["corpus"])
    index = Index(params)
    with Progress("dedup", total, "documents") as bar, DropLog(out / "dropped.jsonl") as log:

        def kept() -> Iterator[Document]:
            for document in read_documents(inputs["corpus"]):
                bar.advance()
                found = index.find_or_add(document)
                if found is None:
                    yield replace(document, cluster=document.id)
                else:
                    rule, original = found
                    log.drop(document.id, document.url, rule, more={"kept": original})

        count = write_documents(out / "documents.parquet", kept())
    return Manifest(counts={"documents_in": total, "documents_out": count}, dropped=dict(sorted(log.rules.items())))


class Index:
    """The documents kept so far, found again by exact text or by similarity."""

    def __init__(self, params: Dedup) -> None:
        self.params = params
        self.minhash = MinHash(params.bands * params.rows, params.seed)
        self.threshold = (1 / params.bands) ** (1 / params.rows)
        self.ids: list[str] = []
        self.signatures: list[np.ndarray] = []
        self.exact: dict[bytes, int] = {}
        self.bands: dict[bytes, list[int]] = {}

    def find_or_add(self, document: Document) -> tuple[str, str] | None:
        """(rule, id of the kept document) for a copy; None for a new document, which is then kept."""
        normal = " ".join(re.findall(r"\w+", document.text.lower())) or document.text
        digest = hashlib.blake2b(normal.encode("utf-8", "replace"), digest_size=16).digest()
        if digest in self.exact:
            return "exact_copy", self.ids[self.exact[digest]]
        signature = self.minhash(shingles(document.text, self.params.ngram))
        keys = [
            hashlib.blake2b(key, digest_size=8).digest()
            for key in band_keys(signature, self.params.bands, self.params.rows)
        ]
        candidates = sorted({number for key in keys for number in self.bands.get(key, ())})
        for number in candidates:
            if similarity(signature, self.signatures[number]) >= self.threshold:
                return "near_copy", self.ids[number]
        number = len(self.ids)
        self.ids.append(document.id)
        self.signatures.append(signature)
        self.exact[digest] = number
        for key in keys:
            self.bands.setdefault(key, []).append(number)
        return None
