"""trafilatura's evaluation pages: snippets that must and must not appear in the main text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def split_of(host: str) -> str:
    """Three fifths of the hosts for fitting, one for development, one for the test; by hash, once and for all."""
    part = hashlib.blake2b(host.encode(), digest_size=8).digest()[0] / 256
    return "train" if part < 0.6 else "dev" if part < 0.8 else "test"


def snippet_pages(folder: Path) -> Iterator[dict[str, Any]]:
    """The pages of `evaldata.json` that are there; nothing where it is not."""
    facts = folder / "evaldata.json"
    for url, known in json.loads(facts.read_text(encoding="utf-8")).items() if facts.exists() else ():
        path, host = folder / "eval" / known["file"], (urlsplit(url).hostname or url).removeprefix("www.")
        if path.exists():
            snippets = {"with": known["with"], "without": known["without"]}
            yield {"path": str(path), "host": host, "split": split_of(host), **snippets}


def squeeze(text: str) -> str:
    """Text with single spaces."""
    return " ".join(text.split())


def score(pages: Sequence[dict[str, Any]], texts: Sequence[str]) -> dict[str, float]:
    """F1, precision and recall over all snippets, as trafilatura's evaluation counts them."""
    hit = missed = wrong = 0
    for page, text in zip(pages, map(squeeze, texts), strict=True):
        found = [squeeze(part) in text for part in page["with"]]
        hit, missed = hit + sum(found), missed + len(found) - sum(found)
        wrong += sum(squeeze(part) in text for part in page["without"])
    precision, recall = hit / max(1, hit + wrong), hit / max(1, hit + missed)
    return {"f1": 2 * precision * recall / max(1e-9, precision + recall), "precision": precision, "recall": recall}
